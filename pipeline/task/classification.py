"""One class out of several for each sample.

Letters: B batch, N samples, K classes. The model's outputs are logits (B, K), decoded they are probabilities (B, K).
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
    "auroc": ("AUROC", "chance that a sample of the class is ranked above one of the others; 0.5 is guessing"),
    "ap": ("average precision", "mean precision over all thresholds; guessing gives the share of the class"),
    "accuracy": ("accuracy", "share of samples whose most probable class is right"),
    "balanced_accuracy": ("balanced accuracy", "share that is right, averaged over the classes"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "ece": ("calibration error", "mean gap of confidence and share right; lower is better; resampling adds to it"),
    "weighted_accuracy": (
        "confidence-weighted accuracy",
        "accuracy in which each sample counts with the confidence of its label",
    ),
}
LOWER = ("ece",)


class Classification:
    """Cross-entropy over the card's classes.

    Args:
        card: of ingest.
        headline: the metric that stands for the result: one of `METRICS`.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        positive: class that F1, AUROC and AP mean when there are two; None is the second one. With more classes these are
            macro averages, one against the rest.
        bins: of the calibration error.
        equal_mass: bins of equal counts instead of equal widths.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "classification"
    meanings = METRICS
    hub_task = "image-classification"

    def __init__(
        self, *, card: Mapping[str, Any], headline: str, label_smoothing: float, positive: str | None, bins: int, equal_mass: bool
    ) -> None:
        if headline not in METRICS:
            raise PersonError(f"task.headline {headline!r} is not a metric of classification: {near_match(headline, METRICS)}")
        if not 0 <= label_smoothing < 1:
            raise PersonError(f"task.label_smoothing must lie in [0, 1): received {label_smoothing}")
        if bins < 1:
            raise PersonError(f"task.bins must be at least 1: received {bins}")
        self.card = card
        self.headline = headline
        self.label_smoothing = label_smoothing
        self.positive = positive
        self.bin_count = bins
        self.equal_mass = equal_mass

    @property
    def classes(self) -> list[str]:
        """Names in index order."""
        return [str(name) for name in self.card.get("classes") or []]

    @property
    def categories(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger headline is a better one."""
        return self.headline not in LOWER

    @property
    def columns(self) -> list[str]:
        """Names of a decoded prediction's columns."""
        return [f"p_{name}" for name in self.classes]

    def check(self) -> None:
        """Raise where the data cannot serve this task.

        Raises:
            PersonError: fewer than two classes, or `positive` is not one of them.
        """
        if self.categories < 2:
            found = f"only the class {self.classes[0]!r}" if self.classes else "no classes"
            other = "choose  task=regression  for its real-valued target"
            todo = other if self.card.get("target") else "give it at least two classes"
            name = self.card.get("name", "")
            raise PersonError(f"task=classification needs two or more classes, but the data {name!r} has {found}: {todo}")
        if self.positive is not None and self.positive not in self.classes:
            raise PersonError(f"task.positive {self.positive!r} is not a class: {near_match(self.positive, self.classes)}")

    def outputs(self) -> int:
        """Width of the model's output, K."""
        self.check()
        return self.categories

    def truth(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Class of each sample (N,).

        Raises:
            PersonError: a sample has no class of the card.
        """
        self.check()
        truth_N = np.asarray(columns["label"], dtype=np.int64)
        wrong = int(np.sum((truth_N < 0) | (truth_N >= self.categories)))
        if wrong:
            known = ", ".join(self.classes)
            raise PersonError(f"{wrong} of {len(truth_N)} samples have no class among {known}: label them or remove them")
        return truth_N

    def losses(self, output_BK: "Tensor", truth_B: "Tensor") -> "Tensor":
        """Cross-entropy of each sample in nats (B,), with label smoothing."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(output_BK, truth_B, reduction="none", label_smoothing=self.label_smoothing)

    def score(self, output_BK: "Tensor") -> "Tensor":
        """Logit of the predicted class (B,)."""
        return output_BK.max(dim=1).values

    def decode(self, output_BK: "Tensor") -> "Tensor":
        """Probabilities (B, K)."""
        return output_BK.softmax(dim=1)

    def bound(self, prediction_NK: NDArray[Any]) -> NDArray[Any]:
        """Hold predictions of another method to what `decode` allows: probabilities already are."""
        return prediction_NK

    def metrics(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        """Every metric of `METRICS`; unweighted but for `weighted_accuracy`, which counts each sample with its confidence."""
        guess_N = prediction_NK.argmax(axis=1)
        right_N = guess_N == truth_N
        kinds = [self._positive] if self.categories == 2 else np.unique(truth_N).tolist()
        present = kinds if self.categories == 2 else sorted({*kinds, *np.unique(guess_N).tolist()})
        return {
            "auroc": float(np.mean([scores.auroc(prediction_NK[:, k], truth_N == k) for k in kinds])),
            "ap": float(np.mean([scores.average_precision(prediction_NK[:, k], truth_N == k) for k in kinds])),
            "accuracy": scores.accuracy(guess_N, truth_N),
            "balanced_accuracy": scores.balanced_accuracy(guess_N, truth_N),
            "f1": float(np.mean([scores.f1(guess_N, truth_N, k) for k in present])),
            "ece": scores.expected_calibration_error(
                prediction_NK.max(axis=1), right_N, bins=self.bin_count, equal_mass=self.equal_mass
            ),
            "weighted_accuracy": scores.accuracy(guess_N, truth_N, weight_N),
        }

    def errors(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> NDArray[np.float64]:
        """Best wrong class's probability minus the right one's (N,): above zero is a mistake, one is the worst."""
        rows = np.arange(len(truth_N))
        rest = np.array(prediction_NK, dtype=np.float64)
        rest[rows, truth_N] = -np.inf
        return np.asarray(rest.max(axis=1) - prediction_NK[rows, truth_N], dtype=np.float64)

    def text(self, row_K: NDArray[Any]) -> str:
        """A decoded prediction in words."""
        return f"{self.classes[int(row_K.argmax())]} {100 * float(row_K.max()):.0f} %"

    def truth_text(self, truth: Any) -> str:
        """A truth in words."""
        return self.classes[int(truth)]

    def bins(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> tuple[list[str], list[str]]:
        """Actual and predicted class names, for a table of one against the other."""
        return [self.classes[k] for k in truth_N], [self.classes[k] for k in prediction_NK.argmax(axis=1)]

    def pictures(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], directory: Path, dpi: int) -> list[Picture]:
        """Draw the confusion matrix and, where there is more than one class, ROC and precision-recall; return what they show."""
        charts.confusion(truth_N, prediction_NK.argmax(axis=1), self.classes, directory / "confusion.png", dpi=dpi)
        shown = [Picture("confusion.png", "Confusion matrix: rows are the truth, columns the prediction.")]
        if len(np.unique(truth_N)) < 2:
            return shown
        kinds = [k for k in ([self._positive] if self.categories == 2 else range(self.categories)) if (truth_N == k).any()]
        ones = [(self.classes[k], prediction_NK[:, k], truth_N == k) for k in kinds]
        charts.roc(ones, directory / "roc.png", dpi=dpi)
        charts.precision_recall(ones, directory / "precision_recall.png", dpi=dpi)
        against = "one against the other" if self.categories == 2 else "each class against the rest"
        return [
            *shown,
            Picture("roc.png", f"ROC, {against}: share found at each rate of false alarms. The diagonal is chance."),
            Picture("precision_recall.png", f"Precision and recall, {against}; a dotted line is the share of the class itself."),
        ]

    def toy(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Perfect decoded predictions (N, K) and their truths (N,), every class among them."""
        truth_N = rng.permutation(np.arange(count) % self.categories).astype(np.int64)
        return np.eye(self.categories, dtype=np.float32)[truth_N], truth_N

    @property
    def _positive(self) -> int:
        return self.classes.index(self.positive) if self.positive is not None else self.categories - 1
