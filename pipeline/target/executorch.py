"""ExecuTorch: torch's runtime for phones and small devices, with the XNNPACK kernels; here in its host runtime.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import ANSWERS, Made
from pipeline.core.record import Floats, Pixels


class ExecuTorch:
    """One `.pte` file for a batch of one image, with the detector of unknown inputs inside."""

    needs = (("executorch", "executorch"),)
    precision = "fp32"
    largest_batch = 1
    runs_code = False
    runs = True

    def build(self, made: Made, directory: Path) -> Path:
        """Lower to XNNPACK where it has kernels; the rest runs on the portable ones."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        network = copy.deepcopy(made.network)
        for parameter in network.parameters():  # XNNPACK's passes refuse a weight that lies channels last
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        with torch.no_grad():
            program = torch.export.export(network, (made.example_BHWC[:1],))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        path = directory / "model.pte"
        path.write_bytes(lowered.buffer)
        return path

    def load(self, path: Path) -> "Opened":
        """Open it in the host runtime."""
        from executorch.runtime import Runtime

        return Opened(Runtime.get().load_program(path))


class Opened:
    """A program in ExecuTorch, called image by image.

    Args:
        program: the open file.
    """

    def __init__(self, program: Any) -> None:
        self.program = program
        self.method = program.load_method("forward")

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        import torch

        images = torch.from_numpy(np.ascontiguousarray(pixels_BHWC))
        said = (self.method.execute([images[row : row + 1]]) for row in range(len(images)))
        rows = [[part.numpy().copy() for part in parts] for parts in said]
        return {name: np.concatenate(parts) for name, parts in zip(ANSWERS, zip(*rows, strict=True), strict=False)}
