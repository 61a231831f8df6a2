"""What an ONNX file computes for its further outputs alone, such as the score and flag of a detector of unknown inputs.

A compressor takes it out, makes the rest smaller, and puts it back: nothing of it is rounded, folded or fused. What it reads of
the rest (features, raw outputs) are outputs meanwhile, and so keep their names. Its matrices of unit vectors (principal axes, the
stored samples of a nearest-neighbour search) are stored in 16 bits, which turns each by at most 5e-4 of its length; every other
constant stays in 32, since rounding a precision matrix (Mahalanobis) would drown its smallest directions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.runtime.narrow import narrowed

if TYPE_CHECKING:
    import onnx

FEWEST = 1024  # numbers of a matrix that is worth narrowing
UNIT = 1e-3  # by which the length of a unit vector may differ from 1
PREFIX = "further."


@dataclass(frozen=True)
class Further:
    """What was taken out.

    Attributes:
        nodes: in order.
        constants: that they read; some of them the rest reads too.
        outputs: of the whole file, in order; none where nothing was taken out.
    """

    nodes: list["onnx.NodeProto"]
    constants: list["onnx.TensorProto"]
    outputs: list["onnx.ValueInfoProto"]


def take_out(proto: "onnx.ModelProto") -> tuple["onnx.ModelProto", Further]:
    """The file with what its first output needs, and what its others need beside that; the given one is untouched."""
    from onnx import ModelProto, shape_inference

    rest = ModelProto()
    rest.CopyFrom(proto)
    outputs = list(proto.graph.output)
    if len(outputs) == 1:
        return rest, Further([], [], [])
    needed = _needed(proto.graph.node, outputs[0].name)
    own = [node for node in proto.graph.node if not needed.intersection(node.output)]
    read = {name for node in own for name in node.input if name} | {output.name for output in outputs[1:]}
    constants = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    known = {name for node in own for name in node.output} | {entry.name for entry in [*constants, *proto.graph.input]}
    types = {entry.name: entry for entry in shape_inference.infer_shapes(proto).graph.value_info}
    types |= {output.name: output for output in outputs}
    kept_nodes = [node for node in proto.graph.node if needed.intersection(node.output)]
    kept_constants = [tensor for tensor in proto.graph.initializer if tensor.name in needed]
    del rest.graph.node[:], rest.graph.initializer[:], rest.graph.output[:]
    rest.graph.node.extend(kept_nodes)
    rest.graph.initializer.extend(kept_constants)
    rest.graph.output.extend([outputs[0], *(types[name] for name in sorted(read - known - {outputs[0].name}))])
    return rest, Further(own, constants, outputs)


def put_back(small: "onnx.ModelProto", further: Further) -> None:
    """Add to a file, in place, what was taken out of the one that it was made of.

    Raises:
        PersonError: never for unit vectors; see `pipeline.runtime.narrow`.
    """
    if not further.outputs:
        return
    answers = {output.name for output in further.outputs}
    own = {name for node in further.nodes for name in node.output} | {tensor.name for tensor in further.constants}
    names = {name: name if name in answers else f"{PREFIX}{name}" for name in own}
    constants = [_copy(tensor) for tensor in further.constants]
    for tensor in constants:
        tensor.name = names[tensor.name]
    casts = [narrowed(tensor, "float16", fewest=FEWEST) for tensor in constants if _unit_vectors(tensor)]
    small.graph.initializer.extend(constants)
    small.graph.node.extend(cast for cast in casts if cast is not None)
    for node in further.nodes:
        added = small.graph.node.add()
        added.CopyFrom(node)
        added.name = f"{PREFIX}{node.name}"
        added.input[:] = [names.get(name, name) for name in node.input]
        added.output[:] = [names.get(name, name) for name in node.output]
    del small.graph.output[:]
    small.graph.output.extend(further.outputs)


def bytes_of_further(path: Path) -> int:
    """Bytes of the constants that a file's further outputs alone need, as they are stored."""
    import onnx

    proto = onnx.load(path)
    needed = _needed(proto.graph.node, proto.graph.output[0].name)
    return sum(len(tensor.raw_data) for tensor in proto.graph.initializer if tensor.name not in needed)


def set_limit(path: Path, flag: str, limit: float, facts: Mapping[str, str]) -> None:
    """Write another number into a file, above which its output `flag` is true; a constant that others share with it stays theirs.

    Args:
        path: an ONNX file, which is written anew.
        flag: an output that compares a value with a constant.
        limit: the new constant.
        facts: of the file's metadata, which tell of it.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(path)
    node = next(node for node in proto.graph.node if flag in node.output)
    assert node.op_type == "Greater", f"{flag} is made by {node.op_type}"
    before = next(tensor for tensor in proto.graph.initializer if tensor.name == node.input[1])
    if sum([*other.input].count(before.name) for other in proto.graph.node) > 1:
        before = proto.graph.initializer.add()
        before.name = node.input[1] = f"{PREFIX}{flag}.limit"
    before.CopyFrom(numpy_helper.from_array(np.asarray(limit, dtype=np.float32), before.name))
    for entry in proto.metadata_props:
        entry.value = facts.get(entry.key, entry.value)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _needed(nodes: Iterable["onnx.NodeProto"], output: str) -> set[str]:
    """Names of everything that an output depends on, and its own."""
    needed = {output}
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            needed.update([*node.input, *node.output])
    return needed


def _copy(tensor: "onnx.TensorProto") -> "onnx.TensorProto":
    from onnx import TensorProto

    copied = TensorProto()
    copied.CopyFrom(tensor)
    return copied


def _unit_vectors(tensor: "onnx.TensorProto") -> bool:
    """Whether all rows, or all columns, of a matrix have length 1."""
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    if values.ndim != 2 or values.dtype != np.float32:
        return False
    return any(bool((np.abs(np.linalg.norm(values, axis=axis) - 1) <= UNIT).all()) for axis in (0, 1))
