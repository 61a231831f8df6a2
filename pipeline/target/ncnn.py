"""ncnn: a runtime for phones and small boards, written by pnnx; two files without a framework behind them.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
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

    ncnn has no 8-bit inputs: the caller turns the pixels into floats, the rest is inside, and the detector of unknown inputs too
    where ncnn has its operators.

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
        for network, watched in ((made.network, True), (made.plain, False)) if made.further else ((made.plain, False),):
            parts = self._converted(network, made.example_BHWC.shape, watched=watched)
            strange = _strange(parts["param"].decode())
            if not strange:
                break
        if strange:
            raise PersonError(f"ncnn has no operator {strange}")
        for ending, data in parts.items():
            (directory / f"model.{ending}").write_bytes(data)
        return directory / "model.param"

    def _converted(self, network: Any, shape: Sequence[int], *, watched: bool) -> dict[str, bytes]:
        """Both files, by their ending."""
        import pnnx

        from pipeline.runtime.traced import traced_on_floats

        _, height, width, channels = shape
        with tempfile.TemporaryDirectory() as folder:
            traced_on_floats(network, shape, watched=watched).save(f"{folder}/model.pt")
            words = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[1,{channels},{height},{width}]", f"fp16={int(self.half)}"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
            made = Path(folder) / "model.ncnn.param"
            if done.returncode or not made.is_file():
                raise PersonError(f"pnnx cannot convert it: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
            return {"param": made.read_bytes(), "bin": made.with_suffix(".bin").read_bytes()}

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
        self.input, self.outputs = net.input_names()[0], net.output_names()

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        import ncnn

        from pipeline.runtime.traced import read_watched

        rows = []
        for pixels_HWC in pixels_BHWC:
            x_CHW = np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1), dtype=np.float32)
            with self.net.create_extractor() as extractor:
                extractor.input(self.input, ncnn.Mat(x_CHW).clone())
                rows.append([np.array(extractor.extract(name)[1], dtype=np.float32) for name in self.outputs])
        return read_watched(rows)


def _strange(parameters: str) -> str:
    """The first layer of a .param file that is no layer of ncnn; "" for none."""
    kinds = [line.split()[0] for line in parameters.splitlines()[2:]]
    return next((kind for kind in kinds if "." in kind), "")
