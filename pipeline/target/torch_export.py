"""torch.export: a graph of torch operators without Python code, for torch's own runtimes (AOTInductor, C++) and for converters.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import ANSWERS, Made
from pipeline.core.record import Floats, Pixels


class TorchExport:
    """One `.pt2` file with a free batch dimension."""

    needs = (("torch", "torch"),)
    precision = "fp32"
    largest_batch = None
    runs_code = True
    runs = True

    def build(self, made: Made, directory: Path) -> Path:
        """Trace and write; the facts travel in the archive as `metadata.json`."""
        import torch

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(made.network, (made.example_BHWC,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            path = directory / "model.pt2"
            torch.export.save(program, path, extra_files={"metadata.json": json.dumps(dict(made.metadata), sort_keys=True)})
        return path

    def load(self, path: Path) -> "Opened":
        """Open the archive, which holds no pickle."""
        import torch

        return Opened(torch.export.load(path).module())


class Opened:
    """A program in torch.

    Args:
        module: uint8 images -> a tensor, or a tuple of tensors.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        import torch

        with torch.inference_mode():
            found = self.module(torch.from_numpy(np.ascontiguousarray(pixels_BHWC)))
        parts = found if isinstance(found, tuple) else (found,)
        return {name: part.numpy() for name, part in zip(ANSWERS, parts, strict=False)}
