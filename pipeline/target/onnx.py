"""ONNX Runtime: the exported file itself, or the compressed one; what certify proved things of is what ships."""

import shutil
from pathlib import Path

from pipeline.core.contracts import Made
from pipeline.core.errors import PersonError
from pipeline.runtime.ort import Opened, open_file

SOURCES = ("export", "compress")


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
        if source not in SOURCES:
            raise PersonError(f"a target's source must be one of {', '.join(SOURCES)}: received {source!r}")
        self.source = source
        self.precision = "fp32" if source == "export" else "int8"

    def build(self, made: Made, directory: Path) -> Path:
        """Copy the file.

        Raises:
            PersonError: nothing was compressed.
        """
        found = made.onnx if self.source == "export" else made.int8
        if found is None:
            raise PersonError("nothing was compressed: choose  compressor=int8")
        return Path(shutil.copyfile(found, directory / "model.onnx"))

    def load(self, path: Path) -> Opened:
        """Open it on the CPU, with OMP_NUM_THREADS threads."""
        return open_file(path)
