"""Predictions of a trained network on stored images, in batches.

B batch, C channels, H height, W width, N samples, K columns of a decoded prediction.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.core.progress import track
from pipeline.core.record import Pixels
from pipeline.training.inputs import to_tensor

BATCH = 32  # fixed, so that the last bits of a prediction do not depend on who asks
GRADIENT_BATCH = 8  # where activations are kept: EfficientNet-Lite0 at 300 pixels keeps 150 MB an image


def to_batch(pixels: Sequence[Pixels]) -> Tensor:
    """uint8 images (H, W, C) -> float32 in [0, 1], (B, C, H, W)."""
    return torch.stack([to_tensor(pixels_HWC) for pixels_HWC in pixels])


class Scored:
    """What explainers see of a network: the score of each sample, and the network itself as `model`."""

    def __init__(self, model: nn.Module, task: Any) -> None:
        self.model = model
        self.task = task

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Score of each sample (B,): the logit of the predicted class, or the predicted value."""
        score_B: Tensor = self.task.score(self.model(x_BCHW))
        return score_B


def predict(model: nn.Module, task: Any, pixels: Iterable[Pixels], *, total: int, what: str = "") -> NDArray[np.float32]:
    """Decoded predictions (N, K) of a network in evaluation mode.

    Args:
        model: the network.
        task: whose `decode` makes predictions of outputs.
        pixels: images (H, W, C), read as they are needed.
        total: how many there are, for the progress bar.
        what: what the bar says; "" shows none.

    Raises:
        PersonError: a prediction is not finite.
    """
    waiting = iter(pixels)
    rows: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        starts = range(0, total, BATCH)
        for _ in track(starts, what=what, total=len(starts)) if what else starts:
            chunk = list(islice(waiting, BATCH))
            rows.append(task.decode(model(to_batch(chunk))).float().numpy())
    if not rows:
        return np.zeros((0, task.outputs()), dtype=np.float32)
    prediction_NK = np.concatenate(rows)
    wrong = int((~np.isfinite(prediction_NK)).any(axis=1).sum())
    if wrong:
        raise PersonError(f"{wrong} of {total} predictions of the model are not finite: train it again with a smaller train.lr")
    return prediction_NK
