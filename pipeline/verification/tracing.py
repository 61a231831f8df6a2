"""The graph of a live module, by torch.export (a torch.fx graph of tensor operations, whatever Python made them).

The constants are the module's own parameters and buffers, so bounds follow them through training and can be differentiated with
respect to them. What the graph computes is held against the module on the example before it is handed out.

B batch, C channels, H height, W width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.verification.aten import Call, Symbol
from pipeline.verification.aten_layers import LAYERS
from pipeline.verification.aten_shapes import SHAPES
from pipeline.verification.graph import Graph, Node, Unboundable

OPERATIONS = {**LAYERS, **SHAPES}
AGREES = 1e-3  # relative and absolute difference that the other order of the operations may make in float32


def from_module(model: nn.Module, example_BCHW: Tensor, *, live: bool = False) -> Graph:
    """The graph of a network in evaluation mode; its modes are left as they were.

    Args:
        model: pixels in [0, 1] (B, C, H, W) -> raw outputs (B, K).
        example_BCHW: images of its size, at least two, all different.
        live: refuse a network whose parameters are not constants of the graph themselves, so that training can follow them.

    Raises:
        Unboundable: it holds an operation that no bound is known for, or cannot be traced; the message names the layer.
        RuntimeError: the graph computes something else than the module: our own code is broken.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            graph = _graph(model.eval(), example_BCHW, live=live)
            expected_BK, found_BK = model(example_BCHW), graph.run(example_BCHW)
    finally:
        for module, mode in modes:
            module.training = mode
    if not torch.allclose(found_BK, expected_BK, rtol=AGREES, atol=AGREES):
        gap = float((found_BK - expected_BK).abs().max())
        raise RuntimeError(f"the graph of {type(model).__name__} is not the module: outputs differ by {gap:.3g}")
    return graph


def _graph(model: nn.Module, example_BCHW: Tensor, *, live: bool) -> Graph:
    try:
        exported = torch.export.export(model, (example_BCHW,), strict=False)
    except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        raise Unboundable(type(model).__name__, f"cannot be traced: {str(error).splitlines()[0]}") from error
    values = _constants(exported, model)
    nodes: list[Node] = []
    for entry in exported.graph.nodes:
        if entry.op == "placeholder" and entry.name not in values:
            nodes.append(Node("input", "input"))
            values[entry.name] = Symbol("input", tuple(example_BCHW.shape))
        elif entry.op == "call_function":
            _translate(entry, values, nodes, live=live)
        elif entry.op == "output":
            return _finish(entry, values, nodes, type(model).__name__)
    raise RuntimeError("an exported program without an output")


def _constants(exported: Any, model: nn.Module) -> dict[str, Any]:
    """Live parameters and buffers by the names of their placeholders."""
    signature = exported.graph_signature
    held: dict[str, Any] = {name: model.get_parameter(path) for name, path in signature.inputs_to_parameters.items()}
    buffers = dict(model.named_buffers())
    for name, path in signature.inputs_to_buffers.items():
        held[name] = buffers[path]
    for name, path in signature.inputs_to_lifted_tensor_constants.items():
        held[name] = exported.constants[path]
    return held


def _translate(entry: Any, values: dict[str, Any], nodes: list[Node], *, live: bool) -> None:
    """Append what an operation of torch is made of; one on constants alone is computed."""
    arguments = torch.fx.node.map_arg(entry.args, lambda one: values[one.name])
    settings = torch.fx.node.map_arg(entry.kwargs, lambda one: values[one.name])
    name, operation = _layer(entry), _plain(entry.target)
    if not _symbolic((arguments, settings)):
        if live and any(isinstance(one, nn.Parameter) and one.requires_grad for one in arguments):
            raise Unboundable(name, f"{operation}: its weights are computed from others, which training cannot follow")
        values[entry.name] = entry.target(*arguments, **settings)
        return
    if operation not in OPERATIONS:
        raise Unboundable(name or entry.name, operation)
    call = Call(name=f"{name}.{entry.name}" if name else entry.name, operation=operation, nodes=nodes)
    found = OPERATIONS[operation](call, *arguments, **settings)
    values[entry.name] = found
    if _in_place(entry.target):
        values[entry.args[0].name] = found  # later operations see the changed input


def _plain(target: Any) -> str:
    """`relu` of `aten.relu_.default`."""
    words = str(target).split(".")
    return words[1].rstrip("_") if words[0] == "aten" else str(getattr(target, "__name__", target))


def _in_place(target: Any) -> bool:
    words = str(target).split(".")
    return words[0] == "aten" and words[1].endswith("_")


def _layer(entry: Any) -> str:
    """The module that an operation belongs to, as its parent names it."""
    stack: Mapping[str, tuple[str, Any]] = entry.meta.get("nn_module_stack") or {}
    path = [place for place, _ in stack.values()][-1] if stack else ""
    return path.removeprefix("L['self'].").replace("L['self']", "")


def _symbolic(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_symbolic(one) for one in value.values())
    if isinstance(value, list | tuple) and not isinstance(value, Symbol):
        return any(_symbolic(one) for one in value)
    return isinstance(value, Symbol)


def _finish(entry: Any, values: Mapping[str, Any], nodes: list[Node], model: str) -> Graph:
    """What the output depends on."""
    outputs = [values[one.name] for one in entry.args[0]]
    if len(outputs) != 1 or not isinstance(outputs[0], Symbol) or len(outputs[0].shape) != 2:
        raise Unboundable(model, "gives something else than one tensor (B, K)")
    wanted, kept = {outputs[0].name, "input"}, []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return Graph(tuple(kept[::-1]))
