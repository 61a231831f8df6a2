"""A network for converters whose runtimes take floats and channels first: traced, on one image.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Floating(nn.Module):
    """The network behind pixels from 0 to 255 as 32-bit numbers, channels first.

    Args:
        network: `Made.plain`, with `model` and `decode`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model, self.decode = network.model, network.decode

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Decoded predictions (B, K)."""
        decoded_BK: Tensor = self.decode(self.model(x_BCHW / 255.0))  # type: ignore[operator]
        return decoded_BK


def traced_on_floats(network: nn.Module, shape: Sequence[int]) -> Any:
    """A TorchScript of the network on floats (1, C, H, W).

    Args:
        network: `Made.plain`.
        shape: of the stored images, (B, H, W, C); one image is traced.
    """
    _, height, width, channels = shape
    with torch.no_grad():
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            Floating(network).eval(), torch.zeros((1, channels, height, width)), check_trace=False
        )
