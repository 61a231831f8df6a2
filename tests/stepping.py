"""A learner without Lightning's Trainer: steps that a unit test takes one by one."""

from typing import Any

import torch

from pipeline.training.averaging import Moving
from pipeline.training.learner import Learner

RECIPE = {"lr": 0.05, "weight_decay": 0.0, "warmup": 0.0, "max_steps": 400, "clip": 0.0, "ema": 0.0}


class Counted:
    """What Lightning does around the first optimiser: the hook before the step, and counting."""

    def __init__(self, optimiser: torch.optim.Optimizer, learner: "Stepping") -> None:
        self.optimiser, self.learner, self.param_groups = optimiser, learner, optimiser.param_groups

    def step(self) -> None:
        self.learner.on_before_optimizer_step(self.optimiser)
        self.optimiser.step()
        self.learner.taken += 1


class Stepping(Learner):
    """`training_step(batch, 0)` takes an optimiser step; `taken` counts them."""

    taken = 0
    global_rank = 0

    @property
    def global_step(self) -> int:
        return self.taken

    def _differentiate(self, loss: torch.Tensor) -> None:
        loss.backward()

    def _unsynchronised(self) -> Any:
        return torch.enable_grad()

    def _prepared(self) -> list[Any]:
        first, *others = self.configure_optimizers()
        self._steppers = [Counted(first, self), *others]
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.average is not None:
            self._moving = Moving(self.average, self.model)
        return self._steppers


def batch_of(x: torch.Tensor, truth_B: torch.Tensor, weight_B: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """A batch as the loader gives it."""
    weight_B = torch.ones(len(truth_B)) if weight_B is None else weight_B
    return {"x": x, "truth": truth_B, "weight": weight_B, "index": torch.arange(len(truth_B))}
