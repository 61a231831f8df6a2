"""OpenVINO, Intel's runtime for its processors, GPUs and NPUs: an IR of two files, read from the ONNX file.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import Made, precision_of
from pipeline.core.record import Floats, Pixels


class OpenVino:
    """`model.xml` and `model.bin`, with a free batch dimension.

    Args:
        source: export (fp32) or compress (8-bit integers).
        half: store weights in 16 bits; they are computed with in 32.

    Raises:
        PersonError: an unknown source.
    """

    needs = (("openvino", "openvino"),)
    largest_batch = None
    runs_code = False
    runs = True

    def __init__(self, *, source: str = "export", half: bool = False) -> None:
        self.source, self.half = source, half
        stored = precision_of(source)
        self.precision = "fp16" if half and stored == "fp32" else stored

    def build(self, made: Made, directory: Path) -> Path:
        """Convert the ONNX file.

        Raises:
            PersonError: nothing was compressed.
        """
        import openvino

        path = directory / "model.xml"
        model = openvino.convert_model(str(made.file(self.source)))
        for key, value in sorted(made.facts(self.source).items()):
            model.set_rt_info(value, ["pipeline", key])
        openvino.save_model(model, str(path), compress_to_fp16=self.half)
        return path

    def load(self, path: Path) -> "Opened":
        """Compile it for the CPU, in 32 bits, with OMP_NUM_THREADS threads."""
        import openvino

        options = {"INFERENCE_NUM_THREADS": int(os.environ.get("OMP_NUM_THREADS", "1")), "INFERENCE_PRECISION_HINT": "f32",
                   "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}  # fmt: skip
        return Opened(openvino.Core().compile_model(str(path), "CPU", options))


class Opened:
    """A model in OpenVINO.

    Args:
        compiled: for a device.
    """

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.names = [min(output.get_names()) for output in compiled.outputs]

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        found = self.compiled([np.ascontiguousarray(pixels_BHWC)])
        return {name: np.array(found[place]) for place, name in enumerate(self.names)}
