"""CoreML, for Apple's devices: an ML program that is converted here and runs on a Mac or a phone.

B batch, C channels, H height, W width, K columns of a decoded prediction.
"""

import logging
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import Made
from pipeline.core.record import Floats, Pixels

OUTPUTS = ("prediction", "unknown_score", "excess")  # the last: by how much the score exceeds the threshold


class CoreMl:
    """A `.mlpackage` for one image, channels first, as 32-bit numbers from 0 to 255, with the detector of unknown inputs inside.

    CoreML has no 8-bit inputs but images: the caller turns the pixels into floats, the rest is inside. coremltools converts
    anywhere and predicts on a Mac alone; elsewhere the target is marked as not run.

    Args:
        half: weights and arithmetic in 16 bits, as the neural engine wants them.
    """

    needs = (("coremltools", "coremltools"),)
    largest_batch = 1
    runs_code = False

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self.precision = "fp16" if half else "fp32"
        self.runs = platform.system() == "Darwin"

    def build(self, made: Made, directory: Path) -> Path:
        """Convert a traced network."""
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        import coremltools

        from pipeline.runtime.traced import traced_on_floats

        _, height, width, channels = made.example_BHWC.shape
        shape = (1, channels, height, width)
        traced = traced_on_floats(made.network, made.example_BHWC.shape, watched=bool(made.further))
        names = OUTPUTS if made.further else OUTPUTS[:1]
        precision = coremltools.precision.FLOAT16 if self.half else coremltools.precision.FLOAT32
        model = coremltools.convert(
            traced, inputs=[coremltools.TensorType(name="pixels", shape=shape, dtype=np.float32)],
            outputs=[coremltools.TensorType(name=name, dtype=np.float32) for name in names], convert_to="mlprogram",
            compute_precision=precision, minimum_deployment_target=coremltools.target.iOS16,
        )  # fmt: skip
        model.user_defined_metadata.update({key: str(value) for key, value in sorted(made.metadata.items())})
        model.save(str(directory / "model.mlpackage"))
        return directory / "model.mlpackage" / "Manifest.json"

    def load(self, path: Path) -> "Opened":
        """Open it on a Mac."""
        import coremltools

        return Opened(coremltools.models.MLModel(str(path.parent)))


class Opened:
    """A model in CoreML, called image by image.

    Args:
        model: the open package.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        from pipeline.runtime.traced import read_watched

        x_BCHW = pixels_BHWC.transpose(0, 3, 1, 2).astype(np.float32)
        said = (self.model.predict({"pixels": x_CHW[None]}) for x_CHW in x_BCHW)
        return read_watched([[parts[name] for name in OUTPUTS if name in parts] for parts in said])
