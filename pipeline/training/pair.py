"""A trained network and the run's embedder looking at the same images, in one pass where both have one frozen trunk.

B batch, H height, W width, C channels, D features, K columns of a prediction, N samples.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.contracts import Embedder
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.record import Pixels
from pipeline.training.inputs import is_cached
from pipeline.training.predict import BATCH, to_batch


class Pair:
    """Predictions of a network, and features of the embedder.

    Args:
        model: in evaluation mode.
        task: whose `decode` makes predictions of outputs.
        embedder: configuration of the run's embedder; None where nobody asks for features, which are (N, 0) then.
        embed: the artifact of embed, which says whose features it holds.
    """

    def __init__(self, model: nn.Module, task: Any, embedder: Any, embed: Path) -> None:
        self.model: Any = model
        self.task = task
        self.shared = embedder is not None and is_cached(model, embed)
        self.embedder: Embedder | None = None if embedder is None or self.shared else build(embedder)

    def __call__(self, pixels: Iterable[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decoded predictions (N, K) and features (N, D) of images (H, W, C), which are read as they are needed.

        Raises:
            PersonError: a prediction is not finite.
        """
        waiting = iter(pixels)
        predictions, features = [], []
        with torch.inference_mode():
            while chunk := list(islice(waiting, BATCH)):
                prediction_BK, features_BD = self._batch(chunk)
                predictions.append(prediction_BK)
                features.append(features_BD)
        prediction_NK = np.concatenate(predictions)
        wrong = int((~np.isfinite(prediction_NK)).any(axis=1).sum())
        if wrong:
            raise PersonError(
                f"{wrong} of {len(prediction_NK)} predictions of the model are not finite: train it again with a smaller train.lr"
            )
        return prediction_NK, np.concatenate(features)

    def _batch(self, chunk: list[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x_BCHW = to_batch(chunk)
        if self.shared:
            trunk_BD = self.model.features(x_BCHW)
            return self.task.decode(self.model.head(trunk_BD)).float().numpy(), trunk_BD.float().numpy()
        prediction_BK = self.task.decode(self.model(x_BCHW)).float().numpy()
        if self.embedder is None:
            return prediction_BK, np.zeros((len(chunk), 0), dtype=np.float32)
        return prediction_BK, self.embedder.features(np.stack(chunk))
