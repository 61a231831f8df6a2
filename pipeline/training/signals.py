"""All processes of a training end at the same step when one of them is asked to, with a checkpoint of that step.

Two callbacks around the others: the first agrees, the second leaves.
"""

import signal
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import get_worker_info

from pipeline.core import interrupt
from pipeline.core.errors import PersonError
from pipeline.training.checkpoint import EverySteps

NAMES = ("", *(one.name for one in (*interrupt.SIGNALS, signal.SIGINT)))
WORKER_SECONDS = 25  # how long a data worker outlives a SIGTERM that reached the whole process group; Slurm kills after 30


class Agree(pl.Callback):
    """After each step, one exchange: whether any process was asked to end, and the mean of the losses in place of the own one.

    Attributes:
        name: of the signal that ends the training after this step; "" to go on.
    """

    def __init__(self) -> None:
        self.name = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Every process must continue from the same step.

        Raises:
            PersonError: they do not see the same checkpoints.
        """
        step, first = trainer.global_step, trainer.strategy.broadcast(trainer.global_step)
        if step != first:
            raise PersonError(
                f"process {trainer.global_rank} continues from step {step} and process 0 from step {first}: "
                "the folder .run must lie on a file system that all machines share"
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Agree on this step."""
        self.name = interrupt.asked()
        if trainer.world_size == 1:
            return
        own = NAMES.index(self.name) if self.name in NAMES else 1
        loss = outputs["loss"] if isinstance(outputs, dict) else torch.zeros(())
        shared = torch.stack([torch.tensor(float(own), device=loss.device), loss.detach().float()])
        gathered = [torch.empty_like(shared) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(gathered, shared)
        asked, losses = torch.stack(gathered).unbind(dim=1)
        self.name = NAMES[int(asked.max())]
        interrupt.agree(self.name)
        if isinstance(outputs, dict):
            outputs["loss"] = losses.mean()


class Leave(pl.Callback):
    """Ends the training where the processes agreed to, with a checkpoint of the step."""

    def __init__(self, agreed: Agree, saver: EverySteps) -> None:
        self.agreed, self.saver = agreed, saver

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save, wait until that is on disk, and leave.

        Raises:
            Interrupted: a signal came.
        """
        if self.agreed.name:
            self.saver.save(trainer)
            self.saver.io.wait()
            trainer.strategy.barrier("leave")
            raise interrupt.Interrupted(self.agreed.name, f"the checkpoint of step {trainer.global_step} is kept")


def in_worker(_: int) -> None:
    """Let a data worker live until its parent has taken the step and saved: a signal often reaches a whole process group."""
    assert get_worker_info() is not None
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_SECONDS))
