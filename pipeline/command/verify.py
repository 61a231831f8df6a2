"""Re-hash published artifacts and name every file that changed.

DVC trusts size and time of what lies in its cache, and restores a flipped bit without a word. This reads every byte: of
`data/`, and with `--deep` of the cache, the run-cache and the source too.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from pipeline.core import ledger
from pipeline.core.artifact import MANIFEST, damaged, digest, read_json
from pipeline.core.dag import Stage, read_stages
from pipeline.core.errors import PersonError, near_match
from pipeline.core.progress import track
from pipeline.shipping.shipped import check_whole

EXAMPLES = """examples:
  python -m pipeline verify                every artifact that has been published
  python -m pipeline verify train export   these two, which must be there
  python -m pipeline verify --deep         the cache and the source too; what rotted is put where DVC cannot serve it
  python -m pipeline verify --release cells-1.0 --public-key maker.pub     a folder that  release  wrote, and its signature
exit code: 0 all whole, 1 something is damaged, missing or made from another input, or the count of looks was altered
"""


def main(argv: list[str]) -> int:
    """Run `python -m pipeline verify`; 0 when every artifact equals its manifest."""
    options = _options(argv)
    if options.release is not None:
        check_whole(options.release, options.public_key, unsigned=options.unsigned)
        print(f"{options.release} is whole" + (", and signed with that key" if options.public_key else ""))
        return 0
    asked: list[str] = options.stages
    root = Path.cwd()
    stages = read_stages(root)
    for name in asked:
        if name not in stages:
            raise PersonError(f"unknown stage {name!r}: {near_match(name, stages)}")
    chosen = [stage for stage in stages.values() if stage.name in asked or (not asked and (root / stage.out).exists())]
    found = {stage.name: faults(root, stage) for stage in track(chosen, what="verify", total=len(chosen))}
    for name, lines in found.items():
        print(f"{name:<12}" + (f"{len(lines)} fault{'s' if len(lines) > 1 else ''}" if lines else "whole"))
        for line in lines:
            print(f"  {line}")
    bad = [name for name, lines in found.items() if lines]
    if bad:
        print(f"restore from an undamaged cache or make again:  rm -rf {' '.join(stages[name].out for name in bad)} && "
              f"dvc repro --force --single-item {' '.join(bad)}")  # fmt: skip
    elif not chosen:
        print("nothing has been published yet: run  dvc repro")
    rotten = _deep(root, leave=options.leave) if options.deep else 0
    return 1 if _looks(root, stages) or bad or rotten else 0


def _deep(root: Path, *, leave: bool) -> int:
    """Print what a look at the cache found; return the number of faults."""
    from pipeline.cache.deep import examine

    finding = examine(root, leave=leave)
    print("\n".join(finding.lines))
    return finding.faults


def _looks(root: Path, stages: dict[str, Stage]) -> list[str]:
    """Say how often the test split was opened here; return what is wrong with the ledger that says so."""
    if not any(ledger.opens_test(stage) for stage in stages.values()):
        return []
    looks = ledger.read(root)
    print(looks.sentence())
    for out in ledger.strangers(root, stages, looks):
        print(f"  {out} was looked at elsewhere: restored from a cache, or made before the count began")
    for line in looks.faults:
        print(f"  {line}")
    if looks.faults:
        print(f"the count cannot be trusted; begin a new one with  rm -f {ledger.LEDGER} {ledger.SEAL}")
    return looks.faults


def faults(root: Path, stage: Stage) -> list[str]:
    """What is wrong with one stage's artifact, a line each; none when it is whole and was made from the inputs that are there."""
    directory = root / stage.out
    if not (directory / MANIFEST).is_file():
        return [f"{stage.out} is missing or has no {MANIFEST}"]
    try:
        lines = [f"{stage.out}/{name} differs from the manifest" for name in damaged(directory)]
        made_from: dict[str, str] = read_json(directory / MANIFEST)["inputs"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{stage.out}/{MANIFEST} cannot be read"]
    there = {keyword: root / path for keyword, path in stage.inputs.items() if (root / path / MANIFEST).is_file()}
    others = other_inputs(made_from, there)
    return lines + [f"{stage.out} was made from another {stage.inputs[keyword]} than the one that is there" for keyword in others]


def other_inputs(made_from: Mapping[str, str], inputs: Mapping[str, Path]) -> list[str]:
    """Keywords of the inputs that an artifact was not made from, by the digests that its manifest names."""
    return [keyword for keyword, directory in inputs.items() if made_from.get(keyword) != digest(directory)]


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline verify", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="stages to look at; all published ones without")
    parser.add_argument("--deep", action="store_true", help="read DVC's cache and the source too, and quarantine what rotted")
    parser.add_argument("--leave", action="store_true", help="with --deep: report, and move nothing")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="a folder that ships a model, instead of stages")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="of whoever signed it")
    parser.add_argument("--unsigned", action="store_true", help="take a signed folder without a key")
    options = parser.parse_args(argv)
    if options.leave and not options.deep:
        parser.error("--leave says what --deep does with what rotted: give both")
    if options.deep and options.release is not None:
        parser.error("--deep reads this project's cache, --release a folder that ships: give one of them")
    if options.release is None and (options.public_key or options.unsigned):
        parser.error("--public-key and --unsigned are about a folder that ships: add  --release FOLDER")
    if options.release is not None and options.stages:
        parser.error("a folder that ships is looked at by itself: give stages or --release")
    return options
