"""What every target is made from, opened from the artifacts of earlier stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from pipeline.core.artifact import read_json
from pipeline.core.delivery import Made
from pipeline.core.parts import build
from pipeline.outlier.watch import OUTPUTS, load_watch
from pipeline.training.deploy import Deployed
from pipeline.training.saved_model import load_model
from pipeline.training.seen import examples


def made_of(facts: Mapping[str, Any]) -> Made:
    """Open the trained network, its detector and the exported files.

    Args:
        facts: `ingest`, `train`, `ood` and `export` are directories of artifacts, `int8` the compressed file or "", `task` and
            `detector` parts of the configuration, `decoder` how images are read.
    """
    card = read_json(Path(facts["ingest"]) / "card.json")
    task = build(facts["task"], card=card)
    model = load_model(Path(facts["train"])).requires_grad_(requires_grad=False)
    exported = Path(facts["export"]) / "model.onnx"
    watch = load_watch(Path(facts["ood"]), model, facts["detector"] or {}, examples(card))
    proto = onnx.load(exported, load_external_data=False)
    return Made(
        network=Deployed(model, task, watch).eval(), plain=Deployed(model, task).eval(),
        example_BHWC=torch.zeros((2, card["height"], card["width"], card["channels"]), dtype=torch.uint8),
        onnx=exported, int8=Path(facts["int8"]) if facts["int8"] else None, further=() if watch is None else OUTPUTS,
        metadata={entry.key: entry.value for entry in proto.metadata_props}, decoder=facts["decoder"],
    )  # fmt: skip
