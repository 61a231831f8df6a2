"""TensorRT, Nvidia's runtime: what builds the engine on the machine that has the GPU. Not run here, and marked so.

An engine holds for one GPU and one version of TensorRT, so what travels is the ONNX file and the command. In 8 bits the scales of
the compressed file (QuantizeLinear and DequantizeLinear) are taken as they are, so no calibration cache is needed.
"""

import shutil
from pathlib import Path
from typing import Any

from pipeline.core.delivery import Made, precision_of
from pipeline.core.errors import PersonError
from pipeline.runtime.stored import stored_precision

SCRIPT = """#!/bin/sh
# Builds model.engine for the GPU of this machine, and times it. Takes TensorRT 10 (its trtexec on the PATH).
# Images: uint8, {shape}; batch 1 to {batch}. Compare its answers with model.onnx before it is used:
#   polygraphy run model.onnx --trt --onnxrt --atol 1e-3
set -eu
cd "$(dirname "$0")"
trtexec --onnx=model.onnx --saveEngine=model.engine \\
  --minShapes=pixels:1x{shape} --optShapes=pixels:{middle}x{shape} --maxShapes=pixels:{batch}x{shape}{flags}
"""


class TensorRt:
    """`model.onnx` and `build.sh`.

    Args:
        source: export (fp32, or fp16 with `half`) or compress (8-bit integers, or the 16 bits that its compressor wrote).
        half: let the engine compute in 16 bits.
        batch: images that one call may take.

    Raises:
        PersonError: an unknown source, or a batch below 1.
    """

    needs = ()
    largest_batch = None
    runs_code = False
    runs = False

    def __init__(self, *, source: str = "export", half: bool = True, batch: int = 32) -> None:
        if batch < 1:
            raise PersonError(f"target.tensorrt.batch must be at least 1: received {batch}")
        self.source, self.half, self.batch = source, half, batch
        stored = precision_of(source)
        self.precision = "fp16" if half and stored == "fp32" else stored

    def build(self, made: Made, directory: Path) -> Path:
        """Copy the file and write the command.

        Raises:
            PersonError: nothing was compressed.
        """
        source = made.file(self.source)
        shutil.copyfile(source, directory / "model.onnx")
        scaled = self.source == "compress" and stored_precision(source) == "int8"
        flags = (" --fp16" if self.half else "") + (" --int8" if scaled else "")
        shape = "x".join(str(side) for side in made.example_BHWC.shape[1:])
        text = SCRIPT.format(shape=shape, batch=self.batch, middle=max(1, self.batch // 4), flags=flags)
        path = directory / "build.sh"
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, path: Path) -> Any:
        """There is no GPU to run it on.

        Raises:
            PersonError: always.
        """
        raise PersonError(f"TensorRT is not run by this pipeline: run {path} where the GPU is")
