"""ncnn: a runtime for phones and small boards, written by pnnx; two files without a framework behind them.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import Made
from pipeline.core.errors import PersonError
from pipeline.core.record import Floats, Pixels

PATIENCE = 300.0  # seconds for the converter


class Ncnn:
    """`model.param` and `model.bin` for one image, channels first, as 32-bit numbers from 0 to 255.

    ncnn has neither 8-bit inputs nor the detector's operators: the caller turns the pixels into floats, the rest is inside.

    Args:
        half: weights and arithmetic in 16 bits where the processor has them.
    """

    needs = (("pnnx", "pnnx"), ("ncnn", "ncnn"),)
    largest_batch = 1
    runs_code = False
    runs = True

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self.precision = "fp16" if half else "fp32"

    def build(self, made: Made, directory: Path) -> Path:
        """Convert a traced network.

        Raises:
            PersonError: an operator that ncnn does not have; the message names it.
        """
        import pnnx

        from pipeline.runtime.traced import traced_on_floats

        _, height, width, channels = made.example_BHWC.shape
        with tempfile.TemporaryDirectory() as folder:
            traced_on_floats(made.plain, made.example_BHWC.shape).save(f"{folder}/model.pt")
            words = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[1,{channels},{height},{width}]", f"fp16={int(self.half)}"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
            parameters = Path(folder) / "model.ncnn.param"
            if done.returncode or not parameters.is_file():
                raise PersonError(f"pnnx cannot convert it: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
            kinds = [line.split()[0] for line in parameters.read_text(encoding="utf-8").splitlines()[2:]]
            strange = [kind for kind in kinds if "." in kind]
            if strange:
                raise PersonError(f"ncnn has no operator {strange[0]}")
            for ending in ("param", "bin"):
                (directory / f"model.{ending}").write_bytes((Path(folder) / f"model.ncnn.{ending}").read_bytes())
        return directory / "model.param"

    def load(self, path: Path) -> "Opened":
        """Open both files, with OMP_NUM_THREADS threads."""
        import ncnn

        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            if hasattr(net.opt, name):
                setattr(net.opt, name, self.half and name != "use_bf16_storage")
        if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
            raise PersonError(f"ncnn cannot open {path}")
        return Opened(net)


class Opened:
    """A network in ncnn, called image by image.

    Args:
        net: the open network.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        self.input, self.output = net.input_names()[0], net.output_names()[0]

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        import ncnn

        rows = []
        for pixels_HWC in pixels_BHWC:
            x_CHW = np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1), dtype=np.float32)
            with self.net.create_extractor() as extractor:
                extractor.input(self.input, ncnn.Mat(x_CHW).clone())
                rows.append(np.array(extractor.extract(self.output)[1], dtype=np.float32).reshape(-1))
        return np.stack(rows)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """The prediction."""
        return {"prediction": self(pixels_BHWC)}
