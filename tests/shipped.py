"""A small trained network as `data/ship` holds it: what serve, predict, release and verify read."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.core import artifact
from pipeline.outlier import page
from pipeline.stages import compress, export, ood, ship
from tests import toy, trained

SHIP = {"samples": 64, "batches": [1, 2, 7], "tolerance": 1e-4, "max_drop": 0.05, "timed": [1, 4], "repeats": 3, "batch": 1, "budget_ms": None}
OOD = {"sets": ["noise"], "ship": "energy", "false_alarm": 0.05, "fitted": 100, "known": 40, "others": 8, "gradients": 4}
INTERVALS = {"resamples": 50, "coverage": 0.95}
INGEST = {"height": 16, "width": 16, "channels": 1, "fit": "stretch", "min_side": 8, "max_aspect": 20.0, "max_pixels": 1_000_000,
          "sixteen_bit": "reject", "background": 128}  # fmt: skip


def allowed_to_lack(name: str, why: str) -> str:
    """The reason why a test may pass over a target here; "" where its absence is a fault of the installation.

    Everything of the extra `targets` must be there, and Chromium; onnxruntime-web wherever npm could fetch it. CoreML and
    LiteRT are installed by hand.
    """
    if name == "web":
        return why if shutil.which("npm") is None else ""
    return why if name in {"coreml", "litert"} else ""


def config(folders: trained.Folders, *targets: str, **changes: Any) -> dict[str, Any]:
    """What the stages compress, export, ood and ship read."""
    return {
        "target": {name: toy.option("target", name) for name in targets}, "ship": {**SHIP, **changes}, "task": folders.task,
        "exporter": toy.option("exporter", "onnx"), "compressor": toy.option("compressor", "int8"), "shrinker": {},
        "compress": {"calibration": 32}, "detector": {"none": {"_target_": None}}, "ood": OOD,
        "export": {"parity_samples": 30, "batch_sizes": [1, 7], "tolerance": 1e-4, "timing_repeats": 1},
        "ingest": INGEST, "intervals": INTERVALS, "seed": 0, "threads": 1,
    }  # fmt: skip


def unwatched(directory: Path) -> Path:
    """What the stage ood publishes where no detector travels."""
    (directory / "ood").mkdir()
    page.nothing(directory / "ood", "none")
    return directory / "ood"


def before(directory: Path, *, detector: bool = True, **shape: Any) -> tuple[trained.Folders, dict[str, Path]]:
    """Everything that the stage ship reads."""
    folders = trained.folders(directory, **{"count": 200, **shape})
    cfg = config(folders)
    inputs = dict(folders.inputs)
    if detector:
        cfg["detector"] = {"energy": toy.option("detector", "energy")}
        (directory / "ood").mkdir()
        ood.run({**cfg, "embedder": None}, directory / "ood", embed=toy.embed(directory, folders.ingest, off=True), **inputs)
    else:
        unwatched(directory)
    for stage in (export, compress):
        out = directory / stage.__name__.rsplit(".", 1)[1]
        out.mkdir()
        stage.run(cfg, out, **inputs, ood=directory / "ood")
    inputs |= {name: directory / name for name in ("ood", "export", "compress")}
    return folders, inputs


def folder(directory: Path, *targets: str, **changes: Any) -> Path:
    """A published `ship`, with changes of its numbers."""
    folders, inputs = before(directory)
    cfg = config(folders, *targets, **changes)
    cfg["detector"] = {"energy": toy.option("detector", "energy")}
    partial = artifact.begin(directory / "ship")
    ship.run(cfg, partial, **inputs)
    artifact.publish(partial, directory / "ship", {"stage": "ship", "inputs": {}, "seed": 0, "versions": {}})
    return directory / "ship"
