"""A small convolutional network, trained for a moment on the blobs of tests/toy.py: what the stages after training read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.artifact import read_json
from pipeline.core.parts import build
from pipeline.core.store import open_samples
from pipeline.training.saved_model import save_model
from tests import toy

CLASSES = ["bar", "disc"]


@dataclass(frozen=True)
class Folders:
    """What ingest, split and train published, and the task."""

    ingest: Path
    split: Path
    train: Path
    task: dict[str, Any]

    @property
    def inputs(self) -> dict[str, Path]:
        """As a stage is handed them."""
        return {"ingest": self.ingest, "split": self.split, "train": self.train}


def folders(directory: Path, *, task: str = "classification", steps: int = 30, model: str = "resnet", **shape: int) -> Folders:
    """Publish toy artifacts with a trained network of the option conf/model/<model>.yaml."""
    node = toy.option("task", task)
    ingest = toy.ingest(directory, classes=CLASSES, **{"count": 160, **shape})
    split = toy.split(directory, ingest)
    train = directory / "train"
    train.mkdir()
    card, stored, goal = read_json(ingest / "card.json"), open_samples(ingest), None
    goal = build(node, card=card)
    facts = {"channels": card["channels"], "height": card["height"], "width_pixels": card["width"], "outputs": goal.outputs(),
             **read_json(split / "statistics.json")}  # fmt: skip
    part = toy.option("model", model, **({"width": 8, "dropout": 0.0} if model == "resnet" else {"dropout": 0.0}))
    torch.manual_seed(0)
    network = build(part, **facts)
    positions = stored.positions(read_json(split / "split.json")["train"])
    x_BCHW = torch.from_numpy(np.stack([stored.pixels(int(p)) for p in positions])).permute(0, 3, 1, 2).float() / 255
    truth_B = torch.from_numpy(goal.truth({name: values[positions] for name, values in stored.columns.items()}))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        goal.losses(network(x_BCHW), truth_B).mean().backward()
        optimiser.step()
    save_model(network, {"part": part, "facts": facts, "task": node}, train)
    return Folders(ingest, split, train, node)
