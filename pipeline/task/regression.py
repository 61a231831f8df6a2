"""One real value for each sample.

Letters: B batch, N samples. The model's output (B, 1) is the target mapped affinely from the card's [low, high] to [0, 1],
where networks learn well; decoded it is the value in the card's unit (B, 1).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import charts, scores
from pipeline.core.errors import PersonError, near_match
from pipeline.core.section import Picture

if TYPE_CHECKING:
    from torch import Tensor

METRICS = {
    "mae": ("mean absolute error", "in the unit of the target; lower is better"),
    "rmse": ("root mean squared error", "in the unit of the target, large errors weigh more; lower is better"),
    "r2": ("R²", "share of the target's variance that is explained; 0 is what its mean reaches"),
    "spearman": ("rank correlation", "Spearman's: 1 when the order of the samples is right"),
}
HIGHER = ("r2", "spearman")
BINS = 5  # of the target's range, in tables and in the picture of errors


class Regression:
    """Huber or squared loss on the card's real-valued target.

    Args:
        card: of ingest.
        headline: the metric that stands for the result: one of `METRICS`.
        delta: residual, as a share of the target's range, from which the Huber loss (Huber 1964) grows linearly instead of
            quadratically; 0 is half the squared error everywhere.
        clamp: keep decoded predictions inside the card's [low, high]; the loss is never clamped.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "regression"
    meanings = METRICS
    hub_task: str | None = None
    categories = 0

    def __init__(self, *, card: Mapping[str, Any], headline: str, delta: float, clamp: bool) -> None:
        if headline not in METRICS:
            raise PersonError(f"task.headline {headline!r} is not a metric of regression: {near_match(headline, METRICS)}")
        if not delta >= 0:
            raise PersonError(f"task.delta must be zero or positive: received {delta}")
        self.card = card
        self.headline = headline
        self.delta = delta
        self.clamp = clamp

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger headline is a better one."""
        return self.headline in HIGHER

    @property
    def columns(self) -> list[str]:
        """Names of a decoded prediction's columns."""
        return ["prediction"]

    def check(self) -> None:
        """Raise where the data cannot serve this task.

        Raises:
            PersonError: no real-valued target, or a constant one.
        """
        target = self.card.get("target")
        data = self.card.get("name", "")
        if not target:
            hint = "choose  task=classification" if self.card.get("classes") else "give it a real-valued target"
            raise PersonError(f"task=regression needs a real-valued target, but the data {data!r} has none: {hint}")
        if not float(target["high"]) > float(target["low"]):
            raise PersonError(
                f"task=regression needs a target that varies, but that of the data {data!r} is "
                f"{target['low']} everywhere: check the source of the target"
            )

    def outputs(self) -> int:
        """Width of the model's output, 1."""
        self.check()
        return 1

    def truth(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Target of each sample (N,), in the card's unit.

        Raises:
            PersonError: a sample has no finite target.
        """
        self.check()
        truth_N = np.asarray(columns["target"], dtype=np.float32)
        wrong = int(np.sum(~np.isfinite(truth_N)))
        if wrong:
            raise PersonError(f"{wrong} of {len(truth_N)} samples have no finite target: complete them or remove them")
        return truth_N

    def losses(self, output_BK: "Tensor", truth_B: "Tensor") -> "Tensor":
        """Huber loss of each sample (B,), in squared shares of the target's range."""
        difference_B = (output_BK[:, 0] - (truth_B - self._low) / self._range).abs()
        square_B = difference_B.square() / 2
        if self.delta == 0:
            return square_B
        return square_B.where(difference_B <= self.delta, self.delta * (difference_B - self.delta / 2))

    def score(self, output_BK: "Tensor") -> "Tensor":
        """The value in model units (B,)."""
        return output_BK[:, 0]

    def decode(self, output_BK: "Tensor") -> "Tensor":
        """The value in the card's unit (B, 1)."""
        share_BK = output_BK.clamp(0.0, 1.0) if self.clamp else output_BK
        return self._low + self._range * share_BK

    def bound(self, prediction_NK: NDArray[Any]) -> NDArray[Any]:
        """Hold values that another method predicted to what `decode` allows."""
        return np.clip(prediction_NK, self._low, self._low + self._range) if self.clamp else prediction_NK

    def metrics(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        """Every metric of `METRICS`; mae and rmse are in the card's unit; NaN where the truth or a rank is constant."""
        value_N = np.asarray(prediction_NK[:, 0], dtype=np.float64)
        truth_N = np.asarray(truth_N, dtype=np.float64)
        return {
            "mae": float(np.mean(np.abs(value_N - truth_N))),
            "rmse": float(np.sqrt(np.mean((value_N - truth_N) ** 2))),
            "r2": scores.r_squared(value_N, truth_N),
            "spearman": scores.spearman(value_N, truth_N),
        }

    def errors(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> NDArray[np.float64]:
        """Absolute error of each sample (N,), in the card's unit."""
        return np.asarray(np.abs(prediction_NK[:, 0] - truth_N), dtype=np.float64)

    def text(self, row_K: NDArray[Any]) -> str:
        """A decoded prediction in words."""
        return self.truth_text(row_K[0])

    def truth_text(self, truth: Any) -> str:
        """A truth in words."""
        return f"{float(truth):.3g} {self._unit}".rstrip()

    def bins(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> tuple[list[str], list[str]]:
        """Bin of the actual and of the predicted value, for a table of one against the other."""
        return self._named(truth_N), self._named(prediction_NK[:, 0])

    def pictures(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], directory: Path, dpi: int) -> list[Picture]:
        """Draw prediction against truth, the residuals and the error along the target; return what they show."""
        value_N = prediction_NK[:, 0]
        label = f"{self._target['name']} ({self._unit})" if self._unit else str(self._target["name"])
        charts.agreement(truth_N, value_N, label, directory / "agreement.png", dpi=dpi)
        charts.residuals(value_N - truth_N, label, directory / "residuals.png", dpi=dpi)
        edges = np.linspace(self._low, self._low + self._range, BINS + 1)
        charts.error_by_bin(np.abs(value_N - truth_N), truth_N, edges, directory / "error_by_target.png", label=label, dpi=dpi)
        return [
            Picture("agreement.png", "Prediction against truth; the diagonal is a perfect prediction."),
            Picture("residuals.png", "Residuals, prediction minus truth; the line marks their mean."),
            Picture("error_by_target.png", f"Absolute error along the target in {BINS} bins: median, middle half and 95 %."),
        ]

    def toy(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Perfect decoded predictions (N, 1) and their truths (N,), spread over the range."""
        truth_N = rng.permutation(np.linspace(self._low, self._low + self._range, count)).astype(np.float32)
        return truth_N[:, None].copy(), truth_N

    @property
    def _target(self) -> Mapping[str, Any]:
        self.check()
        target: Mapping[str, Any] = self.card["target"]
        return target

    @property
    def _low(self) -> float:
        return float(self._target["low"])

    @property
    def _range(self) -> float:
        return float(self._target["high"]) - self._low

    @property
    def _unit(self) -> str:
        return str(self._target.get("unit") or "")

    def _named(self, value_N: NDArray[Any]) -> list[str]:
        share_N = (np.asarray(value_N, dtype=np.float64) - self._low) / self._range
        place_N = np.clip((share_N * BINS).astype(np.int64), 0, BINS - 1)
        edges = [self._low + self._range * number / BINS for number in range(BINS + 1)]
        return [f"{edges[place]:.3g} to {edges[place + 1]:.3g}" for place in place_N]
