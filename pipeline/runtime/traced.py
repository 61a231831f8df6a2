"""A network for converters whose runtimes take floats and channels first: traced, on one image.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.delivery import ANSWERS


class Floating(nn.Module):
    """The network behind pixels from 0 to 255 as 32-bit numbers, channels first.

    Args:
        network: `Made.network` or `Made.plain`.
        watched: whether a detector of unknown inputs stands behind its model.
    """

    def __init__(self, network: Any, *, watched: bool) -> None:
        super().__init__()
        self.model, self.decode, self.watched = network.model, network.decode, watched

    def forward(self, x_BCHW: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Decoded predictions (B, K), and with a detector its scores (B, 1) and how far they exceed its threshold (B, 1)."""
        said = self.model(x_BCHW / 255.0)
        if not self.watched:
            decoded_BK: Tensor = self.decode(said)
            return decoded_BK
        output_BK, score_B, _ = said
        return self.decode(output_BK), score_B.reshape(-1, 1), (score_B - self.model.threshold).reshape(-1, 1)


def traced_on_floats(network: nn.Module, shape: Sequence[int], *, watched: bool) -> Any:
    """A TorchScript of the network on floats (1, C, H, W).

    Args:
        network: `Made.network` or `Made.plain`.
        shape: of the stored images, (B, H, W, C); one image is traced.
        watched: whether a detector of unknown inputs stands behind its model.
    """
    _, height, width, channels = shape
    with torch.no_grad():
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            Floating(network, watched=watched).eval(), torch.zeros((1, channels, height, width)), check_trace=False
        )


def read_watched(rows: Sequence[Sequence[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Every output by name, of the outputs of such a network image by image; unknown is what exceeds the threshold."""
    prediction_BK, *watched = (np.stack([np.asarray(part, dtype=np.float32).reshape(-1) for part in parts])
                               for parts in zip(*rows, strict=True))  # fmt: skip
    if not watched:
        return {ANSWERS[0]: prediction_BK}
    score_B1, excess_B1 = watched
    return {ANSWERS[0]: prediction_BK, ANSWERS[1]: score_B1[:, 0], ANSWERS[2]: excess_B1[:, 0] > 0}
