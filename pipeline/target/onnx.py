"""ONNX Runtime: the exported file itself, or the compressed one; what certify proved things of is what ships."""

import shutil
from pathlib import Path

from pipeline.core.delivery import Made, precision_of
from pipeline.runtime.ort import Opened, open_file


class OnnxRuntime:
    """A copy of a file that an earlier stage published.

    Args:
        source: export (the trained network in fp32) or compress (the compressed one, in 8-bit integers).

    Raises:
        PersonError: an unknown source.
    """

    needs = (("onnxruntime", "onnxruntime"),)
    largest_batch = None
    runs_code = False
    runs = True

    def __init__(self, *, source: str = "export") -> None:
        self.source = source
        self.precision = precision_of(source)

    def build(self, made: Made, directory: Path) -> Path:
        """Copy the file.

        Raises:
            PersonError: nothing was compressed.
        """
        return Path(shutil.copyfile(made.file(self.source), directory / "model.onnx"))

    def load(self, path: Path) -> Opened:
        """Open it on the CPU, with OMP_NUM_THREADS threads."""
        return open_file(path)
