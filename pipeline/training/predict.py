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


def predict(model: nn.Module, task: Any, pixels: Iterable[Pixels], *, total: int, what: str = "") -> NDArray[np.float32]:
    """Decoded predictions (N, K) of a network in evaluation mode; arguments and errors as in `outputs`."""
    return decoded(task, outputs(model, task, pixels, total=total, what=what))


def outputs(model: nn.Module, task: Any, pixels: Iterable[Pixels], *, total: int, what: str = "") -> NDArray[np.float32]:
    """Raw outputs (N, K) of a network in evaluation mode.

    Args:
        model: the network.
        task: whose width the outputs have.
        pixels: images (H, W, C), read as they are needed.
        total: how many there are, for the progress bar.
        what: what the bar says; "" shows none.

    Raises:
        PersonError: an output is not finite.
    """
    waiting = iter(pixels)
    rows: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        starts = range(0, total, BATCH)
        for _ in track(starts, what=what, total=len(starts)) if what else starts:
            chunk = list(islice(waiting, BATCH))
            rows.append(model(to_batch(chunk)).float().numpy())
    if not rows:
        return np.zeros((0, task.outputs()), dtype=np.float32)
    output_NK = np.concatenate(rows)
    wrong = int((~np.isfinite(output_NK)).any(axis=1).sum())
    if wrong:
        raise PersonError(f"{wrong} of {total} predictions of the model are not finite: train it again with a smaller train.lr")
    return output_NK


def decoded(task: Any, output_NK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decoded predictions (N, K) of raw outputs, batch by batch, so that the last bits do not depend on N."""
    with torch.inference_mode():
        batches = (torch.from_numpy(output_NK[start : start + BATCH]) for start in range(0, len(output_NK), BATCH))
        rows = [task.decode(output_BK).numpy() for output_BK in batches]
    return np.concatenate(rows) if rows else output_NK
