"""Operations of torch that move numbers and change none, as nodes of the graph."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.verification.aten import Call, Symbol


def _reshape(call: Call, x: Symbol, shape: Any, *more: Any) -> Symbol:
    sizes = [shape, *more] if isinstance(shape, int) else list(shape)
    rest = math.prod(size for size in sizes if size != -1)
    found = [math.prod(x.shape) // max(1, rest) if size == -1 else size for size in sizes]
    if found[0] != x.shape[0]:
        raise call.refused("it mixes images of a batch")
    return call.node("reshape", [x], shape=tuple(found[1:]))


def _flatten(call: Call, x: Symbol, start: int = 0, end: int = -1) -> Symbol:
    first, last = start % len(x.shape), end % len(x.shape)
    if first == 0:
        raise call.refused("it mixes images of a batch")
    return call.node("reshape", [x], shape=(*x.shape[1:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def _same(_: Call, x: Symbol, *__: Any, **___: Any) -> Symbol:
    return x


def _permute(call: Call, x: Symbol, dims: Sequence[int]) -> Symbol:
    order = tuple(dim % len(x.shape) for dim in dims)
    if order[0] != 0:
        raise call.refused("it moves the images of a batch")
    return call.node("transpose", [x], dims=order)


def _transpose(call: Call, x: Symbol, first: int, second: int) -> Symbol:
    order = list(range(len(x.shape)))
    first, second = first % len(order), second % len(order)
    order[first], order[second] = order[second], order[first]
    return _permute(call, x, order)


def _unsqueeze(call: Call, x: Symbol, dim: int) -> Symbol:
    shape = list(x.shape)
    shape.insert(dim % (len(shape) + 1), 1)
    return _reshape(call, x, shape)


def _squeeze(call: Call, x: Symbol, dims: Any = None) -> Symbol:
    chosen = range(1, len(x.shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % len(x.shape) for dim in chosen if x.shape[dim] == 1}
    return _reshape(call, x, [size for place, size in enumerate(x.shape) if place not in gone])


def _expand(call: Call, x: Symbol, sizes: Sequence[int], **_: Any) -> Symbol:
    """Copies along dimensions of one, by joining the same node several times."""
    extra = len(sizes) - len(x.shape)
    if extra:
        raise call.refused("to more dimensions")
    for place, size in enumerate(sizes):
        if size not in {-1, x.shape[place]}:
            if place == 0:
                raise call.refused("to more images")
            x = call.node("concat", [x] * size, dim=place)
    return x


def _cat(call: Call, parts: Sequence[Any], dim: int = 0) -> Symbol:
    if not all(isinstance(part, Symbol) for part in parts):
        raise call.refused("with a constant")
    place = dim % len(parts[0].shape)
    if place == 0:
        raise call.refused("it joins images of a batch")
    return call.node("concat", parts, dim=place)


def _slice(call: Call, x: Symbol, dim: int = 0, *ends: int | None) -> Symbol:
    """`ends` are start, stop and step, as of a slice."""
    place = dim % len(x.shape)
    start, stop, stride = (*ends, None, None, None)[:3]
    first, last, step = slice(start, stop, stride).indices(x.shape[place])
    if (first, last, step) == (0, x.shape[place], 1):
        return x
    if place == 0:
        raise call.refused("it chooses images of a batch")
    return call.node("slice", [x], dim=place, start=first, stop=last, step=step)


def _select(call: Call, x: Symbol, dim: int, index: int) -> Symbol:
    place = dim % len(x.shape)
    index %= x.shape[place]
    return _squeeze(call, _slice(call, x, place, index, index + 1), place)


def _split(call: Call, x: Symbol, sizes: Any, dim: int = 0) -> list[Symbol]:
    place = dim % len(x.shape)
    widths = list(sizes) if not isinstance(sizes, int) else [
        min(sizes, x.shape[place] - start) for start in range(0, x.shape[place], sizes)
    ]  # fmt: skip
    ends = [sum(widths[: number + 1]) for number in range(len(widths))]
    return [_slice(call, x, place, end - size, end) for size, end in zip(widths, ends, strict=True)]


def _chunk(call: Call, x: Symbol, count: int, dim: int = 0) -> list[Symbol]:
    return _split(call, x, -(-x.shape[dim % len(x.shape)] // count), dim)


def _pad(call: Call, x: Symbol, around: Sequence[int], *settings: Any) -> Symbol:
    mode, value = (*settings, 0.0)[:2] if settings and isinstance(settings[0], str) else ("constant", (*settings, 0.0)[0])
    if mode != "constant" or len(x.shape) != 4 or len(around) > 4:
        raise call.refused(f"mode {mode!r} or more than height and width")
    left, right, top, bottom = [*around, 0, 0][:4]
    return call.node("pad", [x], padding=(top, left, bottom, right), value=float(value or 0.0))


def _resize(mode: str) -> Callable[..., Symbol]:
    def translate(call: Call, x: Symbol, size: Any, *settings: Any) -> Symbol:
        if size is None or (mode == "bilinear" and settings and settings[0]):
            raise call.refused("by a factor, or with aligned corners")
        return call.node("resize", [x], size=tuple(size), mode=mode)

    return translate


SHAPES: Mapping[str, Callable[..., Any]] = {
    "reshape": _reshape, "view": _reshape, "_unsafe_view": _reshape, "flatten": _flatten, "permute": _permute,
    "transpose": _transpose, "unsqueeze": _unsqueeze, "squeeze": _squeeze, "expand": _expand, "cat": _cat, "concat": _cat,
    "slice": _slice, "select": _select,
    "split": _split, "split_with_sizes": _split, "chunk": _chunk, "pad": _pad, "constant_pad_nd": _pad,
    "upsample_bilinear2d": _resize("bilinear"), "upsample_nearest2d": _resize("nearest"),
    "getitem": lambda _, parts, number: parts[number],
    **dict.fromkeys(("dropout", "feature_dropout", "contiguous", "clone", "alias", "detach", "to", "_to_copy", "float"), _same),
}  # fmt: skip
