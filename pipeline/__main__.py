"""`python -m pipeline STAGE` runs one stage; the other words are commands for people. Parses, calls, prints."""

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import PersonError, near_match
from pipeline.core.interrupt import SIGNALS, Interrupted
from pipeline.core.ranks import place

EXAMPLES = """
examples:
  dvc repro                                        rebuild whatever is stale, and nothing else
  python -m pipeline exp model=resnet train.lr=3e-4     one experiment, in Hydra's own grammar
  python -m pipeline exp model=resnet,mlp               a queued sweep (comma = one run each)
  python -m pipeline exp experiment=own_images source=~/photos
  python -m pipeline add ~/photos --name parts          bring a folder under data/raw, version it, write its experiment
  python -m pipeline label queue ~/new_photos           which unlabelled images to label next, for Label Studio or CVAT
  python -m pipeline review                             compare the runs in a page, without an account
  python -m pipeline forecast model=resnet              time, memory and money of a training, before it
  python -m pipeline train --help                       what one stage reads and publishes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m pipeline`.

    Returns:
        0 done, 1 a mistake that the message names, 2 wrong words on the command line, 75 ended by a signal and to be
        continued, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except PersonError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(
            f"error: {error.strerror or error}{where}: nothing was published; free the disk or mend the access, "
            "and run the same command again",
            file=sys.stderr,
        )
        if "PIPELINE_DEBUG" in os.environ:
            raise
        return 1
    except Interrupted as said:
        for number in SIGNALS:  # Python gives up its handlers before it has ended: a second signal would be taken for a death
            signal.signal(number, signal.SIG_IGN)
        if place().rank == 0:
            print(said, file=sys.stderr)
        return said.code
    except KeyboardInterrupt:
        print("interrupted: nothing was published; the same command continues", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    root = Path.cwd()
    from pipeline import command, stages

    commands = {name: command for _, name, _ in pkgutil.iter_modules(command.__path__)}
    names = [name for _, name, _ in pkgutil.iter_modules(stages.__path__)]
    if not words or words[0] in {"-h", "--help"}:
        print(_overview(root, list(commands)))
        return 0 if words else 2
    word, rest = words[0], words[1:]
    if word in commands:
        return int(importlib.import_module(f"pipeline.command.{word}").main(rest))
    if word not in names:
        raise PersonError(f"unknown command or stage {word!r}: {near_match(word, [*commands, *names])}")
    from pipeline.core.dag import read_stage
    from pipeline.core.runner import run_stage

    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    stage = read_stage(root, word)
    parser = argparse.ArgumentParser(
        prog=f"python -m pipeline {word}", description=stage.desc, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"reads:     {', '.join(stage.inputs.values()) or 'params.yaml'}\n"
               f"conf keys: {', '.join(stage.keys or stage.params)}\npublishes: {stage.out}\n\nexamples:\n"
               f"  dvc repro {word}                 this stage and what it needs, where stale\n"
               f"  dvc repro --force --single-item {word}     this stage alone, even when nothing changed\n"
               f"  python -m pipeline {word}        without DVC: no cache, no lock file\n")  # fmt: skip
    parser.parse_args(rest)
    print(run_stage(root, word))
    return 0


def _overview(root: Path, commands: list[str]) -> str:
    lines = ["usage: python -m pipeline STAGE | COMMAND [...]", ""]
    if (root / "dvc.yaml").is_file():
        from pipeline.core.dag import read_stages

        lines += ["stages, in the order of the DAG:", *(f"  {s.name:<12}{s.desc}" for s in read_stages(root).values()), ""]
    lines.append("commands:")
    for name in commands:
        purpose = (importlib.import_module(f"pipeline.command.{name}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<12}{purpose}")
    return "\n".join([*lines, EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
