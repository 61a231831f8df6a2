"""The graph that an exported file holds: its weights are read back from the file, so what is proven is proven of that file.

The file takes uint8 images (B, H, W, C); the graph takes what everything else here takes, pixels in [0, 1] (B, C, H, W). Only
the first output is followed, and a softmax at its very end is left off, which changes no order of the classes. A pair of
QuantizeLinear and DequantizeLinear becomes one rounding; quantised weights become the numbers that they stand for.

B batch, H height, W width, C channels.
"""


from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.verification.graph import Graph, Unboundable
from pipeline.verification.onnx_calls import Array, Builder, Call, Quantised, Symbol, Value
from pipeline.verification.onnx_layers import LAYERS
from pipeline.verification.onnx_shapes import SHAPES

if TYPE_CHECKING:
    import onnx

LEVELS = 255  # grey levels above zero
TRANSLATIONS = {**LAYERS, **SHAPES}


def read_onnx(path: Path) -> Graph:
    """The graph of an exported file, with constants in float64.

    Raises:
        PersonError: it is not an ONNX file that takes uint8 images.
        Unboundable: it holds an operation that no bound is known for.
    """
    proto = _load(path)
    height, width, channels = _input(proto, path)
    builder = Builder(height=height, width=width, channels=channels)
    whole = builder.scale("grey_levels", builder.start, np.asarray(float(LEVELS)))
    values: dict[str, Value] = {proto.graph.input[0].name: builder.transpose("pixels_BHWC", whole, (0, 2, 3, 1))}
    values |= {tensor.name: _array(tensor) for tensor in proto.graph.initializer}
    output = proto.graph.output[0].name
    for node in _needed(proto, output):
        if node.op_type in {"Softmax", "LogSoftmax"} and node.output[0] == output:
            values[output] = values[node.input[0]]
        elif node.op_type != "DequantizeLinear" and not _depends(node, values):
            values |= _fold(proto, node, values)
        elif node.op_type == "Shape":
            values[node.output[0]] = _shape(node, values)
        else:
            values |= _translate(builder, node, values)
    found = values[output]
    if not isinstance(found, Symbol):
        raise PersonError(f"{path.name} answers {output!r} without looking at the image, or in integers: nothing can be bounded")
    return builder.finish(found)


def _depends(node: "onnx.NodeProto", values: Mapping[str, Value]) -> bool:
    """Whether an operator sees the image."""
    return any(isinstance(values.get(name), Symbol | Quantised) for name in node.input)


def _translate(builder: Builder, node: "onnx.NodeProto", values: Mapping[str, Value]) -> dict[str, Value]:
    from onnx import helper

    name = node.name or node.output[0]
    translation = TRANSLATIONS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
    if translation is None:
        raise Unboundable(name, node.op_type)
    settings = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    inputs = tuple(values[one] if one else None for one in node.input)
    call = Call(builder, name, node.op_type, inputs, settings, len(node.output))
    found = translation(call)
    return dict(zip(node.output, found if isinstance(found, list) else [found], strict=True))


def _load(path: Path) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load(path)
    except DecodeError as error:
        raise PersonError(f"{path.name} is not an ONNX file: export the model again with  dvc repro export") from error
    if not proto.graph.output:
        raise PersonError(f"{path.name} holds no network: export the model with  exporter=onnx")
    return proto


def _input(proto: "onnx.ModelProto", path: Path) -> tuple[int, int, int]:
    """Height, width and channels."""
    from onnx import TensorProto

    held = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in held]
    kinds = [entry.type.tensor_type for entry in inputs]
    dims = [dimension.dim_value for dimension in kinds[0].shape.dim] if len(kinds) == 1 else []
    if len(dims) != 4 or kinds[0].elem_type != TensorProto.UINT8 or not all(dims[1:]):
        pairs = zip(inputs, kinds, strict=True)
        told = ", ".join(f"{entry.name} {TensorProto.DataType.Name(kind.elem_type)}" for entry, kind in pairs)
        raise PersonError(
            f"{path.name} must take one batch of uint8 images (batch, height, width, channels) of a fixed size, as the stage "
            f"export writes it: received {told or 'no input'} {dims or ''}"
        )
    return dims[1], dims[2], dims[3]


def _needed(proto: "onnx.ModelProto", output: str) -> list["onnx.NodeProto"]:
    """What the output depends on, in order."""
    wanted, kept = {output}, []
    for node in reversed(proto.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _array(tensor: "onnx.TensorProto") -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _fold(proto: "onnx.ModelProto", node: "onnx.NodeProto", values: Mapping[str, Value]) -> dict[str, Array]:
    """Outputs of an operation on constants alone, by ONNX's own reference."""
    from onnx import TypeProto, ValueInfoProto, helper
    from onnx.reference import ReferenceEvaluator

    def free(name: str) -> ValueInfoProto:
        return helper.make_value_info(name, TypeProto())

    inputs = [name for name in dict.fromkeys(node.input) if name]
    graph = helper.make_graph([node], "constants", [free(name) for name in inputs], [free(name) for name in node.output if name])
    held = [opset for opset in proto.opset_import if opset.domain == node.domain] or list(proto.opset_import)
    model = helper.make_model(graph, opset_imports=held, ir_version=proto.ir_version)
    try:
        evaluator = ReferenceEvaluator(model)
    except RuntimeError as error:  # the reference does not know the operator
        raise Unboundable(node.name or node.output[0], f"{node.op_type} of constants") from error
    found = evaluator.run(None, {name: values[name] for name in inputs})
    return {name: np.asarray(value) for name, value in zip([one for one in node.output if one], found, strict=True)}


def _shape(node: "onnx.NodeProto", values: Mapping[str, Value]) -> Array:
    source = values[node.input[0]]
    shape = source.source.shape if isinstance(source, Quantised) else source.shape
    ends = {entry.name: entry.i for entry in node.attribute}
    return np.asarray(shape[ends.get("start", 0) : ends.get("end", len(shape))], dtype=np.int64)
