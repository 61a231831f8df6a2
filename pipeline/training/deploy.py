"""A trained network as other runtimes get it: uint8 images in, decoded predictions out.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.contracts import Exporter
from pipeline.outlier.watch import OUTPUTS, Chosen, Watch


class Deployed(nn.Module):
    """The network with its pre-processing before it and the task's decoding after it.

    Args:
        model: pixels in [0, 1] (B, C, H, W) -> raw outputs.
        task: whose `decode` is put into the graph.
        watch: the network with a detector of unknown inputs behind it, which then takes the place of `model`; None for none.
    """

    def __init__(self, model: nn.Module, task: Any, watch: Watch | None = None) -> None:
        super().__init__()
        self.model: nn.Module = model if watch is None else watch
        self.watched = watch is not None
        self.decode = task.decode

    def forward(self, pixels_BHWC: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """uint8 images (B, H, W, C) -> decoded predictions (B, K), and with a detector scores (B,) and flags (B,)."""
        x_BCHW = pixels_BHWC.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        if self.watched:
            output_BK, score_B, unknown_B = self.model(x_BCHW)
            return self.decode(output_BK), score_B, unknown_B
        decoded_BK: Tensor = self.decode(self.model(x_BCHW))
        return decoded_BK


def deploy(
    model: nn.Module, task: Any, card: Mapping[str, Any], *, exporter: Exporter, directory: Path, watch: Watch | None = None
) -> Path:
    """Write a trained network, with the detector behind it if there is one, with the given exporter; return its file."""
    example_BHWC = torch.zeros((2, card["height"], card["width"], card["channels"]), dtype=torch.uint8)
    network, facts = Deployed(model, task, watch).eval(), metadata(card, task, watch)
    return exporter.save(network, example_BHWC, directory, facts, further=() if watch is None else OUTPUTS)


def metadata(card: Mapping[str, Any], task: Any, watch: Watch | None = None) -> dict[str, str]:
    """What a stranger needs to use the file: shape and range of the input, meaning of the outputs, data and licence."""
    unknown = {} if watch is None else {"unknown": told(watch.chosen)}
    shape = {"shape": ["batch", card["height"], card["width"], card["channels"]], "type": "uint8", "range": [0, 255]}
    return {
        "task": str(task.name),
        "input": json.dumps({"name": "pixels", "layout": "NHWC", **shape}, sort_keys=True),
        "output": json.dumps({"name": "prediction", "columns": list(task.columns)}, sort_keys=True),
        "labels": json.dumps(list(card.get("classes") or []), ensure_ascii=False),
        "target": json.dumps(card.get("target"), sort_keys=True, ensure_ascii=False),
        "data": str(card.get("name", "")),
        "data_licence": str(card.get("license", "")),
        "data_digest": str(card.get("digest", "")),
        **unknown,
    }


def told(chosen: Chosen) -> str:
    """What the further outputs mean: which detector, its threshold, and the rate of false alarms that it was set for."""
    facts = asdict(chosen)
    facts |= {"detector": facts.pop("name"), "outputs": list(OUTPUTS), "meaning": "unknown: the score exceeds the threshold"}
    return json.dumps(facts, sort_keys=True)
