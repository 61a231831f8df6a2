"""Learning-rate schedules as pure functions of the step, so that a resumed run continues on the same curve.

Sources: cosine: I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, arXiv 1608.03983, equation 5; one_cycle: L. N. Smith and
N. Topin, "Super-Convergence", 2018, arXiv 1708.07120, in the form of `torch.optim.lr_scheduler.OneCycleLR` (the momentum is not
cycled); step: K. He et al., "Deep Residual Learning", 2016, arXiv 1512.03385, section 4.2; a linear rise before all of them but
one_cycle: P. Goyal et al., 2017, arXiv 1706.02677, section 2.2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import PersonError, near_match

KINDS = ("cosine", "linear", "constant", "one_cycle", "step")
FIRST, LAST = 1 / 25, 1 / 250_000  # of the peak: where one_cycle begins and ends (torch: div_factor 25, final_div_factor 1e4)


@dataclass(frozen=True)
class Schedule:
    """A factor of the peak learning rate for each step.

    Attributes:
        kind: one of `KINDS`.
        max_steps: length of the whole training.
        warmup: share of the steps with a rising rate, in [0, 1].
        milestones: shares of the steps after which `step` multiplies the rate by gamma, rising, in (0, 1).
        gamma: that factor, in (0, 1].

    Raises:
        PersonError: an unknown kind, or a number out of range.
    """

    kind: str
    max_steps: int
    warmup: float
    milestones: Sequence[float] = (0.5, 0.75)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PersonError(f"train.schedule {self.kind!r} is not known: {near_match(self.kind, KINDS)}")
        rising = sorted(set(self.milestones)) == list(self.milestones)
        if not rising or any(not 0 < place < 1 for place in self.milestones) or not 0 < self.gamma <= 1:
            raise PersonError(
                "train.milestones must be rising shares of the steps in (0, 1), and train.gamma lie in (0, 1]: "
                f"received {list(self.milestones)} and {self.gamma}"
            )

    def __call__(self, step: int) -> float:
        """Factor for the step that is taken next; step 0 is the first one."""
        if self.kind == "one_cycle":
            return self._one_cycle(step)
        rising = max(1, round(self.warmup * self.max_steps)) if self.kind == "cosine" else round(self.warmup * self.max_steps)
        if step < rising:
            return (step + 1) / rising
        passed = min(1.0, (step - rising) / max(1, self.max_steps - rising))
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * passed))
        if self.kind == "linear":
            return 1 - passed
        if self.kind == "step":
            return self.gamma ** sum(step >= round(place * self.max_steps) for place in self.milestones)
        return 1.0

    def _one_cycle(self, step: int) -> float:
        """Two halves of a cosine: up from FIRST to 1, down from 1 to LAST."""
        peak = self.warmup * self.max_steps - 1
        if step <= peak:
            return _between(FIRST, 1.0, step / peak if peak > 0 else 1.0)
        return _between(1.0, LAST, min(1.0, (step - peak) / (self.max_steps - 1 - peak)) if self.max_steps - 1 > peak else 1.0)


def schedule_of(recipe: Mapping[str, Any]) -> Schedule:
    """The schedule of conf/train; what it does not name is a cosine."""
    return Schedule(
        kind=recipe.get("schedule", "cosine"), max_steps=recipe["max_steps"], warmup=recipe["warmup"],
        milestones=tuple(recipe.get("milestones", (0.5, 0.75))), gamma=recipe.get("gamma", 0.1),
    )  # fmt: skip


def _between(begin: float, end: float, share: float) -> float:
    """Half a cosine from `begin` at share 0 to `end` at share 1."""
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))
