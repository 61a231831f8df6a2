"""Put the model that ships inside a simulated plant and ask whether the whole does what it must."""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.command.serve import add_model, set_threads
from pipeline.command.verify import other_inputs
from pipeline.core import ledger
from pipeline.core.artifact import MANIFEST, read_json
from pipeline.core.config import compose
from pipeline.core.dag import COMPOSED, read_params
from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import build
from pipeline.core.progress import Meter

EXAMPLES = """
examples:
  python -m pipeline simulate solar_line                       a belt of solar cells, sorted by data/ship
  python -m pipeline simulate conveyor reject=[8,9] fast=0.8   any classifier: name the classes that are taken off
  python -m pipeline simulate solar_line extra_ms=400          what would a slower model do?
  python -m pipeline simulate drive                            experiment=motor: the model is the sensor of the load
  python -m pipeline simulate solar_line --target openvino --model cells-1.0 --public-key maker.pub
what is asked stands in conf/plant/<plant>.yaml (max_escape, max_late, ...); each value is held with its interval
exit code: 0 everything that is asked is met, 4 something is missed or cannot be shown, 1 a mistake that the message names
"""
WARM = 3  # calls of the model before the first that counts
STEPS = 1000  # of the progress bar


def main(argv: Sequence[str]) -> int:
    """Simulate and write the page; see the exit codes in the help.

    Raises:
        PersonError: an unknown plant or key, no model, one that was made with other data, or data that the plant cannot use.
    """
    asked = _arguments(argv)
    root = Path.cwd()
    known = sorted(path.stem for path in (root / "conf" / "plant").glob("*.yaml"))
    if asked.plant not in known:
        raise PersonError(f"there is no plant {asked.plant!r}: {near_match(asked.plant, known)}")
    words = [f"+plant={asked.plant}", *(f"++plant.{word}" for word in asked.overrides)]
    plant = build(compose(root / "conf", experiment=None, overrides=words)["plant"])
    from pipeline.loop import page
    from pipeline.shipping.shipped import open_shipped

    set_threads(asked.threads)
    shipped = open_shipped(asked.model, target=asked.target, key=asked.public_key, unsigned=asked.unsigned)
    meter = Meter("simulate", total=STEPS)
    try:
        outcome = plant.run(_material(root, asked, shipped, meter))
    finally:
        meter.close()
        shipped.close()
    model = {"model": str(shipped.folder), "target": shipped.target, "SHA-256": shipped.digest[:12]}
    shown = page.write(outcome, asked.out, model)
    print(f"{outcome.summary}")
    for meaning, value, limit, state in map(page.row, outcome.requirements):
        print(f"  {state:<10}{meaning}: {value}; {limit}")
    print(f"the page: {shown}")
    return 0 if outcome.held else 4


def _material(root: Path, asked: argparse.Namespace, shipped: Any, meter: Meter) -> Any:
    """The model, the test split that it has never seen, and the part that the data came from."""
    import numpy as np
    from omegaconf import OmegaConf

    from pipeline.loop.contract import Material, Said
    from pipeline.training.subset import read_subset

    ingest, split = root / "data" / "ingest", root / "data" / "split"
    if not (root / COMPOSED).is_file() or not (ingest / MANIFEST).is_file() or not (split / MANIFEST).is_file():
        raise PersonError("there are no test samples here (data/compose, data/ingest, data/split): run  dvc repro ship")
    config = OmegaConf.to_container(OmegaConf.load(root / COMPOSED), resolve=True)
    assert isinstance(config, dict)
    card = read_json(ingest / "card.json")
    task = build(config["task"], card=card)
    if shipped.columns != task.columns:
        raise PersonError(
            f"the model of {shipped.folder} predicts {', '.join(shipped.columns[:4])}, the data here is for "
            f"{', '.join(task.columns[:4])}: "
            "simulate where the data lies that it was made for"
        )
    _look(root, asked, _made_from(asked.model, {"ingest": ingest, "split": split}))
    subset = read_subset(task, ingest, split, ["test"])
    source = root / str(read_params(root).get("source") or "conf/no_source")

    def ask(pixels_HWC: Any) -> Said:
        began = time.perf_counter()
        answer = shipped.answer(pixels_HWC[None])[0]
        seconds = time.perf_counter() - began
        values_K = np.array([answer.columns[name] for name in shipped.columns], dtype=np.float64)
        return Said(values_K, bool(answer.unknown), seconds)

    for _ in range(WARM if len(subset) else 0):
        ask(subset.samples.pixels(int(subset.positions[0])))
    return Material(
        ask=ask, classes=task.classes if task.categories else [], truth_N=subset.truth, ids=subset.ids, groups=subset.groups,
        pixels=lambda row: subset.samples.pixels(int(subset.positions[row])), dataset=build(config["dataset"], source=source),
        coverage=float(config["intervals"]["coverage"]), resamples=int(config["intervals"]["resamples"]),
        seed=int(config["seed"]), progress=lambda share: meter.update(round(STEPS * share)),
    )  # fmt: skip


def _made_from(model: Path, folders: Mapping[str, Path]) -> dict[str, str]:
    """Digests of the artifacts that a shipped model was made from.

    Raises:
        PersonError: they are not those of the folders, so a sample of the test split may have been trained on.
    """
    inputs = read_json(model / MANIFEST).get("inputs")
    digests = {name: str(digest) for name, digest in inputs.items()} if isinstance(inputs, dict) else {}
    others = other_inputs(digests, folders)
    if others:
        named = " and ".join(f"data/{name}" for name in others)
        raise PersonError(
            f"the model of {model} was made with another {named} than the one that is there, so a test sample may have been "
            "trained on: run  dvc repro ship"
        )
    return digests


def _look(root: Path, asked: argparse.Namespace, digests: dict[str, str]) -> None:
    """The test split is opened: that counts as a look (`pipeline.core.ledger`)."""
    identity = hashlib.sha256(json.dumps([asked.plant, asked.overrides, digests], sort_keys=True).encode()).hexdigest()
    ledger.record(root, stage="simulate", identity=identity, digests=digests)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline simulate", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("plant", help="a file of conf/plant, without its ending")
    add("overrides", nargs="*", metavar="key=value", help="of that file")
    add_model(parser)
    add("--out", type=Path, default=Path(".run/simulate"), metavar="FOLDER", help="page, table and pictures (.run/simulate)")
    add("--threads", type=int, help="of the runtime (OMP_NUM_THREADS, or 1)")
    asked = parser.parse_intermixed_args(argv)
    wrong = next((word for word in asked.overrides if "=" not in word), "")
    if wrong:
        raise PersonError(f"{wrong!r} is not of the form key=value")
    return asked
