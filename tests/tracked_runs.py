"""Real offline runs for the tests of the tracker, of `review` and of `sync`: made once in a test session."""

import atexit
import functools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.artifact import begin, publish, write_json
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.logger.wandb import Wandb

HISTORY = ("step", "loss", "lr", "grad_norm", "val_loss")


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Work in a folder, as a stage works in its repository; WANDB_MODE of the machine is out of the way."""
    before, mode = Path.cwd(), os.environ.pop("WANDB_MODE", None)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        if mode is not None:
            os.environ["WANDB_MODE"] = mode


def tracker(**changed: object) -> Wandb:
    settings = {"project": "tests", "mode": "offline", "timeout_seconds": 60.0, "images": 64, **changed}
    return Wandb(**settings)


def loss(step: int, lr: float) -> float:
    return round(0.2 + math.exp(-step * lr * 4) + 0.02 * math.sin(step), 6)


def publish_all(data: Path, *, lr: float, auroc: float, steps: int) -> dict[str, Path]:
    """Artifacts of compose, train, evaluate and baseline, with the files that the tracker reads."""
    for stage in ("compose", "train", "evaluate", "baseline"):
        partial = begin(data / stage)
        if stage == "compose":
            (partial / "config.yaml").write_text(
                f"train: {{lr: {lr}, max_steps: {steps}}}\ntask: {{headline: auroc}}\n"
                f"model: {{_target_: pipeline.model.resnet.Resnet, width: 8}}\ncode: {{train: abc}}\n"
            )
        if stage == "train":
            rows = [
                f"{step},{loss(step, lr)},{lr * (1 - step / steps):.6f},{1 / (step + 1):.6f},"
                + (f"{loss(step, lr) + 0.1:.6f}" if step % 10 == 0 else "")
                for step in range(0, steps, 2)
            ]
            (partial / "history.csv").write_text("\n".join([",".join(HISTORY), *rows]) + "\n")
        if stage == "evaluate":
            write_json(
                partial / "metrics.json",
                {
                    "auroc": {"value": auroc, "low": auroc - 0.05, "high": auroc + 0.03},
                    "ece": {"value": 0.04, "low": 0.02, "high": 0.07},
                },
            )
            (partial / "confusion.csv").write_text(
                "actual,predicted\n" + "good,good\n" * 30 + "good,defect\n" * 4 + "defect,defect\n" * 11
            )
        if stage == "baseline":
            write_json(
                partial / "metrics.json",
                {
                    "majority": {"auroc": {"value": 0.5, "low": 0.5, "high": 0.5}},
                    "svm": {"auroc": {"value": 0.79, "low": 0.74, "high": 0.84}},
                },
            )
        noise = np.random.default_rng(len(stage) + steps).integers(0, 255, (60, 120), dtype=np.uint8)
        Image.fromarray(noise).save(partial / "picture.png")
        write_section(
            partial,
            Section(
                title=stage.title(),
                summary=f"{stage} found {auroc}",
                pictures=[Picture("picture.png", f"What {stage} saw")],
                tables=[Table("A table", ["fact", "value"], [["rows", 3], ["kind", "text"], ["none", None]])],
            ),
        )
        publish(partial, data / stage, {"stage": stage})
    return {stage: data / stage for stage in ("compose", "train", "evaluate", "baseline")}


@functools.cache
def two_runs() -> Path:
    """A folder with two runs: `aaaa1111` trained, killed, resumed and reported; `bbbb2222` reported alone, its training untracked."""
    root = Path(tempfile.mkdtemp(prefix="tracked-"))
    atexit.register(shutil.rmtree, root, True)
    with inside(root):
        directories = publish_all(root / "data", lr=0.1, auroc=0.87, steps=40)
        for first, last in ((0, 24), (16, 40)):
            run = tracker()
            run.open("aaaa1111", "resnet-aaaa", {"train": {"lr": 0.1}}, {"step": first})
            for step in range(first, last, 2):
                run.log(step, {"loss": loss(step, 0.1), "lr": 0.1 * (1 - step / 40)})
            run.finish()
        tracker().finish_report(directories, "aaaa1111")
        tracker().finish_report(publish_all(root / "other", lr=0.02, auroc=0.83, steps=40), "bbbb2222")
    return root
