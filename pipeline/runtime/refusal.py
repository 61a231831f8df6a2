"""Why a network cannot be written as ONNX: which operator, of which layer, and who takes it nevertheless."""

import re
import warnings

import torch
from torch import Tensor, nn

OPERATOR = re.compile(r"torch\.ops\.([a-z_]+)\.([a-zA-Z_0-9]+)|OpOverload\(op='([a-z_]+)\.([a-zA-Z_0-9]+)'")
OTHERS = ("torch_export", "executorch", "litert", "ncnn", "coreml")  # targets that read the network, not the ONNX file


def refusal(error: BaseException, model: nn.Module, example_B: Tensor) -> str:
    """One line for a person.

    Args:
        error: of torch's ONNX exporter.
        model: the network.
        example_B: what it was traced on.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example_B,))
    except (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError) as fault:
        told = next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
        return f"torch.export cannot trace the network ({told[:200]}), so no target can take it: write the layer without it"
    operator = _operator(error)
    where = _layer(program, operator)
    return (
        f"ONNX has no operator for {operator or 'a part of the network'}{where}: replace the layer, or leave ONNX out with  "
        f"exporter=none compressor=none target=[torch_export]  (torch.export takes it; {', '.join(OTHERS[1:])} do not read ONNX "
        "either, and say whether they do)"
    )


def _operator(error: BaseException | None) -> str:
    """Name of the operator that the deepest cause speaks of."""
    found = ""
    while error is not None:
        match = OPERATOR.search(str(error))
        if match:
            found = ".".join(part for part in match.groups() if part)
        error = error.__cause__
    return found


def _layer(program: "torch.export.ExportedProgram", operator: str) -> str:
    """The layer that calls it, by the operator's bare name: decompositions give it another namespace."""
    bare = operator.rpartition(".")[2].removeprefix("special_")
    for node in program.graph.nodes:
        if node.op == "call_function" and bare and bare in str(node.target).replace("special_", ""):
            stack = list(node.meta.get("nn_module_stack", {}).values())
            if stack:
                path, kind = stack[-1]
                return f" in the layer {path or 'of the network itself'} ({str(kind).rpartition('.')[2]})"
    return ""
