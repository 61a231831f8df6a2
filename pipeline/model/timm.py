"""Any network of timm by its name (huggingface/pytorch-image-models), from scratch or from a local file of weights.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError, near_match


class Timm(nn.Module):
    """A timm network with its head replaced.

    Args:
        name: as in `timm.list_models()`.
        weights: a local .safetensors file of the network's own state dict, or null for random weights; nothing is downloaded.
        side: pixels to which the shorter and the longer side are resized first; null keeps the stored size.
        dropout: before the head.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        PersonError: timm knows no such network (the near match is named), or the weights are of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        name: str, weights: str | None = None, side: int | None = None, dropout: float = 0.0, pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        import timm

        if name not in timm.list_models():
            raise PersonError(f"model.name: timm has no network {name!r}: {near_match(name, timm.list_models())}")
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, channels, 1, 1))
        self.side = side
        self.network: nn.Module = timm.create_model(name, num_classes=outputs, in_chans=channels, drop_rate=dropout)
        if weights is not None and pretrained:
            _load(self.network, Path(weights))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        if self.side is not None:
            x_BCHW = nn.functional.interpolate(x_BCHW, (self.side, self.side), mode="bilinear")
        return self.network((x_BCHW - self.mean) / self.std)  # type: ignore[no-any-return]


def _load(network: nn.Module, path: Path) -> None:
    """Load every tensor whose shape fits; the head alone may differ."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise PersonError(f"model.weights: there is no file {path}")
    own, given = network.state_dict(), load_file(path)
    wrong = [name for name in own if name not in given or given[name].shape != own[name].shape]
    if len(wrong) > 2:  # weight and bias of the head
        raise PersonError(f"model.weights: {path.name} does not fit this network; first mismatches: {', '.join(wrong[:5])}")
    network.load_state_dict({name: tensor for name, tensor in given.items() if name not in wrong and name in own}, strict=False)
