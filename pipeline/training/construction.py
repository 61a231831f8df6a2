"""Build the network of an experiment from its configuration and the facts of its data, as training starts with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.core.artifact import read_json
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.parts import build
from pipeline.training.surgery import operate


@dataclass(frozen=True)
class Built:
    """What is trained, and all that rebuilds it.

    Attributes:
        task: built with the data card, and checked against it.
        model: with random or pretrained weights, after surgery.
        saved: of `model.json`.
    """

    task: Any
    model: nn.Module
    saved: dict[str, Any]


def construct(cfg: Mapping[str, Any], *, ingest: Path, split: Path) -> Built:
    """Build task and network; the random weights are a function of the seed alone.

    Args:
        cfg: `task`, `model`, `train` and `seed`.
        ingest: holds the data card.
        split: holds the statistics of the train split.

    Raises:
        PersonError: the card cannot serve the task, or the network cannot be built as asked.
    """
    card, statistics = read_json(ingest / "card.json"), read_json(split / "statistics.json")
    task = build(cfg["task"], card=card)
    task.check()
    facts = {
        "channels": card["channels"], "height": card["height"], "width_pixels": card["width"], "outputs": task.outputs(),
        "mean": statistics["mean"], "std": statistics["std"],
    }  # fmt: skip
    torch.manual_seed(keyed_seed(cfg["seed"], "init"))
    model: nn.Module = build(cfg["model"], **facts)
    operate(model, cfg["train"], facts)
    saved = {"part": cfg["model"], "facts": facts, "task": cfg["task"]}
    if cfg["train"].get("replace"):
        saved["replace"] = cfg["train"]["replace"]
    origin = getattr(model, "origin", None)
    if origin is not None:
        saved["weights"] = origin
    return Built(task, model, saved)
