"""Layers and arithmetic of torch as nodes of the graph."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.verification.aten import Call, Symbol

CONV = (None, 1, 0, 1, 1)  # what torch takes for bias, stride, padding, dilation and groups where a call leaves them out
MAX_POOL = ((), 0, 1, False)  # stride (empty: the kernel's size), padding, dilation, ceil
AVG_POOL = ((), 0, False, True, None)  # stride, padding, ceil, whether padding counts, divisor

def filled(settings: Sequence[Any], defaults: Sequence[Any]) -> list[Any]:
    """Arguments of a call, and defaults for those that it leaves out."""
    return [*settings, *defaults[len(settings) :]]


def pair(value: Any) -> tuple[int, int]:
    """One or two numbers as two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def four(value: Any) -> tuple[int, int, int, int]:
    """Padding of both sides as (top, left, bottom, right)."""
    down, across = pair(value)
    return down, across, down, across


def _linear(call: Call, x: Symbol, weight: Tensor, bias: Tensor | None = None) -> Symbol:
    return call.node("linear", [x], {"weight": weight, "bias": bias})


def _addmm(call: Call, bias: Tensor, x: Symbol, weight: Tensor) -> Symbol:
    return call.node("linear", [x], {"weight": weight.T, "bias": bias})


def _matmul(call: Call, x: Any, weight: Any) -> Symbol:
    if not isinstance(x, Symbol) or isinstance(weight, Symbol) or weight.ndim != 2:
        raise call.refused("a product of matrices that both depend on the image, or from the left")
    return call.node("linear", [x], {"weight": weight.T})


def _conv(call: Call, x: Symbol, weight: Tensor, *settings: Any) -> Symbol:
    bias, stride, padding, dilation, groups = filled(settings, CONV)
    strides, dilations = pair(stride), pair(dilation)
    if padding == "valid":
        padding = 0
    if padding == "same":
        spans = [dilations[side] * (weight.shape[2 + side] - 1) for side in (0, 1)]
        around = (spans[0] // 2, spans[1] // 2, spans[0] - spans[0] // 2, spans[1] - spans[1] // 2)
    else:
        around = four(padding)
    return call.node(
        "conv", [x], {"weight": weight, "bias": bias}, stride=strides, padding=around, dilation=dilations, groups=groups,
    )  # fmt: skip


def _convolution(call: Call, x: Symbol, weight: Tensor, *settings: Any) -> Symbol:
    *plain, transposed, _, groups = settings
    if transposed:
        raise call.refused("transposed")
    return _conv(call, x, weight, *plain, groups)


def _batch_norm(call: Call, x: Symbol, *settings: Any) -> Symbol:
    weight, bias, mean, variance, training, _, epsilon, *_ = settings
    if training or mean is None or variance is None:
        raise call.refused("without stored statistics: it mixes images of a batch")
    constants = {"weight": weight, "bias": bias, "mean": mean, "variance": variance}
    return call.node("batch_norm", [x], constants, epsilon=epsilon)


def _constant(call: Call, kind: str, x: Symbol, value: Any) -> Symbol:
    """Multiply by a constant (`scale`) or add one (`shift`)."""
    tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
    made = call.node(kind, [x], {kind: tensor})
    if made.shape != x.shape:
        raise call.refused(f"a constant of shape {tuple(tensor.shape)} widens {x.shape}")
    return made


def _add(call: Call, x: Any, y: Any, alpha: float = 1) -> Symbol:
    if isinstance(x, Symbol) and isinstance(y, Symbol):
        return call.node("add", [x, y if alpha == 1 else _constant(call, "scale", y, alpha)])
    if isinstance(x, Symbol):
        return _constant(call, "shift", x, y * alpha)
    return _constant(call, "shift", y if alpha == 1 else _constant(call, "scale", y, alpha), x)


def _sub(call: Call, x: Any, y: Any, alpha: float = 1) -> Symbol:
    if alpha == 1 and isinstance(x, Symbol) and isinstance(y, Symbol):
        return call.node("sub", [x, y])
    return _add(call, x, y, -alpha)


def _rsub(call: Call, x: Any, y: Any, alpha: float = 1) -> Symbol:
    return _sub(call, y, x, alpha)


def _mul(call: Call, x: Any, y: Any) -> Symbol:
    if isinstance(x, Symbol) and isinstance(y, Symbol):
        return call.node("mul", [x, y])
    return _constant(call, "scale", x, y) if isinstance(x, Symbol) else _constant(call, "scale", y, x)


def _div(call: Call, x: Any, y: Any) -> Symbol:
    if not isinstance(x, Symbol) or isinstance(y, Symbol):
        raise call.refused("division by what depends on the image")
    return _constant(call, "scale", x, 1 / y)


def _neg(call: Call, x: Symbol) -> Symbol:
    return _constant(call, "scale", x, -1)


def _plain(kind: str) -> Callable[..., Symbol]:
    return lambda call, x, *_, **__: call.node(kind, [x])


def _clamp(call: Call, x: Symbol, low: float | None = None, high: float | None = None) -> Symbol:
    ends = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return call.node("clip", [x], low=ends[0], high=ends[1])


def _max_pool(call: Call, x: Symbol, kernel: Any, *settings: Any) -> Symbol:
    stride, padding, dilation, ceil = filled(settings, MAX_POOL)
    return call.node(
        "max_pool", [x], kernel=pair(kernel), stride=pair(stride or kernel), padding=four(padding), dilation=pair(dilation),
        ceil=ceil,
    )  # fmt: skip


def _avg_pool(call: Call, x: Symbol, kernel: Any, *settings: Any) -> Symbol:
    stride, padding, ceil, include, divisor = filled(settings, AVG_POOL)
    if divisor is not None:
        raise call.refused("a divisor of its own")
    return call.node(
        "avg_pool", [x], kernel=pair(kernel), stride=pair(stride or kernel), padding=four(padding), ceil=ceil,
        include_pad=include,
    )  # fmt: skip


def _adaptive(kind: str) -> Callable[..., Symbol]:
    def translate(call: Call, x: Symbol, size: Any) -> Symbol:
        wanted, have = pair(size), x.shape[2:]
        if kind == "avg_pool" and wanted == (1, 1):
            return call.node("mean", [x], dims=(2, 3), keep=True)
        if any(large % small for large, small in zip(have, wanted, strict=True)):
            raise call.refused(f"windows of different sizes, from {have} to {wanted}")
        kernel = (have[0] // wanted[0], have[1] // wanted[1])
        made = _avg_pool if kind == "avg_pool" else _max_pool
        return made(call, x, kernel)

    return translate


def _mean(call: Call, x: Symbol, dims: Any = None, keep: bool = False, **_: Any) -> Symbol:
    chosen = _dims(call, x, dims)
    return call.node("mean", [x], dims=chosen, keep=keep)


def _maximum(call: Call, x: Symbol, dims: Any = (), keep: bool = False) -> Symbol:
    if len(x.shape) != 4 or _dims(call, x, dims) != (2, 3):
        raise call.refused(f"over the dimensions {dims}; height and width are known")
    size = (x.shape[2], x.shape[3])
    pooled = call.node("max_pool", [x], kernel=size, stride=size, padding=(0, 0, 0, 0), dilation=(1, 1), ceil=False)
    return pooled if keep else call.node("flatten", [pooled], start=1)


def _dims(call: Call, x: Symbol, dims: Any) -> tuple[int, ...]:
    chosen = tuple(sorted(dim % len(x.shape) for dim in ([dims] if isinstance(dims, int) else dims or range(len(x.shape)))))
    if 0 in chosen:
        raise call.refused("over the images of a batch")
    return chosen


def _sum(call: Call, x: Symbol, dims: Any = None, keep: bool = False, **_: Any) -> Symbol:
    chosen = _dims(call, x, dims)
    return _constant(call, "scale", call.node("mean", [x], dims=chosen, keep=keep), math.prod(x.shape[dim] for dim in chosen))


def _leaky(call: Call, x: Symbol, slope: float = 0.01) -> Symbol:
    return call.node("leaky_relu", [x], slope=float(slope))


def _gelu(call: Call, x: Symbol, approximate: str = "none") -> Symbol:
    return call.node("gelu", [x], approximate=approximate)


def _hardtanh(call: Call, x: Symbol, low: float = -1.0, high: float = 1.0) -> Symbol:
    return _clamp(call, x, low, high)


LAYERS: Mapping[str, Callable[..., Symbol]] = {
    "linear": _linear, "addmm": _addmm, "mm": _matmul, "matmul": _matmul, "conv2d": _conv, "convolution": _convolution,
    "batch_norm": _batch_norm, "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "div": _div, "neg": _neg,
    "relu": _plain("relu"), "sigmoid": _plain("sigmoid"), "tanh": _plain("tanh"), "silu": _plain("silu"),
    "hardswish": _plain("hardswish"), "hardsigmoid": _plain("hardsigmoid"), "gelu": _gelu, "leaky_relu": _leaky,
    "relu6": lambda call, x: _clamp(call, x, 0.0, 6.0), "hardtanh": _hardtanh, "clamp": _clamp, "clip": _clamp,
    "clamp_min": _clamp, "clamp_max": lambda call, x, high: _clamp(call, x, None, high),
    "max_pool2d": _max_pool, "avg_pool2d": _avg_pool, "adaptive_avg_pool2d": _adaptive("avg_pool"),
    "adaptive_max_pool2d": _adaptive("max_pool"), "mean": _mean, "sum": _sum, "amax": _maximum,
}  # fmt: skip
