"""What the operators of ONNX that compute are in the graph: products, sums, activations, roundings (onnx.ai/onnx/operators).

A translation is handed one call and returns its output, or a list of several. It raises `Unboundable` for a setting that the
graph does not know; an operator without a translation is unboundable as a whole.

B batch, C channels, O and I outputs and inputs of a layer.
"""

import numpy as np

from pipeline.verification.onnx_calls import Array, Call, Quantised, Symbol, Translation, padding

INTEGERS = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
FLOATS = {1, 10, 11, 16}  # float32, float16, float64, bfloat16 in TensorProto.DataType


def _conv(call: Call) -> Symbol:
    source, weight, bias = call.symbol(), call.needed(1), call.constant(2)
    if len(source.shape) != 4:
        raise call.unboundable(f"of {len(source.shape) - 2} dimensions")
    constants = {"weight": weight} | ({} if bias is None else {"bias": bias})
    dilation = tuple(call.settings.get("dilations", (1, 1)))
    stride = tuple(call.settings.get("strides", (1, 1)))
    found = padding(call, source, weight.shape[2:], stride=stride, dilation=dilation)
    return call.add("conv", source, constants=constants, stride=stride, padding=found, dilation=dilation,
                    groups=int(call.settings.get("group", 1)))  # fmt: skip


def _gemm(call: Call) -> Symbol:
    source, weight = call.symbol(), call.needed(1)
    if call.settings.get("transA", 0):
        raise call.unboundable("of a transposed input")
    weight = (weight if call.settings.get("transB", 0) else weight.T) * call.settings.get("alpha", 1.0)
    other = call.inputs[2] if len(call.inputs) > 2 else None
    if isinstance(other, np.ndarray):
        bias = np.broadcast_to(other.reshape(-1), (weight.shape[0],)) * call.settings.get("beta", 1.0)
        return call.add("linear", source, constants={"weight": weight, "bias": bias})
    if other is not None:
        raise call.unboundable("plus a term that depends on the image")
    return call.add("linear", source, constants={"weight": weight})


def _matmul(call: Call) -> Symbol:
    weight = call.needed(1)
    if weight.ndim != 2:
        raise call.unboundable(f"with a constant of {weight.ndim} dimensions")
    return call.add("linear", call.symbol(), constants={"weight": weight.T})


def _batch_norm(call: Call) -> Symbol:
    names = ("weight", "bias", "mean", "variance")
    constants = {name: call.needed(place) for place, name in enumerate(names, start=1)}
    return call.add("batch_norm", call.symbol(), constants=constants, epsilon=float(call.settings.get("epsilon", 1e-5)))


def _sum(call: Call) -> Symbol:
    """Add, and Sum of any number of terms."""
    symbols = [value for value in call.inputs if isinstance(value, Symbol)]
    found = symbols[0]
    for other in symbols[1:]:
        found = call.add("add", found, other)
    for constant in (value for value in call.inputs if isinstance(value, np.ndarray)):
        found = _shift(call, found, constant)
    return found


def _shift(call: Call, source: Symbol, constant: Array) -> Symbol:
    return call.add("shift", source, constants={"shift": _broadcast(call, source, constant)})


def _broadcast(call: Call, source: Symbol, constant: Array) -> Array:
    """A constant that leaves the symbol's shape as it is and treats every image alike."""
    try:
        fits = np.broadcast_shapes(source.shape, constant.shape) == source.shape
    except ValueError:
        fits = False
    if not fits or (constant.ndim == len(source.shape) and constant.shape[0] != 1):
        raise call.unboundable(f"of {source.shape} and a constant of {constant.shape}")
    return constant


def _sub(call: Call) -> Symbol:
    first, second = call.inputs[:2]
    if isinstance(first, Symbol) and isinstance(second, Symbol):
        return call.add("sub", first, second)
    if isinstance(second, Symbol):
        return _shift(call, call.builder.scale(call.name, second, np.asarray(-1.0)), call.needed(0))
    return _shift(call, call.symbol(), -call.needed(1))


def _mul(call: Call) -> Symbol:
    first, second = call.inputs[:2]
    if isinstance(first, Symbol) and isinstance(second, Symbol):
        for gate, source in ((first, second), (second, first)):
            node = call.builder.nodes[gate.name]
            if node.kind in {"sigmoid", "hardsigmoid"} and node.inputs == (source.name,):
                return call.add("silu" if node.kind == "sigmoid" else "hardswish", source)
        return call.add("mul", first, second)
    source, constant = (first, call.needed(1)) if isinstance(first, Symbol) else (call.symbol(1), call.needed(0))
    return call.builder.scale(call.name, source, _broadcast(call, source, constant))


def _div(call: Call) -> Symbol:
    source = call.symbol()
    return call.builder.scale(call.name, source, 1.0 / _broadcast(call, source, call.needed(1)).astype(np.float64))


def _clip(call: Call) -> Symbol:
    low, high = (call.settings.get(name, call.constant(place)) for place, name in enumerate(("min", "max"), start=1))
    ends = (-np.inf if low is None else float(low), np.inf if high is None else float(high))
    return call.add("clip", call.symbol(), low=ends[0], high=ends[1])


def _one_side(low: bool) -> Translation:
    """Max or Min of the image's values and one number."""

    def translate(call: Call) -> Symbol:
        place = 0 if isinstance(call.inputs[0], Symbol) else 1
        if len(call.inputs) != 2 or not isinstance(call.inputs[1 - place], np.ndarray) or call.needed(1 - place).size != 1:
            raise call.unboundable("of more than a value and a number")
        limit = float(call.needed(1 - place).reshape(()))
        return call.add("clip", call.symbol(place), low=limit if low else -np.inf, high=np.inf if low else limit)

    return translate


def _hard_sigmoid(call: Call) -> Symbol:
    slope, shift = float(call.settings.get("alpha", 0.2)), float(call.settings.get("beta", 0.5))
    if abs(slope - 1 / 6) < 1e-6 and shift == 0.5:
        return call.add("hardsigmoid", call.symbol())
    moved = _shift(call, call.builder.scale(call.name, call.symbol(), np.asarray(slope)), np.asarray(shift))
    return call.add("clip", moved, low=0.0, high=1.0)


def _plain(kind: str) -> Translation:
    return lambda call: call.add(kind, call.symbol())


def _same(call: Call) -> Symbol:
    return call.symbol()


def _cast(call: Call) -> Symbol:
    if call.settings.get("to") not in FLOATS:
        raise call.unboundable("to integers")
    return call.symbol()


def _quantise(call: Call) -> Quantised:
    step, zero = call.needed(1), call.constant(2)
    zero = np.zeros(step.shape, np.uint8) if zero is None else zero
    return Quantised(call.symbol(), step, zero, int(call.settings.get("axis", 1)))


def _dequantise(call: Call) -> Symbol | Array:
    """The rounding that the pair of operators is; of constant integers, such as weights, the numbers that they stand for."""
    rounded, step, zero = call.inputs[0], call.needed(1), call.constant(2)
    if step.ndim > 1:
        raise call.unboundable("by blocks")
    if isinstance(rounded, np.ndarray):
        return _numbers(rounded, step, zero, int(call.settings.get("axis", 1)))
    if not isinstance(rounded, Quantised):
        raise call.unboundable("of no integers")
    zero = np.zeros(step.shape, np.uint8) if zero is None else zero
    same = np.array_equal(step, rounded.step) and np.array_equal(zero, rounded.zero)
    if not same or rounded.zero.dtype.name not in INTEGERS:
        raise call.unboundable("with another scale than its QuantizeLinear")
    if step.size > 1 and rounded.axis % len(rounded.source.shape) != 1:
        raise call.unboundable(f"with a scale for each place of dimension {rounded.axis}")
    low, high = INTEGERS[rounded.zero.dtype.name]
    shape: tuple[int, ...] = () if step.size == 1 else (-1,)
    constants = {"step": step.reshape(shape), "zero": zero.reshape(shape)}
    return call.add("quantise", rounded.source, constants=constants, low=low, high=high)


def _numbers(whole: Array, step: Array, zero: Array | None, axis: int) -> Array:
    """(integers - zero) * step in float32, as a runtime computes it; a step for all, or one a place of the axis."""
    if step.size > 1:
        shape = [-1 if dim == axis % whole.ndim else 1 for dim in range(whole.ndim)]
        step, zero = step.reshape(shape), None if zero is None else zero.reshape(shape)
    less = whole.astype(np.int64) if zero is None else whole.astype(np.int64) - zero.astype(np.int64)
    return np.asarray(less.astype(np.float32) * step.astype(np.float32))


def _leaky(call: Call) -> Symbol:
    return call.add("leaky_relu", call.symbol(), slope=float(call.settings.get("alpha", 0.01)))


def _gelu(call: Call) -> Symbol:
    return call.add("gelu", call.symbol(), approximate=call.settings.get("approximate", b"none").decode())


LAYERS: dict[str, Translation] = {
    "Add": _sum, "BatchNormalization": _batch_norm, "Cast": _cast, "Clip": _clip, "Conv": _conv, "DequantizeLinear": _dequantise,
    "Div": _div, "Dropout": _same, "Gelu": _gelu, "Gemm": _gemm, "HardSigmoid": _hard_sigmoid, "HardSwish": _plain("hardswish"),
    "Identity": _same, "LeakyRelu": _leaky, "MatMul": _matmul, "Max": _one_side(low=True), "Min": _one_side(low=False),
    "Mul": _mul,
    "QuantizeLinear": _quantise, "Relu": _plain("relu"), "Sigmoid": _plain("sigmoid"), "Sub": _sub, "Sum": _sum,
    "Tanh": _plain("tanh"),
}  # fmt: skip
