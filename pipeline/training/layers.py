"""The layers of a network by name: in which order they come, which end a stage, and what comes out of them.

A step is a layer that stands in a row of layers: the children of the network itself, of a library's network below `network`, and
of every plain sequence or holder of like blocks among them. A residual block, an inception block or a transformer block is one.

B batch, C channels, H height, W width, T tokens, D features, K outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError, near_match

TOKEN_STAGES = 4  # of a transformer, whose blocks all have one shape
WRAPPER = "network"  # under which our models hold a library's network
Shape = tuple[int, ...]


def find(model: nn.Module, name: str, *, key: str) -> nn.Module:
    """The layer of this name.

    Args:
        model: the network.
        name: as in `model.named_modules()`.
        key: of the configuration or command line, for the message.

    Raises:
        PersonError: there is none; the nearest name is given.
    """
    named: dict[str, nn.Module] = {path: module for path, module in model.named_modules() if path}
    if name not in named:
        raise PersonError(f"{key}: {type(model).__name__} has no layer {name!r}; {near_match(name, named)}")
    return named[name]


def steps(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Names and modules of the steps, in the order in which the network was built."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        found += steps(child, f"{path}.") if name == WRAPPER or _is_row(child) else [(path, child)]
    return found


def _is_row(module: nn.Module) -> bool:
    if type(module) in {nn.Sequential, nn.ModuleList}:
        return len(list(module.children())) > 0
    return any(_is_like(list(child.children())) for child in module.children() if type(child) in {nn.Sequential, nn.ModuleList})


def _is_like(layers: list[nn.Module]) -> bool:
    """Whether these are several layers of one class."""
    return len(layers) > 1 and len({type(layer) for layer in layers}) == 1


@contextmanager
def tapped(
    model: nn.Module, names: Sequence[str], of: Callable[[Tensor], Any], *, strict: bool = True
) -> Iterator[dict[str, Any]]:
    """While open, each forward pass fills the mapping with `of(output)` of the named layers, in the order of execution.

    `of` is applied at once, because a later layer may change an output in place. Of several outputs the first is taken.

    Args:
        model: whose layers are looked at.
        names: of them.
        of: what is kept of an output.
        strict: raise where a layer gives no tensor, instead of leaving it out.

    Raises:
        PersonError: a layer that gives no tensor (while running).
    """
    seen: dict[str, Any] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor):
                seen.pop(name, None)
                seen[name] = of(first)
            elif strict:
                raise PersonError(f"the layer {name!r} gives no tensor: received {type(first).__name__}; name a layer inside it")

        return note

    named = dict(model.named_modules())
    handles = [named[name].register_forward_hook(noting(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def shapes(model: nn.Module, x_BCHW: Tensor, names: Sequence[str]) -> dict[str, Shape]:
    """Shape of what each named layer gives that runs in a forward pass, in the order of execution; the network's own is ""."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), tapped(model, names, lambda output: tuple(output.shape), strict=False) as seen:
        output_BK = model(x_BCHW)
    model.train(was_training)
    return {**seen, "": tuple(output_BK.shape)}


def stages(model: nn.Module, x_BCHW: Tensor) -> list[str]:
    """Names of the last step of each stage, the output layer left out.

    A stage ends where the next step has another height and width, or where a fully connected layer begins; of a transformer's
    blocks four are taken, evenly over the depth. Steps without weights (pooling, dropout) make no stage of their own.
    """
    modules = dict(steps(model))
    seen = shapes(model, x_BCHW, list(modules))
    output = seen.pop("")
    ends: list[tuple[str, Shape]] = []
    weighty: list[bool] = []  # whether a stage has weights of its own; a mere pooling repeats the stage before it
    for name, shape in seen.items():
        same = ends and len(shape) == len(ends[-1][1]) and shape[2:] == ends[-1][1][2:] and len(shape) != 3
        has = any(True for _ in modules[name].parameters())
        if same and not isinstance(modules[name], nn.Linear):
            ends[-1], weighty[-1] = (name, shape), weighty[-1] or has
        else:
            ends.append((name, shape))
            weighty.append(has)
    ends = [end for end, has in zip(ends, weighty, strict=True) if has]
    if len(ends) > 1 and ends[-1][1][:2] == output and all(size == 1 for size in ends[-1][1][2:]):
        ends.pop()
    tokens = [name for name, shape in ends if len(shape) == 3]
    places = np.linspace(0, len(tokens), min(TOKEN_STAGES, len(tokens)) + 1).round().astype(int)[1:] - 1
    kept = {tokens[place] for place in places}
    return [name for name, shape in ends if len(shape) != 3 or name in kept]


def pooled(output: Tensor) -> Tensor:
    """Features (B, D) of a layer's output: mean and maximum over height and width, or over tokens; a vector as it is.

    Four dimensions are read as (B, C, H, W), three as (B, T, D).
    """
    if output.ndim == 4:
        return torch.cat([output.mean((2, 3)), output.amax((2, 3))], dim=1)
    if output.ndim == 3:
        return torch.cat([output.mean(1), output.amax(1)], dim=1)
    return output.flatten(1)


def depths(model: nn.Module) -> dict[str, int]:
    """Of each step that has weights, how many such steps come after it; norms and biases belong to the step before them."""
    found: dict[str, int] = {}
    number = -1
    for name, module in steps(model):
        sizes = [parameter.ndim for parameter in module.parameters()]
        if sizes:
            number = max(0, number + (max(sizes) > 1))
            found[name] = number
    return {name: number - place for name, place in found.items()}


def longest(name: str, prefixes: Mapping[str, float]) -> float | None:
    """The value of the longest prefix that ends at a dot of the name, or is it; None where there is none."""
    fitting = [prefix for prefix in prefixes if name == prefix or name.startswith(f"{prefix}.")]
    return prefixes[max(fitting, key=len)] if fitting else None
