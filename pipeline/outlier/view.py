"""What a detector of unknown inputs may look at, and the two halves of a network that give it.

B, N samples, C channels, H height, W width, D features before the last linear layer, K outputs.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
ROUNDING = 1e-4  # share of the largest output by which the two halves may differ from the whole


@dataclass(frozen=True)
class Known:
    """What a network makes of samples of the train split.

    Attributes:
        logits_NK: raw outputs.
        features_ND: inputs of the last linear layer; (N, 0) where a network has none.
        truth_N: int64 class of each; all 0 where the task has no classes.
        weight_KD, bias_K: of the last linear layer; empty where a network has none.
    """

    logits_NK: Tensor
    features_ND: Tensor
    truth_N: Tensor
    weight_KD: Tensor
    bias_K: Tensor


@dataclass(frozen=True)
class Seen:
    """What a network makes of inputs that are to be judged.

    Attributes:
        logits_BK: raw outputs.
        features_BD: inputs of the last linear layer; (B, 0) where a network has none.
        x_BCHW: the inputs themselves, pixels in [0, 1]; None where no gradient is needed.
        network: the network; None where no gradient is needed.
    """

    logits_BK: Tensor
    features_BD: Tensor
    x_BCHW: Tensor | None = None
    network: nn.Module | None = None


@dataclass(frozen=True)
class Fitted:
    """A detector that knows the train split.

    Attributes:
        score: how unlike it each input is, (B,) float; larger is more unlike.
        state: what its graph needs of the fit; tensors alone, so that they travel as safetensors.
    """

    score: Callable[[Seen], Tensor]
    state: State


def halves(model: nn.Module, x_BCHW: Tensor) -> tuple[nn.Module, nn.Linear] | None:
    """A network as a body that ends in features (B, D), and the linear layer that makes its outputs of them.

    Args:
        model: in evaluation mode; it is left as it was.
        x_BCHW: two or more different images, on which the layer is found and the halves are checked.

    Returns:
        Body and last layer, or None where the outputs are not those of one linear layer on vectors.
    """
    found: dict[str, Tensor] = {}
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name}
    hooks = [module.register_forward_hook(_noting(found, name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            output_BK = model(x_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    name = next((name for name, seen in found.items() if seen.shape == output_BK.shape and torch.equal(seen, output_BK)), None)
    if name is None:
        return None
    body = copy.deepcopy(model)
    parent, _, last = name.rpartition(".")
    setattr(body.get_submodule(parent), last, nn.Identity())
    with torch.no_grad():
        features_BD = body(x_BCHW)
        if features_BD.dim() != 2 or features_BD.shape[1] != layers[name].in_features:
            return None
        gap = (layers[name](features_BD) - output_BK).abs().max()
    return (body.eval(), layers[name]) if bool(gap <= ROUNDING * output_BK.abs().max().clamp_min(1e-6)) else None


def _noting(found: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        found[name] = output

    return note
