"""Search the chain prune, project, compress for the smallest model that keeps limits on accuracy, time and memory.

Candidates are judged on the validation split and measured in processes of their own; the test split stays closed. The same
command after a kill, or with other limits, takes what was measured before.
"""

import argparse
import hashlib
import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.command.review import has_display
from pipeline.command.verify import other_inputs
from pipeline.core.artifact import digest, read_json
from pipeline.core.config import Composer, compose
from pipeline.core.dag import COMPOSED, read_params, read_stage
from pipeline.core.errors import PersonError
from pipeline.core.fingerprint import fingerprint_from
from pipeline.core.parts import build, is_off, targets
from pipeline.search.alone import alone

EXAMPLES = """examples:
  python -m pipeline smallest                                     the grid and the limits of conf/config.yaml, key smallest
  python -m pipeline smallest smallest.max_drop=0.005 smallest.hold=interval
  python -m pipeline smallest smallest.max_ms=2 smallest.max_memory_mb=40
  python -m pipeline smallest smallest.prune=[0.4,0.6] compress.tune_steps=600
  python -m pipeline smallest --plan                              which candidates, and nothing runs
It needs what  dvc repro ood  publishes.
"""
INPUTS = ("ingest", "split", "train", "ood")
CODE = ("pipeline.compression.search", "pipeline.shipping.attempt")  # with all that they import: it makes files and measures them
GROUPS = ("shrinker", "compressor")
FIXED = ("shrinker", "compressor", "smallest", "compress", "intervals")  # what may differ from what was published


class Asked:
    """The words of params.yaml and of the command line, and what each candidate is with them.

    Args:
        root: the project.
        words: of the command line.
    """

    def __init__(self, root: Path, words: Sequence[str]) -> None:
        params = read_params(root)
        self.conf, self.experiment = root / "conf", str(params["experiment"])
        self.words = [*(str(word) for word in params.get("overrides") or []), *words]

    @cached_property
    def _composer(self) -> Composer:
        return Composer(self.conf, experiment=self.experiment)

    def plain(self) -> dict[str, Any]:
        """The configuration without what is a candidate's own."""
        words = [word for word in self.words if _group(word) not in GROUPS]
        return compose(self.conf, experiment=self.experiment, overrides=words)

    def settings(self, candidate: Any) -> dict[str, Any]:
        """The whole configuration with this candidate."""
        return self._composer([*_fitting(self.words, candidate, self.conf), *candidate.groups], candidate.leaves)

    def overrides(self, candidate: Any) -> list[str]:
        """All words that this configuration follows from; those of the search itself have no part in it."""
        shared = [word for word in _fitting(self.words, candidate, self.conf) if _group(word) != "smallest"]
        return [*shared, *candidate.overrides]


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline smallest`; 0 where a candidate keeps the limits, 1 where none does.

    Raises:
        PersonError: nothing is trained, or the configuration is not the one that was.
    """
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    asked = Asked(root, options.words)
    cfg = asked.plain()
    from pipeline.compression.candidates import candidates

    wanted = candidates(cfg["smallest"])
    _check_words(asked.words, wanted, asked.conf)
    for candidate in wanted:
        if is_off(asked.settings(candidate)["compressor"]):
            raise PersonError(
                "smallest.compressor: none makes no smaller file; the original is measured beside the others anyway"
            )
    if options.plan:
        _plan(wanted)
        return 0
    _check(root, cfg)
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = root / ".run" / "smallest"
    with alone(folder):
        return _searched(root, cfg, wanted, asked, show=not options.no_browser)


def _searched(root: Path, cfg: dict[str, Any], wanted: Sequence[Any], asked: Asked, *, show: bool) -> int:
    import torch

    from pipeline.compression.choice import smallest
    from pipeline.compression.page import Searched, write_page
    from pipeline.compression.search import Search

    torch.set_deterministic_debug_mode("error")
    torch.set_num_threads(int(cfg["threads"]))
    torch.manual_seed(int(cfg["seed"]))
    world = _world(root, cfg, asked)
    task, limits = world.chain.task, cfg["smallest"]
    _say(f"{len(wanted)} candidates on {len(world.validation)} samples of the validation split")
    results = Search(world, repeats=int(limits["repeats"]), say=_say).run(wanted)
    chosen = smallest(results[1:], limits, higher=task.higher_is_better)
    facts = {
        "candidates": f"{len(wanted)}, of which {sum(one.measured is None for one in results)} could not be made",
        "samples of the validation split": f"{len(world.validation):,}",
        "intervals": f"{100 * float(cfg['intervals']['coverage']):g} %, {cfg['intervals']['resamples']} resamples",
        "runtime": "ONNX Runtime on the CPU, one thread",
        "load of this machine at the end": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
    }
    label = task.meanings[task.headline][0]
    searched = Searched(results, chosen, limits, label, task.higher_is_better, facts, asked.overrides)
    page = write_page(searched, world.folder)
    _say(f"asked: {searched.asked()}")
    if chosen is None:
        _say("no candidate keeps that: the page says what each misses")
    else:
        _say(f"smallest: {chosen.name}\nto take it: {searched.command()}")
    _say(f"the page: {page.relative_to(root)}")
    if show and has_display() and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())
    return 0 if chosen else 1


def _world(root: Path, cfg: dict[str, Any], asked: Asked) -> Any:
    """What every candidate is made from."""
    import yaml

    from pipeline.compression.search import World
    from pipeline.training.chain import Files, open_chain
    from pipeline.training.detection import open_detection
    from pipeline.training.subset import read_subset

    places = {name: root / "data" / name for name in INPUTS}
    card = read_json(places["ingest"] / "card.json")
    task = build(cfg["task"], card=card)
    ood = places.pop("ood")
    chain = open_chain(task, cfg["compress"], seed=int(cfg["seed"]), **places)
    files = Files(task, card, build(cfg["exporter"]), open_detection(cfg, chain.trained, task, {**places, "ood": ood}))
    validation = read_subset(task, places["ingest"], places["split"], ["val"])
    if not len(validation):
        raise PersonError("the validation split is empty, and candidates are judged on it: set a larger share for it")
    known: dict[tuple[str, ...], str] = {}

    def code(parts: dict[str, Any]) -> str:
        named = tuple(targets(parts))
        if named not in known:
            found = fingerprint_from(root / "pipeline", CODE, parts)
            known[named] = json.dumps(found, sort_keys=True)
        return known[named]

    facts = [digest(place) for place in (*places.values(), ood)]
    return World(
        chain, files, shared={key: cfg[key] for key in ("exporter", "detector", "task")}, validation=validation,
        settings=asked.settings, folder=root / ".run" / "smallest",
        target=yaml.safe_load((root / "conf/target/onnx.yaml").read_text(encoding="utf-8")),
        measure={**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])},
        identity=hashlib.sha256(" ".join(facts).encode()).hexdigest(), code=code,
    )  # fmt: skip


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _group(word: str) -> str:
    return _key(word).partition(".")[0]


def _check_words(words: Sequence[str], wanted: Sequence[Any], conf: Path) -> None:
    """Refuse a number of a shrinker or compressor that no candidate has a place for."""
    numbers = [word for word in words if _group(word) in GROUPS and "." in _key(word)]
    free = {_key(word) for candidate in wanted for word in _fitting(words, candidate, conf)}
    set_here = {key for candidate in wanted for key in candidate.leaves}
    for word in numbers:
        if _key(word) not in free | set_here:
            raise PersonError(
                f"{_key(word)} is no setting of any candidate: take it out, or name its option in  smallest.compressor"
            )


def _fitting(words: Sequence[str], candidate: Any, conf: Path) -> list[str]:
    """Overrides that this candidate does not set itself, and has a place for."""
    import yaml

    option = conf / "compressor" / f"{candidate.compressor}.yaml"
    known = yaml.safe_load(option.read_text(encoding="utf-8")) if option.is_file() else {}
    kept = []
    for word in words:
        key = _key(word)
        group, rest = _group(word), key.partition(".")[2]
        placed = {"shrinker": rest.partition(".")[0] in candidate.shrinkers, "compressor": rest in known}
        if key not in candidate.leaves and placed.get(group, True):
            kept.append(word)
    return kept


def _check(root: Path, cfg: dict[str, Any]) -> None:
    """Hold the configuration against the one that was trained.

    Raises:
        PersonError: they differ, or nothing was published.
    """
    if is_off(cfg["exporter"]):
        raise PersonError("a compressor works on the exported model: choose  exporter=onnx")
    for name in INPUTS:
        if not (root / "data" / name / "manifest.json").is_file():
            raise PersonError(f"data/{name} is not there, and candidates are made of it: run  dvc repro ood")
        made_from = read_json(root / "data" / name / "manifest.json").get("inputs") or {}
        others = other_inputs(made_from, {other: root / "data" / other for other in INPUTS if other in made_from})
        if others:
            raise PersonError(f"data/{name} was made from another data/{others[0]} than what is there: run  dvc repro ood")
    import yaml

    composed = yaml.safe_load((root / COMPOSED).read_text(encoding="utf-8"))
    keys = {key.split(".")[0] for name in INPUTS for key in read_stage(root, name).keys} - {"code", *FIXED}
    other = sorted(key for key in keys if composed.get(key) != cfg.get(key))
    if other:
        raise PersonError(f"{', '.join(other)} is not what data/train was made with: run  dvc repro ood  with it first")


def _plan(wanted: Sequence[Any]) -> None:
    from pipeline.compression.search import grouped

    for name, count in grouped(wanted):
        _say(f"  {name}: {count}")
    _say(f"{len(wanted)} candidates")


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline smallest", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="key=value", help="any Hydra override")
    parser.add_argument("--plan", action="store_true", help="say which candidates there are, and run nothing")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    return parser.parse_intermixed_args(argv)
