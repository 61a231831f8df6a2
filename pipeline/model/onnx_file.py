"""The network of an ONNX file, as a torch module that trains on: by onnx2torch, see `pipeline.backbone.foreign`.

The file gives the structure each time that the model is opened, so it has to stay where it is named; keep it outside `data/`.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone.foreign import Foreign, check_usable, open_onnx
from pipeline.backbone.preparation import IMAGENET_MEAN, IMAGENET_STD, statistics
from pipeline.core.artifact import sha256
from pipeline.core.errors import PersonError

HEADS = ("keep", "fresh")


class OnnxFile(nn.Module):
    """A foreign network behind the size and the normalisation that it takes; a Softmax at its end is left out.

    Args:
        file: the .onnx file.
        file_sha256: of that file, or null; a changed file of the same name is only seen with it.
        normalise: pixels by the statistics of the `data`, by those of ImageNet (`network`), or `none`.
        head: keep the last layer, or a `fresh` one, at random, for the number of outputs of the data.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        PersonError: no file, another hash, an input that is no float32 image, or other numbers of channels or outputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        file: str | None = None, file_sha256: str | None = None, normalise: str = "data", head: str = "keep",
    ) -> None:  # fmt: skip
        super().__init__()
        if head not in HEADS:
            raise PersonError(f"model.head must be keep or fresh: received {head!r}")
        foreign = _opened(file, file_sha256)
        _, wanted, *sides = foreign.shape
        if wanted not in (None, channels, 3) or (wanted == 3 and channels not in (1, 3)):
            told = f"takes {wanted} channels, the data has {channels}"
            raise PersonError(f"model.file: {file} {told}: set  ingest.channels={wanted}")
        self.grey = wanted == 3 and channels == 1
        size = (sides[0] or height, sides[1] or width_pixels)
        self.size = None if size == (height, width_pixels) else size
        kind, nothing = ("data", ([0.0] * channels, [1.0] * channels)) if normalise == "none" else (normalise, (mean, std))
        mean_1C11, std_1C11 = statistics(kind, data=nothing, network=(IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean_1C11)
        self.register_buffer("std", std_1C11)
        self.network = foreign.network
        if head == "fresh":
            _fresh_head(self.network, outputs)
        self._check(outputs, (channels, height, width_pixels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        if self.size is not None:
            x_BCHW = nn.functional.interpolate(x_BCHW, self.size, mode="bilinear")
        x_BCHW = (x_BCHW - self.mean) / self.std
        if self.grey:
            x_BCHW = x_BCHW.expand(-1, 3, -1, -1)
        output_BK: Tensor = self.network(x_BCHW)
        return output_BK

    def _check(self, outputs: int, shape: tuple[int, int, int]) -> None:
        """Run it once, on two images."""
        try:
            with torch.no_grad():
                found = self.eval()(torch.zeros(2, *shape))
        except (RuntimeError, ValueError, TypeError) as error:
            told = next((line for line in str(error).splitlines() if line.strip()), "no word")
            raise PersonError(
                f"model.file: the network does not take two images of {shape} ({told[:160]}): export it with a free batch"
            ) from error
        finally:
            self.train()
        if not isinstance(found, Tensor) or found.shape != (2, outputs):
            given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise PersonError(
                f"model.file: the network gives {given} for two images, the data needs (2, {outputs}): set  model.head=fresh"
            )


def _opened(file: str | None, wanted: str | None) -> Foreign:
    if file is None:
        raise PersonError("model.file is not set: name an ONNX file, or import one with  python -m pipeline import FILE")
    path = Path(file).expanduser()
    if not path.is_file():
        raise PersonError(f"model.file: there is no file {path}")
    found = sha256(path)
    if wanted is not None and found != wanted.lower():
        raise PersonError(f"model.file: {path.name} has SHA-256 {found}, expected {wanted}: bring the right file")
    foreign = open_onnx(path, name=path.name, raw=True)
    check_usable(foreign, path.name)
    return foreign


def _fresh_head(network: Any, outputs: int) -> None:
    """Replace the last linear layer.

    Raises:
        PersonError: there is none.
    """
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise PersonError("model.head=fresh: the network has no linear layer to replace; keep its head")
    name, last = found[-1]
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Linear(last.in_features, outputs))
