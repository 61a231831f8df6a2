"""LiteRT, which was TensorFlow Lite: a runtime for phones and small boards, with the XNNPACK kernels.

litert-torch converts, in an environment of its own that `make litert` makes once (`litert.txt` holds its versions); the file runs
in ai-edge-litert, which lies beside the rest.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import ANSWERS, Made
from pipeline.core.errors import PersonError
from pipeline.core.record import Floats, Pixels
from pipeline.runtime import to_litert

PATIENCE = 800.0  # seconds for the converter


class LiteRt:
    """One `.tflite` file for a batch of one uint8 image.

    Args:
        environment: folder of the converter's environment, relative to the project.
    """

    needs = (("ai-edge-litert", "ai_edge_litert"),)
    precision = "fp32"
    largest_batch = 1
    runs_code = False
    runs = True

    def __init__(self, *, environment: str = ".run/litert") -> None:
        self.environment = environment

    def build(self, made: Made, directory: Path) -> Path:
        """Write the program down and have it converted.

        Raises:
            PersonError: the converter is not there, or has no word for an operator; the message names it.
        """
        import torch

        python = Path(self.environment) / "bin" / "python"
        if not python.is_file():
            raise PersonError(f"the converter is not in {self.environment}: run  make litert  once (1 GB)")
        path = directory / "model.tflite"
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            program = torch.export.export(made.network, (made.example_BHWC[:1],))
            torch.export.save(program, Path(folder) / "model.pt2")
            words = [str(python.absolute()), to_litert.__file__, str(Path(folder) / "model.pt2"), str(path.absolute())]
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder,
                                  env={**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""})  # fmt: skip
        if done.returncode or not path.is_file():
            told = [line for line in done.stderr.splitlines() if line.strip()]
            raise PersonError(f"litert-torch cannot convert it: {told[-1].strip()[:300] if told else f'exit {done.returncode}'}")
        return path

    def load(self, path: Path) -> "Opened":
        """Open it on the CPU, with OMP_NUM_THREADS threads."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
        interpreter.allocate_tensors()
        return Opened(interpreter)


class Opened:
    """A file in LiteRT, called image by image.

    Args:
        interpreter: with its tensors allocated.
    """

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        self.input = interpreter.get_input_details()[0]["index"]
        self.outputs = [entry["index"] for entry in interpreter.get_output_details()]

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        rows = []
        for row in range(len(pixels_BHWC)):
            self.interpreter.set_tensor(self.input, np.ascontiguousarray(pixels_BHWC[row : row + 1]))
            self.interpreter.invoke()
            rows.append([self.interpreter.get_tensor(index) for index in self.outputs])
        return {name: np.concatenate(parts) for name, parts in zip(ANSWERS, zip(*rows, strict=True), strict=False)}
