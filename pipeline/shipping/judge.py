"""Whether what a target answers is good enough to ship, and which one ships.

K columns of a decoded prediction, N samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shipping.trial import FAILED, Trial, speedup

Metric = Callable[[NDArray[np.float32]], dict[str, float]]


@dataclass
class Judged:
    """A trial beside the trained model.

    Attributes:
        trial: what ran.
        agreement: share of samples with the same most likely class; None where nothing ran.
        flips: samples with another one, in the worst batch size.
        difference: largest of a decoded output, over all batch sizes.
        metric: the headline metric with its interval.
        trained: that of the trained model on the same samples.
        lost: how much worse the headline is, in its unit; negative where it is better.
        refused: why a target in fp32 is not the trained model; "" otherwise.
        unfit: why it may be used but does not ship by itself; "" otherwise.
        detector: whether the score and flag of the detector of unknown inputs are inside.
    """

    trial: Trial
    agreement: float | None = None
    flips: int = 0
    difference: float = 0.0
    metric: dict[str, float] = field(default_factory=dict)
    trained: dict[str, float] = field(default_factory=dict)
    lost: float = 0.0
    refused: str = ""
    unfit: str = ""
    detector: bool = False

    def facts(self) -> dict[str, Any]:
        """As plain JSON, without times."""
        trial = self.trial
        return {
            "state": trial.state, "precision": trial.precision, "why": trial.why, "file": trial.file, "size_bytes": trial.size,
            "agreement": self.agreement, "flips": self.flips, "max_abs_diff": self.difference, "metric": self.metric,
            "lost": self.lost, "unfit": self.unfit, "detector": self.detector, "footprint": trial.footprint,
        }  # fmt: skip


def judge(trial: Trial, trained_NK: NDArray[np.float32], metric: Metric, limits: Mapping[str, float]) -> Judged:
    """Hold the answers of a target against the trained model's.

    Args:
        trial: what ran; one that did not is passed through.
        trained_NK: decoded predictions of the trained model.
        metric: the headline metric with its interval.
        limits: `tolerance` of a decoded output in fp32, relative above 1; `drop` of the headline that lower precision may cost;
            `sign` 1 where a higher headline is better, else -1.
    """
    if not trial.answers:
        unfit = trial.why if trial.state == FAILED else ""
        return Judged(trial, unfit=unfit)
    found = {size: np.asarray(answers["prediction"], dtype=np.float32) for size, answers in trial.answers.items()}
    last_NK = list(found.values())[-1]
    shape = next((values.shape for values in found.values() if values.shape != trained_NK.shape), None)
    if shape is not None:
        return Judged(trial, refused=f"it answers {shape}, the trained model {trained_NK.shape}")
    difference = float(np.max([np.abs(values - trained_NK).max() for values in found.values()]))  # Python's max drops NaN
    flips = max(int((values.argmax(axis=1) != trained_NK.argmax(axis=1)).sum()) for values in found.values())
    before, after = metric(trained_NK), metric(last_NK)
    lost = float(limits["sign"] * (before["value"] - after["value"])) if before and after else float("nan")
    judged = Judged(
        trial, agreement=1 - flips / len(trained_NK), flips=flips, difference=difference, metric=after, trained=before,
        lost=lost if np.isfinite(lost) else 0.0, detector="unknown" in next(iter(trial.answers.values())),
    )  # fmt: skip
    allowed = limits["drop"] * (1.0 if limits["sign"] > 0 else abs(before.get("value", 1.0)))
    limit = limits["tolerance"] * max(1.0, float(np.abs(trained_NK).max()))
    if trial.precision == "fp32" and (not difference <= limit or flips):
        judged.refused = f"its outputs differ by {difference:.3g} (allowed: {limit:.3g}), {flips} other classes (allowed: 0)"
    elif not np.isfinite(difference):
        judged.unfit = "its answers are not finite"
    elif trial.precision != "fp32" and not np.isfinite(lost):
        judged.unfit = "the headline metric has no value on these samples: raise  ship.samples"
    elif trial.precision != "fp32" and not lost <= allowed:
        judged.unfit = f"it loses {lost:.4f} of the headline metric (allowed: {limits['drop']:g})"
    return judged


def choose(judged: list[Judged], batch: int) -> str:
    """The fastest target that passes and is faster than the trained model; else the first in fp32 that passes; "" for none.

    Args:
        judged: in the order of the configuration.
        batch: at which speed counts; the first that was timed where it was not.
    """
    fit = [one for one in judged if one.agreement is not None and not (one.refused or one.unfit or one.trial.runs_code)]
    seconds = {one.trial.name: one.trial.seconds for one in fit if one.trial.seconds}
    timed = {name: speedup(found.get(batch) or next(iter(found.values()))) for name, found in seconds.items()}
    faster = {name: times for name, times in timed.items() if times > 1}
    if faster:
        return max(faster, key=lambda name: faster[name])
    return next((one.trial.name for one in fit if one.trial.precision == "fp32"), "")
