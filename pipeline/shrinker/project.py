"""Projection: a layer's outputs mostly lie in few directions, so it becomes two thin layers through those directions.

Source: Zhang et al. 2015, arXiv 1505.06798 (principal components of a layer's responses); MATLAB calls it projection. With
outputs z = W x of mean m, and U the leading eigenvectors of their covariance, z is about m + U U'(z - m), so W becomes U'W (to r
directions) and then U (back), with the bias b + (I - U U') m: exact where all directions are kept.

B batch, C channels, H height, W width, K outputs of a layer, R directions kept.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError


@dataclass
class Moments:
    """Sums over the outputs of a layer, without its bias."""

    count: int
    total_K: Tensor
    products_KK: Tensor

    def mean(self) -> Tensor:
        """(K,)."""
        return self.total_K / self.count

    def covariance(self) -> Tensor:
        """(K, K)."""
        mean_K = self.mean()
        return self.products_KK / self.count - torch.outer(mean_K, mean_K)


class Project:
    """Low-rank factors of convolutions and linear layers.

    Args:
        variance: share of a layer's variance that its directions keep (0 to 1); how many these are follows from it.
        worth: a layer stays as it is unless the two thin ones have at most this share of its weights.

    Raises:
        PersonError: a share outside (0, 1].
    """

    order = 1

    def __init__(self, *, variance: float = 0.95, worth: float = 0.8) -> None:
        if not 0 < variance <= 1 or not 0 < worth <= 1:
            told = f"received {variance} and {worth}"
            raise PersonError(f"shrinker.project: variance and worth must lie above 0 and up to 1: {told}")
        self.variance, self.worth = variance, worth

    def shrink(self, network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> nn.Module:
        """A copy with thinner layers; the last one keeps its form.

        Args:
            network: pixels in [0, 1] (B, C, H, W) -> raw outputs.
            batches: images of the train split, whose responses are looked at.

        Raises:
            PersonError: no layer is worth it.
        """
        small = copy.deepcopy(network).eval()
        names = [name for name, module in small.named_modules() if _is_plain(module)][:-1]
        seen = moments(small, names, batches())
        changed = 0
        for name in names:
            thin = None if name not in seen else self._thin(small.get_submodule(name), seen[name])
            if thin is not None:
                parent, _, own = name.rpartition(".")
                setattr(small.get_submodule(parent), own, thin)
                changed += 1
        if not changed:
            raise PersonError("no layer is worth projecting: lower shrinker.project.variance, or choose  shrinker=prune")
        return small.eval()

    def _thin(self, layer: nn.Module, seen: Moments) -> nn.Module | None:
        """Two layers for one; None where that would not be smaller."""
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        values_K, vectors_KK = torch.linalg.eigh(seen.covariance())
        share_K = values_K.flip(0).clamp_min(0).cumsum(0) / values_K.clamp_min(0).sum().clamp_min(1e-30)
        outputs = len(share_K)
        directions = min(outputs, int((share_K < self.variance).sum()) + 1)
        weight = layer.weight.detach().double().reshape(outputs, -1)
        if directions * (weight.shape[1] + outputs) > self.worth * weight.numel():
            return None
        up_KR = vectors_KK.flip(1)[:, :directions]
        mean_K = seen.mean()
        bias_K = mean_K - up_KR @ (up_KR.T @ mean_K)
        if layer.bias is not None:
            bias_K = bias_K + layer.bias.detach().double()
        return _two(layer, (up_KR.T @ weight).float(), up_KR.float(), bias_K.float())


def moments(network: nn.Module, names: list[str], batches: Iterable[Tensor]) -> dict[str, Moments]:
    """First and second moments of what each named layer gives, without its bias; layers that are not called are left out."""
    found: dict[str, Moments] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(layer: nn.Module, _: Any, output: Tensor) -> None:
            axis = 1 if isinstance(layer, nn.Conv2d) else -1
            rows_NK = output.detach().movedim(axis, -1).reshape(-1, output.shape[axis]).double()
            bias = getattr(layer, "bias", None)
            if bias is not None:
                rows_NK = rows_NK - bias.detach().double()
            old = found.get(name)
            new = Moments(len(rows_NK), rows_NK.sum(0), rows_NK.T @ rows_NK)
            found[name] = new if old is None else Moments(
                old.count + new.count, old.total_K + new.total_K, old.products_KK + new.products_KK
            )  # fmt: skip

        return look

    hooks = [network.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    try:
        with torch.no_grad():
            for x_BCHW in batches:
                network(x_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_plain(module: nn.Module) -> bool:
    """A layer whose outputs are one matrix product of its inputs."""
    if type(module) is nn.Linear:
        return True
    return type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"


def _two(layer: nn.Conv2d | nn.Linear, down_RW: Tensor, up_KR: Tensor, bias_K: Tensor) -> nn.Sequential:
    first: nn.Linear | nn.Conv2d
    second: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, len(down_RW), bias=False)
        second = nn.Linear(len(down_RW), layer.out_features)
    else:
        how: dict[str, Any] = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        first = nn.Conv2d(layer.in_channels, len(down_RW), **how, bias=False)
        second = nn.Conv2d(len(down_RW), layer.out_channels, 1)
    with torch.no_grad():
        first.weight.copy_(down_RW.reshape(first.weight.shape))
        second.weight.copy_(up_KR.reshape(second.weight.shape))
        assert second.bias is not None
        second.bias.copy_(bias_K)
    return nn.Sequential(first, second)
