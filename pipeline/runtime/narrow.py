"""Constants of an ONNX file in 16 bits, widened to 32 when a runtime opens it."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import PersonError

if TYPE_CHECKING:
    import onnx


def narrowed(tensor: "onnx.TensorProto", kind: str, *, fewest: int) -> "onnx.NodeProto | None":
    """Narrow a constant in place; return the operator that widens it under its old name, None for one that stays as it is.

    Args:
        tensor: of a graph; one that is no float32 stays as it is.
        kind: float16 or bfloat16.
        fewest: numbers; a constant of fewer would not pay for the operator, and stays as it is.

    Raises:
        PersonError: a number that float16 cannot hold.
    """
    import ml_dtypes
    import onnx
    from onnx import helper, numpy_helper

    values = numpy_helper.to_array(tensor)
    if tensor.data_type != onnx.TensorProto.FLOAT or values.size < fewest:
        return None
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16 if kind == "float16" else ml_dtypes.bfloat16)
    if np.isfinite(values).all() and not np.isfinite(narrow.astype(np.float32)).all():
        largest = float(np.abs(values).max())
        raise PersonError(f"{tensor.name} holds {largest:g}, which {kind} cannot: choose  compressor=bf16")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}_narrow"))
    return helper.make_node("Cast", [tensor.name], [name], name=f"{name}_widen", to=onnx.TensorProto.FLOAT)
