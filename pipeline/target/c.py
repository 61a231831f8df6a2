"""C99 without any dependency, for microcontrollers and for programs that link it: emx-onnx-cgen writes it from the ONNX file.

`model.c` and `model.h` hold the network and, up to `inline_mb`, its weights; beyond that the weights lie in `model.bin`, which
`model_load(path)` reads once. Every buffer is static, so the linker says how much memory the network takes and nothing is
allocated while it runs; for the same reason it is not to be called by two threads at a time.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import Made, precision_of
from pipeline.core.errors import PersonError
from pipeline.core.record import Floats, Pixels

FLAGS = ("-std=gnu99", "-O3", "-ffp-contract=off", "-Wall", "-Werror")
LOCAL = re.compile(r"^    (?=(?:float|double|_Bool|bool|u?int(?:8|16|32|64)_t) tmp\d+)", re.MULTILINE)
ENTRY = re.compile(r"^void model\((.*)\) \{$", re.MULTILINE)
ARGUMENT = re.compile(r"^(const )?(\w+) (\w+)\[(?:restrict )?(\d+)\]((?:\[\d+\])*)$")
TYPES = {"float": np.float32, "double": np.float64, "bool": np.bool_, "_Bool": np.bool_, "uint8_t": np.uint8, "int8_t": np.int8,
         "int32_t": np.int32, "int64_t": np.int64}  # fmt: skip
PATIENCE = 600.0  # seconds for the generator and for the compiler


class C:
    """C source of a batch of one image.

    Args:
        source: export (fp32) or compress (8-bit weights; the arithmetic between them is in floating point).
        inline_mb: weights in the source itself up to this size, MB; larger ones lie in `model.bin`.

    Raises:
        PersonError: an unknown source.
    """

    needs = (("emx-onnx-cgen", "emx_onnx_cgen"),)
    largest_batch = 1
    runs_code = True
    runs = True

    def __init__(self, *, source: str = "export", inline_mb: float = 2.0) -> None:
        self.source, self.inline_mb = source, inline_mb
        self.precision = precision_of(source)

    def build(self, made: Made, directory: Path) -> Path:
        """Write `model.c` and `model.h`, and `model.bin` for a large network.

        Raises:
            PersonError: nothing was compressed, or an operator has no C code; the message names it.
        """
        found = made.file(self.source)
        path = directory / "model.c"
        threshold = 0 if found.stat().st_size <= self.inline_mb * 1e6 else 1
        words = [sys.executable, "-m", "emx_onnx_cgen", "compile", found.name, str(path), "--model-base-dir", str(found.parent),
                 "--input-dim", "batch=1", "--model-name", "model", "--large-temp-threshold", "0", "--color", "never",
                 "--large-weight-threshold", str(threshold)]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode or not path.is_file():
            told = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            raise PersonError(f"emx-onnx-cgen cannot write it: {told[-1].strip() if told else f'exit code {done.returncode}'}")
        code, count = LOCAL.subn("    static ", path.read_text(encoding="utf-8"))
        assert count, "the generator names its buffers otherwise than it did"
        path.write_text(code, encoding="utf-8")
        (directory / "model.h").write_text(_header(code, weights=(directory / "model.bin").is_file()), encoding="utf-8")
        return path

    def footprint(self, path: Path) -> dict[str, int]:
        """What the compiled network takes, bytes; it is compiled for this machine's processor.

        Returns:
            code: instructions, with constants as far as they lie in the source. static: buffers that live as long as the
            program. stack: the deepest frame of one function.
        """
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "model.o"
            compile_c(path, made, "-c", "-fstack-usage")
            words = [shutil.which("size") or "size", str(made)]
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
            usage = [line.split("\t") for line in (Path(folder) / "model.su").read_text(encoding="utf-8").splitlines()]
        return {"code": int(told[0]), "static": int(told[1]) + int(told[2]), "stack": max(int(line[1]) for line in usage)}

    def load(self, path: Path) -> "Opened":
        """Compile it with the C compiler of this machine, without a warning, and load it.

        Raises:
            PersonError: there is no compiler, or it refuses the code.
        """
        folder = tempfile.TemporaryDirectory(prefix="model-c-")
        library = Path(folder.name) / "model.so"
        compile_c(path, library, "-shared", "-fPIC")
        opened = Opened(ctypes.CDLL(str(library)), ENTRY.search(path.read_text(encoding="utf-8")), folder)
        weights = path.with_name("model.bin")
        if weights.is_file():
            opened.library.model_load.restype = ctypes.c_bool
            if not opened.library.model_load(os.fsencode(weights)):
                raise PersonError(f"{weights} cannot be read")
        return opened


def compile_c(path: Path, out: Path, *flags: str) -> None:
    """Compile one source.

    Raises:
        PersonError: there is no compiler, or it has something to say.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise PersonError("there is no C compiler: install one (Debian: apt-get install gcc libc6-dev), or name it in CC")
    words = [compiler, *FLAGS, *flags, str(path), "-o", str(out), "-lm"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise PersonError(f"{Path(compiler).name} refuses {path.name}: {(done.stderr.splitlines() or ['no word'])[0][:200]}")


class Opened:
    """A compiled network, called image by image.

    Args:
        library: that holds it.
        entry: the head of its function.
        folder: where the library lies; it is removed with this.
    """

    def __init__(self, library: ctypes.CDLL, entry: re.Match[str] | None, folder: Any) -> None:
        assert entry is not None, "the generator writes its function otherwise than it did"
        self.library, self._folder = library, folder
        self.outputs: list[tuple[str, NDArray[Any]]] = []
        for text in entry.group(1).split(", "):
            found = ARGUMENT.match(text)
            assert found is not None, text
            constant, kind, name, first, rest = found.groups()
            if not constant:
                shape = [int(first), *(int(side) for side in re.findall(r"\d+", rest))]
                self.outputs.append((name, np.zeros(shape, TYPES[kind])))

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        rows: dict[str, list[NDArray[Any]]] = {name: [] for name, _ in self.outputs}
        for pixels_HWC in pixels_BHWC:
            image = np.ascontiguousarray(pixels_HWC)
            self.library.model(*(part.ctypes.data_as(ctypes.c_void_p) for part in (image, *(part for _, part in self.outputs))))
            for name, part in self.outputs:
                rows[name].append(part.copy())
        return {name: np.concatenate(parts) for name, parts in rows.items()}


def _header(code: str, *, weights: bool) -> str:
    entry = ENTRY.search(code)
    assert entry is not None, "the generator writes its function otherwise than it did"
    says = "/* Reads the weights; call it once before the first image. False when the file is missing or short. */"
    load = f"\n{says}\n_Bool model_load(const char *path);\n" if weights else ""
    return (
        "/* One image in, decoded outputs out; pre- and post-processing are inside. Not reentrant: its buffers are static. */\n"
        "#ifndef MODEL_H\n#define MODEL_H\n\n#include <stdbool.h>\n#include <stdint.h>\n" + load
        + f"\nvoid model({entry.group(1)});\n\n#endif\n"
    )
