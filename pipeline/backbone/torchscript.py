"""TorchScript to ONNX, in a process that has little: `PYTHON -m pipeline.backbone.torchscript FILE OUT HEIGHT WIDTH CHANNELS`.

A TorchScript archive is a program, and torch's own advice is to run a stranger's in a sandbox alone. Here it is opened only when
a person says so, in a process of its own with limits on memory, time and the size of what it writes, and without the variables of
the environment; that is damage control and no sandbox: such a program can still read the files that you can read.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.core.errors import PersonError

MEMORY = 12 * 2**30  # bytes of address space; torch alone takes four
SECONDS = 300  # of CPU
LARGEST = 2**31  # bytes of a file


def to_onnx(path: Path, shape: tuple[int, int, int]) -> bytes:
    """The network of a TorchScript file as an ONNX file.

    Args:
        path: the file.
        shape: height, width and channels of the images that it takes, which the file does not say.

    Raises:
        PersonError: it cannot be opened or written so, or takes another size.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        words = [sys.executable, "-W", "ignore", "-m", __name__, str(path.absolute()), str(out), *map(str, shape)]
        root = str(Path(__file__).resolve().parents[2])
        bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "HOME": folder}
        try:
            done = subprocess.run(
                words, cwd=folder, capture_output=True, text=True, timeout=2 * SECONDS, check=False, env=bare
            )
        except subprocess.TimeoutExpired as error:
            raise PersonError(f"{path.name} took longer than {2 * SECONDS} s to open: nothing was imported") from error
        if done.returncode or not out.is_file():
            told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise PersonError(f"{path.name} cannot be imported for images of {'x'.join(map(str, shape))}: "
                              f"{told[-1][:300] if told else f'its process ended with {done.returncode}'}")  # fmt: skip
        return out.read_bytes()


def main(words: list[str]) -> int:
    """Write the ONNX file; it is called in the process with the limits."""
    for what, limit in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, LARGEST)):
        resource.setrlimit(what, (limit, limit))
    import torch

    height, width, channels = (int(word) for word in words[2:])
    network = torch.jit.load(words[0], map_location="cpu").eval()  # type: ignore[no-untyped-call]
    torch.onnx.export(
        network, (torch.rand(2, channels, height, width),), words[1], dynamo=False, opset_version=17, input_names=["pixels"],
        output_names=["output"], dynamic_axes={"pixels": {0: "batch"}, "output": {0: "batch"}},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
