"""ONNX Runtime on the CPU.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Floats, Pixels

INPUT, OUTPUT = "pixels", "prediction"


class Opened:
    """A file in ONNX Runtime.

    Args:
        session: the open file.
    """

    def __init__(self, session: Any) -> None:
        self.session = session

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        answer: Floats = self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(pixels_BHWC)})[0]
        return answer

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name: `prediction`, and what else the file was saved with."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {INPUT: np.ascontiguousarray(pixels_BHWC)}), strict=True))


def open_file(path: Path, *, deterministic: bool = True) -> Opened:
    """Open an ONNX file on the CPU, with OMP_NUM_THREADS threads.

    Args:
        path: the file; from it or its bytes nothing else is read.
        deterministic: choose kernels that give the same bits at every run.
    """
    return Opened(session_of(str(path), deterministic=deterministic))


def session_of(source: str | bytes, *, deterministic: bool = True) -> Any:
    """A session of ONNX Runtime on the CPU, of a file or of its bytes; see `open_file`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = deterministic
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
