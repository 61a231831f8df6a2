"""What a network knows of an image before its last layer, and the training samples that are nearest there.

B batch, C channels, H height, W width, D features, N samples, M prototypes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import PersonError


class Features:
    """The input of the last layer with weights that runs (linear, or a convolution as in SqueezeNet); places are averaged.

    Args:
        model: the network, in evaluation mode.
        x_1CHW: an image, to find the last layer.

    Raises:
        PersonError: the network has no such layer.
    """

    def __init__(self, model: nn.Module, x_1CHW: Tensor) -> None:
        self.model = model
        ran: list[nn.Module] = []
        candidates = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        handles = [module.register_forward_hook(lambda layer, *_: ran.append(layer)) for module in candidates]
        try:
            with torch.no_grad():
                model(x_1CHW)
        finally:
            for handle in handles:
                handle.remove()
        if not ran:
            name = type(model).__name__
            raise PersonError(f"{name} has neither a linear layer nor a convolution to look into: choose  explainer=[none]")
        self.layer = ran[-1]

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Features (B, D); gradients pass through."""
        kept: list[Tensor] = []
        handle = self.layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            self.model(x_BCHW)
        finally:
            handle.remove()
        found = kept[-1]
        places = (2, 3) if isinstance(self.layer, nn.Conv2d) else tuple(range(1, found.ndim - 1))
        return found.mean(places) if places else found


def features_of(features: Features, batches: Iterable[Tensor]) -> NDArray[np.float32]:
    """Features of many images (N, D)."""
    with torch.inference_mode():
        found: NDArray[np.float32] = torch.cat([features(x_BCHW) for x_BCHW in batches]).float().numpy()
    return found


def nearest(query_ND: NDArray[np.float32], prototype_MD: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Rows of the `count` prototypes nearest to each query, nearest first, (N, count).

    Distances are Euclidean between features that are standardised by the prototypes; one that never varies counts nothing.
    """
    prototype_MD = prototype_MD.astype(np.float64)
    mean_D, std_D = prototype_MD.mean(0), prototype_MD.std(0)
    scale_D = np.where(std_D > 1e-9, 1 / np.maximum(std_D, 1e-9), 0.0)
    query_ND, prototype_MD = (query_ND - mean_D) * scale_D, (prototype_MD - mean_D) * scale_D
    square_NM = (query_ND**2).sum(1)[:, None] - 2 * query_ND @ prototype_MD.T + (prototype_MD**2).sum(1)[None]
    return np.argsort(square_NM, axis=1, kind="stable")[:, : min(count, len(prototype_MD))].astype(np.int64)


def agreement(
    task: Any, prediction_NK: NDArray[np.float32], near: NDArray[np.int64], truth_M: NDArray[Any]
) -> tuple[float, float]:
    """How wrong the predictions would be, were the neighbours' truths right, and were those of all prototypes.

    Returns:
        Mean of `task.errors` over each prediction's neighbours, and over all prototypes. The first is far below the second
        where training samples that are near inside the network are alike in truth as well.
    """
    def wrong(row_K: NDArray[np.float32], truths: NDArray[Any]) -> float:
        return float(task.errors(np.repeat(row_K[None], len(truths), axis=0), truths).mean())

    own = [wrong(row_K, truth_M[rows]) for row_K, rows in zip(prediction_NK, near, strict=True)]
    return float(np.mean(own)), float(np.mean([wrong(row_K, truth_M) for row_K in prediction_NK]))
