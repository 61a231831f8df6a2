"""Optimisers by name, with the parameters that each is for.

Sources: AdamW: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv 1711.05101; SGD with
Nesterov's momentum: I. Sutskever et al., ICML 2013; Muon: K. Jordan et al., "Muon: An optimizer for hidden layers in neural
networks", 2024, kernels of a convolution flattened as there; its step scaled to the size of AdamW's, so that both share one
learning rate: J. Liu et al., "Muon is Scalable for LLM Training", 2025, arXiv 2502.16982, section 2.2.

O outputs of a layer, I everything that feeds one of them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError, near_match

KINDS = ("adamw", "sgd", "muon")


class Muon(torch.optim.Muon):
    """torch's Muon for weights of any number of axes: each is stepped as a matrix of shape (O, I) that shares its memory.

    Args:
        weights: parameters with two or more axes, the first of them the outputs, contiguous or channels_last.
        named: arguments of `torch.optim.Muon`.

    Raises:
        ValueError: a weight's memory cannot be seen as a matrix.
    """

    def __init__(self, weights: Iterable[dict[str, Any]], **named: Any) -> None:
        groups = [{**group, "params": list(group["params"])} for group in weights]
        self.pairs = [(weight, nn.Parameter(_matrix(weight.detach()))) for group in groups for weight in group["params"]]
        if any(matrix.data_ptr() != weight.data_ptr() for weight, matrix in self.pairs):
            raise ValueError("the memory of a weight cannot be seen as a matrix: expected a contiguous or channels_last tensor")
        matrices = iter(matrix for _, matrix in self.pairs)
        super().__init__([{**group, "params": [next(matrices) for _ in group["params"]]} for group in groups], **named)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take the gradients of the weights themselves, and step."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for weight, matrix in self.pairs:
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, like=weight)
        super().step()  # type: ignore[no-untyped-call]
        return result


def optimisers_of(model: nn.Module, recipe: Mapping[str, Any], factors: Mapping[str, float]) -> list[torch.optim.Optimizer]:
    """The optimisers of conf/train, the one whose steps are counted first; biases and norms are not decayed.

    Args:
        model: its parameters that want a gradient are trained.
        recipe: `optimizer`, `lr`, `weight_decay` and `momentum` of conf/train.
        factors: of the learning rate, by the beginning of a parameter's name.

    Raises:
        PersonError: an unknown name, nothing to train, or no hidden weight that Muon could step.
    """
    kind = recipe.get("optimizer", "adamw")
    if kind not in KINDS:
        raise PersonError(f"train.optimizer {kind!r} is not known: {near_match(kind, KINDS)}")
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise PersonError("the model has no trainable parameter: raise model.trainable_blocks")
    momentum = recipe.get("momentum", 0.9)
    groups = _groups(trained, recipe, factors)
    if kind == "adamw":
        return [torch.optim.AdamW(groups)]
    if kind == "sgd":
        return [torch.optim.SGD(groups, lr=recipe["lr"], momentum=momentum, nesterov=momentum > 0)]
    hidden = _hidden(model)
    rest = [(name, parameter) for name, parameter in trained if name not in hidden]
    if not hidden:
        raise PersonError(
            "train.optimizer=muon steps the weights of hidden layers and the model trains none: use  train.optimizer=adamw"
        )
    matrices = _groups([(name, parameter) for name, parameter in trained if name in hidden], recipe, factors)
    first = Muon(matrices, lr=recipe["lr"], momentum=momentum, adjust_lr_fn="match_rms_adamw")
    return [first, torch.optim.AdamW(_groups(rest, recipe, factors))] if rest else [first]


def _groups(
    trained: list[tuple[str, nn.Parameter]], recipe: Mapping[str, Any], factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Parameters of one learning rate and one weight decay together."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained:
        factor = next((value for prefix, value in factors.items() if name.startswith(prefix)), 1.0)
        decay = recipe["weight_decay"] if parameter.ndim > 1 else 0.0
        found.setdefault((recipe["lr"] * factor, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in found.items()
    ]  # fmt: skip


def _hidden(model: nn.Module) -> set[str]:
    """Names of the weights of dense and full convolutional layers, without the first and the last: those two are AdamW's."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    whole = [
        f"{name}.weight".lstrip(".")
        for name, module in model.named_modules()
        if isinstance(module, layers) and getattr(module, "groups", 1) == 1 and module.weight.requires_grad
    ]
    return set(whole[1:-1])


def _matrix(tensor: Tensor, *, like: Tensor | None = None) -> Tensor:
    """A view as (O, I), or a copy where memory lies otherwise; columns in the order of the memory of `like`."""
    shape = tensor if like is None else like
    if shape.ndim == 4 and not shape.is_contiguous() and shape.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).flatten(1)
    return tensor.flatten(1)
