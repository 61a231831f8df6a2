"""What must hold of every answer inside a ball: the class is the truth, or the value lies within a tolerance of it.

N samples, K outputs, S linear functions of them that must all be above zero.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import PersonError

VISIBLE = 1e-30  # probabilities below are too small to take a logarithm of: the margin is not known


class Decoded(nn.Module):
    """A network whose raw outputs are brought into the unit that a person reads.

    Args:
        model: images in [0, 1] -> raw outputs.
        task: decodes them.
    """

    def __init__(self, model: nn.Module, task: Any) -> None:
        super().__init__()
        self.model = model
        self.decode = task.decode

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> values in the unit of the target (B, 1)."""
        value_BK: Tensor = self.decode(self.model(x_BCHW))
        return value_BK


class Statement:
    """What is claimed of each of N samples.

    Args:
        task: of the model; with classes, the claim is the class, else the value.
        truth_N: their truths.
        tolerance: of a value, as a share of the target's range on the card.

    Raises:
        PersonError: a tolerance that is not positive.
    """

    def __init__(self, task: Any, truth_N: NDArray[Any], *, tolerance: float) -> None:
        self.task = task
        self.truth_N = np.asarray(truth_N)
        self.classes = int(task.categories)
        if not tolerance > 0:
            raise PersonError(f"certify.tolerance must be positive, a share of the target's range: received {tolerance}")
        target = {} if self.classes else task.card["target"]
        self.reach = 0.0 if self.classes else tolerance * (float(target["high"]) - float(target["low"]))
        self.unit = str(target.get("unit", ""))

    def rows(self, places: NDArray[np.int64]) -> "Statement":
        """The same of some samples."""
        other = object.__new__(Statement)
        other.__dict__.update(self.__dict__, truth_N=self.truth_N[places])
        return other

    def network(self, model: nn.Module) -> nn.Module:
        """The network whose outputs `functions` speak of: raw for classes, decoded for a value."""
        return model if self.classes else Decoded(model, self.task).eval()

    def functions(self) -> tuple[Tensor, Tensor]:
        """Weights (N, S, K) and constants (N, S), float64, of outputs whose sums must all be positive.

        Classes: the output of the truth minus each other one, S = K - 1. A value y with the truth t: r - (y - t) and r + (y - t).
        """
        truth_N = torch.as_tensor(self.truth_N)
        if not self.classes:
            value_N = truth_N.to(torch.float64)
            weights = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(len(value_N), 2, 1)
            return weights.clone(), torch.stack([self.reach + value_N, self.reach - value_N], dim=1)
        unit_KK = torch.eye(self.classes, dtype=torch.float64)
        others = torch.stack([torch.arange(self.classes)[torch.arange(self.classes) != truth] for truth in truth_N.tolist()])
        return unit_KK[truth_N][:, None] - unit_KK[others], torch.zeros(others.shape, dtype=torch.float64)

    def margins(self, decoded_NK: NDArray[np.float32]) -> NDArray[np.float64]:
        """The least of those functions, as decoded predictions show it; NaN where a probability is too small to tell."""
        value_NK = np.asarray(decoded_NK, dtype=np.float64)
        if not self.classes:
            return np.asarray(self.reach - np.abs(value_NK[:, 0] - self.truth_N), dtype=np.float64)
        rows = np.arange(len(value_NK))
        rest_NK = value_NK.copy()
        rest_NK[rows, self.truth_N] = -np.inf
        pair_2N = np.stack([value_NK[rows, self.truth_N], rest_NK.max(axis=1)])
        with np.errstate(divide="ignore", invalid="ignore"):
            margin_N = np.log(pair_2N[0]) - np.log(pair_2N[1])
        return np.where((pair_2N > VISIBLE).all(axis=0), margin_N, np.nan)

    def holds(self, decoded_NK: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether the claim is true of these answers."""
        value_NK = np.asarray(decoded_NK)
        if self.classes:
            return np.asarray(value_NK.argmax(axis=1) == self.truth_N)
        return np.asarray(np.abs(value_NK[:, 0].astype(np.float64) - self.truth_N) < self.reach)

    def text(self) -> str:
        """The claim, for people."""
        if self.classes:
            return "The claim is that the most probable class is the true one."
        return f"The claim is that the value lies within {self.reach:.4g} {self.unit}".rstrip() + " of the true one."
