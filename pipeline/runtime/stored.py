"""What an ONNX file stores its weights in, and what it tells of itself, as the file says."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import PersonError

if TYPE_CHECKING:
    import onnx

ROUNDED = {"DequantizeLinear", "DynamicQuantizeLinear"}  # operators of a file in 8-bit integers, beside QLinear*


def stored_precision(path: Path) -> str:
    """int8 where the file computes with rounded numbers; else the narrowest floats of its weights: bf16, fp16 or fp32.

    Raises:
        PersonError: it is no ONNX file.
    """
    import onnx

    graph = _read(path).graph
    if any(node.op_type in ROUNDED or node.op_type.startswith("QLinear") for node in graph.node):
        return "int8"
    types = {tensor.data_type for tensor in graph.initializer}
    if onnx.TensorProto.BFLOAT16 in types:
        return "bf16"
    return "fp16" if onnx.TensorProto.FLOAT16 in types else "fp32"


def stored_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself.

    Raises:
        PersonError: it is no ONNX file.
    """
    return {entry.key: entry.value for entry in _read(path).metadata_props}


def _read(path: Path) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise PersonError(f"{path.name} is no ONNX file, or a broken one") from error
