"""Convolutions in the order in which they run, what the first layer looks for, and what later ones answer.

B batch, C channels, H height, W width, F filters, k side of a filter.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SHUFFLES = 200  # of a filter's weights
CHANCE = 0.05  # share of the shuffles that may be as smooth as a filter that is called structured
SMALLEST = 3  # side of a filter that has a structure


def convolutions(model: nn.Module, run: Callable[[], object]) -> list[tuple[str, nn.Conv2d]]:
    """Names and modules of the convolutions whose output is larger than 1x1, in the order of execution, each once.

    Args:
        model: the network.
        run: what makes it run once.
    """
    seen: dict[str, nn.Conv2d] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            def note(layer: nn.Conv2d, _: object, output: Tensor, name: str = name) -> None:
                if output.shape[2] * output.shape[3] > 1:
                    seen.setdefault(name, layer)

            handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return list(seen.items())


def first_filters(model: nn.Module, found: list[tuple[str, nn.Conv2d]], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Weights of the first layer as images, (F, k, k, C); a linear layer on all pixels gives images of the input's size.

    Where the layer has neither one channel nor three, the mean over them; (0, 1, 1, 1) where no layer sees pixels.
    """
    channels, height, width = shape
    if found:
        weight = found[0][1].weight
    else:
        linear = next((layer for layer in model.modules() if isinstance(layer, nn.Linear)), None)
        if linear is None or linear.in_features != channels * height * width:
            return np.zeros((0, 1, 1, 1), np.float32)
        weight = linear.weight.reshape(-1, channels, height, width)
    filter_FkkC: NDArray[np.float32] = weight.detach().float().permute(0, 2, 3, 1).numpy()
    return filter_FkkC if filter_FkkC.shape[3] in {1, 3} else filter_FkkC.mean(axis=3, keepdims=True)


def structured(filter_FkkC: NDArray[np.float32], rng: np.random.Generator) -> float | None:
    """Share of the filters in which neighbouring weights are more alike than after shuffling the places, at 5 %.

    Edge and blob detectors are smooth; weights that learnt nothing are noise, of which 5 % pass. None where filters are smaller
    than 3x3. The measure is the correlation of horizontal and vertical neighbours, after Moran 1950 (Biometrika 37).
    """
    if not len(filter_FkkC) or min(filter_FkkC.shape[1:3]) < SMALLEST:
        return None
    places = filter_FkkC.shape[1] * filter_FkkC.shape[2]
    order_SP = rng.permuted(np.tile(np.arange(places), (SHUFFLES, 1)), axis=1)
    passed = 0
    for weight_kkC in filter_FkkC:
        shuffled_SkkC = weight_kkC.reshape(places, -1)[order_SP].reshape(SHUFFLES, *weight_kkC.shape)
        as_smooth = int((alikeness(shuffled_SkkC) >= alikeness(weight_kkC[None])).sum())
        passed += (1 + as_smooth) / (1 + SHUFFLES) <= CHANCE
    return passed / len(filter_FkkC)


def alikeness(weight_FkkC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean product of neighbouring weights over their variance, (F,); 0 for a constant filter."""
    centred = (weight_FkkC - weight_FkkC.mean(axis=(1, 2), keepdims=True)).astype(np.float64)
    spread_F = (centred**2).mean(axis=(1, 2, 3))
    down_F, across_F = (
        (first * second).mean(axis=(1, 2, 3))
        for first, second in ((centred[:, 1:], centred[:, :-1]), (centred[:, :, 1:], centred[:, :, :-1]))
    )
    return np.where(spread_F > 0, (down_F + across_F) / 2 / np.where(spread_F > 0, spread_F, 1), 0.0)


def activations(
    model: nn.Module, x_1CHW: Tensor, found: list[tuple[str, nn.Conv2d]], *, layers: int, channels: int
) -> list[tuple[str, NDArray[np.float32]]]:
    """Outputs of some convolutions, spaced in depth: name, and the channels that vary most over the image (channels, h, w)."""
    if not found:
        return []
    chosen = [found[number] for number in np.unique(np.linspace(0, len(found) - 1, min(layers, len(found))).round().astype(int))]
    kept: dict[str, Tensor] = {}
    handles = []
    for name, layer in chosen:
        def note(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            kept[name] = output[0]

        handles.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad():
            model(x_1CHW)
    finally:
        for handle in handles:
            handle.remove()
    shown = []
    for name, _ in chosen:
        answer_Chw = kept[name].float()
        order = answer_Chw.flatten(1).std(1).argsort(descending=True, stable=True)[:channels]
        answer: NDArray[np.float32] = answer_Chw[order].numpy()
        shown.append((name, answer))
    return shown
