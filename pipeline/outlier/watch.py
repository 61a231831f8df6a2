"""The chosen detector beside the network: one graph that answers with outputs, score and flag.

B samples, C channels, H height, W width, D features, K outputs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.outlier.view import State, halves

WEIGHTS, FACTS = "detector.safetensors", "detector.json"
OUTPUTS = ("unknown_score", "unknown")


@dataclass(frozen=True)
class Chosen:
    """The detector that travels.

    Attributes:
        name: of the option in conf/detector.
        threshold: score above which an input is called unknown.
        false_alarm: share of known inputs that the threshold was set for, on the validation split.
        validation: samples of it.
    """

    name: str
    threshold: float
    false_alarm: float
    validation: int


class Watch(nn.Module):
    """A network with a detector behind it.

    Args:
        body: images -> features (B, D), or -> raw outputs where `last` is None.
        last: the last linear layer, or None where the detector reads raw outputs alone.
        scorer: (logits_BK, features_BD) -> scores (B,).
        chosen: with the threshold.
    """

    threshold: Tensor

    def __init__(self, body: nn.Module, last: nn.Linear | None, scorer: nn.Module, chosen: Chosen) -> None:
        super().__init__()
        self.body, self.last, self.scorer, self.chosen = body, last, scorer, chosen
        self.register_buffer("threshold", torch.tensor(chosen.threshold, dtype=torch.float32))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels in [0, 1] -> raw outputs (B, K), scores (B,) and whether each is called unknown (B,)."""
        features_BD = self.body(x_BCHW)
        output_BK = features_BD if self.last is None else self.last(features_BD)
        score_B = self.scorer(output_BK, features_BD)
        return output_BK, score_B, score_B > self.threshold


def save_watch(directory: Path, chosen: Chosen | None, state: State) -> None:
    """Write `detector.json` and `detector.safetensors`; both are empty where nothing travels."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, directory / WEIGHTS)
    write_json(directory / FACTS, {} if chosen is None else asdict(chosen))


def load_watch(directory: Path, model: nn.Module, nodes: Mapping[str, Any], x_BCHW: Tensor) -> Watch | None:
    """The chosen detector behind a network; None where nothing travels.

    Args:
        directory: of the artifact ood.
        model: the trained network, in evaluation mode; it is left as it was.
        nodes: option -> configuration of each detector, as the stage ood had them.
        x_BCHW: two or more different images of the network's size.

    Raises:
        PersonError: the artifact and the configuration do not fit.
    """
    facts = read_json(directory / FACTS)
    if not facts:
        return None
    chosen = Chosen(**facts)
    if chosen.name not in nodes:
        raise PersonError(f"the detector {chosen.name!r} of data/ood is not among detector=[...]: run  dvc repro ood")
    part = build(nodes[chosen.name])
    scorer = part.graph(load_file(directory / WEIGHTS))
    assert scorer is not None
    if "features" not in part.needs:
        return Watch(model, None, scorer, chosen).eval()
    found = halves(model, x_BCHW)
    if found is None:
        raise PersonError(f"the detector {chosen.name!r} reads features, and the network has none: run  dvc repro ood")
    return Watch(*found, scorer, chosen).eval()
