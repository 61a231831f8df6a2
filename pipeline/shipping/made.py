"""What every target is made from, opened from the artifacts of earlier stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.core.artifact import read_json
from pipeline.core.delivery import Made
from pipeline.core.parts import build
from pipeline.outlier.watch import OUTPUTS, load_watch
from pipeline.runtime.stored import stored_metadata
from pipeline.training.deploy import Deployed, metadata
from pipeline.training.saved_model import load_model
from pipeline.training.seen import examples


def made_of(facts: Mapping[str, Any]) -> Made:
    """Open the trained network, its detector and the exported files.

    Args:
        facts: `ingest`, `train` and `ood` are directories of artifacts, `onnx` and `int8` the exported and the compressed file or
            "", `task` and `detector` parts of the configuration, `decoder` how images are read.
    """
    card = read_json(Path(facts["ingest"]) / "card.json")
    task = build(facts["task"], card=card)
    model = load_model(Path(facts["train"])).requires_grad_(requires_grad=False)
    watch = load_watch(Path(facts["ood"]), model, facts["detector"] or {}, examples(card))
    return Made(
        network=Deployed(model, task, watch).eval(), plain=Deployed(model, task).eval(),
        example_BHWC=torch.zeros((2, card["height"], card["width"], card["channels"]), dtype=torch.uint8),
        onnx=_file(facts["onnx"]), int8=_file(facts["int8"]), further=() if watch is None else OUTPUTS,
        metadata=metadata(card, task, watch), told=stored_metadata(Path(facts["int8"])) if facts["int8"] else {},
        decoder=facts["decoder"],
    )  # fmt: skip


def _file(name: str) -> Path | None:
    return Path(name) if name else None
