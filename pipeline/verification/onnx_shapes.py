"""What the operators of ONNX that pool, reduce, reshape or rearrange are in the graph (onnx.ai/onnx/operators).

B batch, C channels, H height, W width.
"""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from pipeline.verification.onnx_calls import PROBE, Call, Symbol, Translation, padding

COPIES = 16  # at most so many of one channel, when one is repeated


def _max_pool(call: Call) -> Symbol:
    source = call.symbol()
    if call.outputs > 1 or len(source.shape) != 4:
        raise call.unboundable("with indices, or not of images")
    window = _window(call, source)
    return call.add("max_pool", source, dilation=tuple(call.settings.get("dilations", (1, 1))), **window)


def _avg_pool(call: Call) -> Symbol:
    source = call.symbol()
    if len(source.shape) != 4 or set(call.settings.get("dilations", (1,))) != {1}:
        raise call.unboundable("with holes, or not of images")
    return call.add("avg_pool", source, include_pad=bool(call.settings.get("count_include_pad", 0)), **_window(call, source))


def _window(call: Call, source: Symbol) -> dict[str, Any]:
    kernel = tuple(call.settings["kernel_shape"])
    stride = tuple(call.settings.get("strides", (1, 1)))
    found = padding(call, source, kernel, stride=stride, dilation=call.settings.get("dilations", (1, 1)))
    return {"kernel": kernel, "stride": stride, "padding": found, "ceil": bool(call.settings.get("ceil_mode", 0))}


def _global_mean(call: Call) -> Symbol:
    source = call.symbol()
    return call.add("mean", source, dims=tuple(range(2, len(source.shape))), keep=True)


def _global_max(call: Call) -> Symbol:
    return _maximum(call, call.symbol(), keep=True)


def _reduce(kind: str) -> Translation:
    """ReduceMean, ReduceSum and ReduceMax; the maximum is taken over height and width alone."""

    def translate(call: Call) -> Symbol:
        source = call.symbol()
        keep, rank = bool(call.settings.get("keepdims", 1)), len(source.shape)
        axes = call.listed("axes", 1)
        if not axes:
            if call.settings.get("noop_with_empty_axes", 0):
                return source
            raise call.unboundable("over the whole batch")
        dims = tuple(sorted(axis % rank for axis in axes))
        if kind == "max":
            if rank != 4 or dims != (2, 3):
                raise call.unboundable(f"over the dimensions {dims}")
            return _maximum(call, source, keep=keep)
        found = call.add("mean", source, dims=dims, keep=keep)
        count = float(prod(source.shape[dim] for dim in dims))
        return found if kind == "mean" else call.builder.scale(call.name, found, np.asarray(count))

    return translate


def _maximum(call: Call, source: Symbol, *, keep: bool) -> Symbol:
    size = source.shape[2:]
    pooled = call.add("max_pool", source, kernel=size, stride=size, padding=(0, 0, 0, 0), dilation=(1, 1), ceil=False)
    return pooled if keep else call.add("flatten", pooled, start=1)


def _flatten(call: Call) -> Symbol:
    source = call.symbol()
    if int(call.settings.get("axis", 1)) % len(source.shape) != 1:
        raise call.unboundable("that mixes the images of a batch")
    return source if len(source.shape) == 2 else call.add("flatten", source, start=1)


def _reshape(call: Call) -> Symbol:
    source, wanted = call.symbol(), [int(value) for value in call.needed(1).reshape(-1)]
    if not call.settings.get("allowzero", 0):
        wanted = [source.shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    if -1 in wanted:
        wanted[wanted.index(-1)] = prod(source.shape) // max(1, -prod(wanted))
    return _shaped(call, source, tuple(wanted))


def _shaped(call: Call, source: Symbol, shape: tuple[int, ...]) -> Symbol:
    if not shape or shape[0] != PROBE:
        raise call.unboundable("that mixes the images of a batch")
    return source if shape == source.shape else call.add("reshape", source, shape=shape[1:])


def _squeeze(call: Call) -> Symbol:
    source, axes = call.symbol(), call.listed("axes", 1)
    rank = len(source.shape)
    gone = {axis % rank for axis in axes} if axes else {dim for dim, size in enumerate(source.shape) if size == 1}
    return _shaped(call, source, tuple(size for dim, size in enumerate(source.shape) if dim not in gone))


def _unsqueeze(call: Call) -> Symbol:
    source, axes = call.symbol(), call.listed("axes", 1) or []
    rank = len(source.shape) + len(axes)
    new = {axis % rank for axis in axes}
    left = iter(source.shape)
    return _shaped(call, source, tuple(1 if dim in new else next(left) for dim in range(rank)))


def _transpose(call: Call) -> Symbol:
    source = call.symbol()
    dims = call.settings.get("perm") or range(len(source.shape))[::-1]
    if dims[0] != 0:
        raise call.unboundable("that mixes the images of a batch")
    return call.builder.transpose(call.name, source, tuple(dims))


def _expand(call: Call) -> Symbol:
    """One channel repeated, as grey images are for a network that takes colours."""
    source = call.symbol()
    shape = np.broadcast_shapes(source.shape, tuple(int(value) for value in call.needed(1).reshape(-1)))
    changed = [dim for dim, size in enumerate(shape) if dim >= len(source.shape) or size != source.shape[dim]]
    if not changed:
        return source
    if len(shape) != len(source.shape) or len(changed) > 1 or changed[0] == 0 or shape[changed[0]] > COPIES:
        raise call.unboundable(f"of {source.shape} to {shape}")
    return call.add("concat", *[source] * shape[changed[0]], dim=changed[0])


def _concat(call: Call) -> Symbol:
    symbols = [call.symbol(place) for place in range(len(call.inputs))]
    return call.add("concat", *symbols, dim=int(call.settings["axis"]) % len(symbols[0].shape))


def _slice(call: Call) -> Symbol:
    found = call.symbol()
    starts, stops = ([int(value) for value in call.needed(place).reshape(-1)] for place in (1, 2))
    axes = call.listed("axes", 3) or list(range(len(starts)))
    steps = call.listed("steps", 4) or [1] * len(starts)
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        dim = axis % len(found.shape)
        if step < 1:
            raise call.unboundable("backwards")
        first, last, _ = slice(start, stop).indices(found.shape[dim])
        if (first, last, step) != (0, found.shape[dim], 1):
            found = call.add("slice", found, dim=dim, start=first, stop=last, step=step)
    return found


def _split(call: Call) -> list[Symbol]:
    source = call.symbol()
    dim = int(call.settings.get("axis", 0)) % len(source.shape)
    even = -(-source.shape[dim] // call.outputs)
    sizes = call.listed("split", 1) or [min(even, source.shape[dim] - even * number) for number in range(call.outputs)]
    ends = pairwise(np.cumsum([0, *sizes]).tolist())
    return [call.add("slice", source, dim=dim, start=first, stop=last, step=1) for first, last in ends]


def _pad(call: Call) -> Symbol:
    source, ends = call.symbol(), call.listed("pads", 1) or []
    mode = call.settings.get("mode", b"constant").decode()
    plain = mode == "constant" and len(source.shape) == 4 and len(ends) == 8
    if not plain or any(ends[place] for place in (0, 1, 4, 5)) or min(ends) < 0:
        raise call.unboundable(f"({mode}, {ends})")
    value = call.constant(2)
    padding = (ends[2], ends[3], ends[6], ends[7])
    return call.add("pad", source, padding=padding, value=0.0 if value is None else float(value)) if any(padding) else source


SHAPES: dict[str, Translation] = {
    "AveragePool": _avg_pool, "Concat": _concat, "Expand": _expand, "Flatten": _flatten, "GlobalAveragePool": _global_mean,
    "GlobalMaxPool": _global_max, "MaxPool": _max_pool, "Pad": _pad, "ReduceMax": _reduce("max"), "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"), "Reshape": _reshape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
