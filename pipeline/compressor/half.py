"""Weights in 16 bits: half the file, computed with in 32 bits as before, so no calibration and hardly a change.

IEEE half precision (fp16) keeps 11 significant bits and numbers up to 65,504; bfloat16 keeps 8 and the range of float32. A
runtime widens the weights once, when it opens the file, so calls take the time and the memory that they took. A
detector of unknown inputs behind the network is kept as `pipeline.runtime.further` says.
"""

from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import PersonError, near_match
from pipeline.core.record import Pixels
from pipeline.runtime.further import put_back, take_out
from pipeline.runtime.narrow import narrowed

KINDS = ("float16", "bfloat16")
SMALLEST = 16  # numbers; a tensor of fewer would not pay for the operator that widens it


class Half:
    """16-bit weights.

    Args:
        kind: float16 or bfloat16.

    Raises:
        PersonError: another kind.
    """

    bits = 16

    def __init__(self, *, kind: str = "float16") -> None:
        if kind not in KINDS:
            raise PersonError(f"compressor.kind: there is no {kind!r}; {near_match(kind, KINDS)}")
        self.kind = kind

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write `model.onnx` into `directory`; `source` is untouched, and the batches are not looked at.

        Raises:
            PersonError: the source is no ONNX file, holds no weights, or one that is too large for float16.
        """
        import onnx

        if source.suffix != ".onnx":
            raise PersonError(f"compressor=half works on ONNX: received a {source.suffix} file; choose  exporter=onnx")
        proto, further = take_out(onnx.load(source))
        found = [narrowed(tensor, self.kind, fewest=SMALLEST) for tensor in proto.graph.initializer]
        casts = [cast for cast in found if cast is not None]
        if not casts:
            raise PersonError("the exported model holds no weights in 32 bits to narrow: choose  compressor=none")
        nodes = [*casts, *proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        put_back(proto, further)
        onnx.checker.check_model(proto, full_check=True)
        path = directory / "model.onnx"
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path
