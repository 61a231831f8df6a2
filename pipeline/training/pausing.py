"""Ends a training after a step of its own choosing, with a checkpoint, so that a search can look before it goes on.

`PIPELINE_PAUSE_AT` names the step. It says when to look and changes no bit: the next run with the same inputs continues from the
checkpoint, as after a signal. A training that is paused is one process.
"""

import os
from typing import Any

import pytorch_lightning as pl

from pipeline.core import interrupt
from pipeline.core.interrupt import Interrupted

VARIABLE = "PIPELINE_PAUSE_AT"
NAME = "pause"  # stands where a signal's name would


class Pause(pl.Callback):
    """Asks the training to end after a step, as a signal would that came during it.

    Args:
        at: the step.
    """

    def __init__(self, *, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Ask where the step begins."""
        if trainer.global_step == self.at - 1:
            interrupt.agree(NAME)


def pauses(start_step: int, max_steps: int) -> list[pl.Callback]:
    """The callback that the environment asks for, or none.

    Raises:
        Interrupted: the run stands at that step, or behind it, already.
    """
    asked = os.environ.get(VARIABLE, "")
    if not asked.isdigit() or int(asked) >= max_steps:
        return []
    if start_step >= int(asked):
        raise Interrupted(NAME, f"the checkpoint of step {start_step} is kept")
    return [Pause(at=int(asked))]
