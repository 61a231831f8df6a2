"""A Lightning Trainer that continues where a killed run stopped, to the same bits, on as many processes as the environment asks.

Devices, nodes and processes come from the environment alone (`pipeline.core.ranks`, `pipeline.training.processes`).
"""

import logging
import os
import re
import resource
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from pytorch_lightning.profilers import PassThroughProfiler

from pipeline.core import interrupt
from pipeline.core.errors import PersonError
from pipeline.core.ranks import PERIOD_SECONDS, Place, Ranks, place
from pipeline.training.checkpoint import DurableIO, EverySteps, check_room, newest
from pipeline.training.processes import check_devices, strategy, surroundings
from pipeline.training.signals import Agree, Leave, in_worker

NO_MEMORY = re.compile(r"DefaultCPUAllocator|out of memory|bad_alloc|cannot allocate memory|unable to mmap", re.IGNORECASE)
CUT_OFF = re.compile(r"connection (closed|reset|refused)|broken pipe|timed? ?out|gloo|nccl|socket", re.IGNORECASE)
SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
MASK = "Please call `iter(combined_loader)` first"  # what Lightning's clean-up raises on top of an error before the first step
WORKER_LOST = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")


class Silent(PassThroughProfiler):
    """No profiler: Lightning's own makes a context manager for each of some thirty calls a step, and this hands out one."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self.nothing


def fit(
    module: pl.LightningModule, loader: Any, *, max_steps: int, folder: Path, checkpoint_every: int,
    precision: str = "32-true", callbacks: Sequence[pl.Callback] = (), single: bool = False, batch_key: str = "train.batch_size",
) -> None:  # fmt: skip
    """Train up to `max_steps` optimiser steps, from the newest checkpoint of `folder` where there is one.

    Args:
        module: what to train.
        loader: batches from the step that `newest(folder, module)` states, with the length of the whole stream.
        max_steps: optimiser steps in all.
        folder: of the checkpoints.
        checkpoint_every: steps between them.
        precision: as Lightning names it.
        callbacks: called before the checkpoint of a step is written.
        single: use one device of one node whatever the environment says.
        batch_key: the configuration key of the batch size, for a person whose memory is too small for it.

    Raises:
        PersonError: the checkpoints cannot be written, the memory or the devices do not suffice, or another process was lost.
        Interrupted: a signal came; the checkpoint of the step in which it did is kept.
    """
    here = Place() if single else place()
    checkpoint, _ = newest(folder, module)
    check_room(folder, module)
    check_devices(here)
    quiet()
    if getattr(loader, "num_workers", 0) and loader.worker_init_fn is None:
        loader.worker_init_fn = in_worker
    io, agreed = DurableIO(), Agree()
    saver = EverySteps(folder, every=checkpoint_every, last=max_steps, io=io)
    ranks = Ranks(here)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # else every output is written twice, first with NaN
    with interrupt.held(), ranks, _explained(ranks, batch_key):
        trainer = pl.Trainer(
            max_epochs=1, max_steps=max_steps, precision=precision, deterministic=True, accelerator="auto",  # type: ignore[arg-type]
            devices=here.devices, num_nodes=here.nodes, strategy=strategy(here), plugins=[io, surroundings(here)],
            use_distributed_sampler=False,
            callbacks=[agreed, *callbacks, saver, Leave(agreed, saver)], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, profiler=Silent(),
        )  # fmt: skip
        _keep_signals(trainer)
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    if here.rank == 0:
        interrupt.check(f"the checkpoint of step {max_steps}, the last one, is kept")


def quiet() -> None:
    """Silence what Lightning says to developers: tips, device lists and advice on workers."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning")


def _keep_signals(trainer: pl.Trainer) -> None:
    """Leave the signals to `pipeline.core.interrupt`.

    Lightning's own handler of SIGTERM broadcasts inside the handler, which hangs where one process alone is signalled, and under
    Slurm its handler of SIGUSR1 checkpoints in the middle of a step.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]  # noqa: SLF001


@contextmanager
def _explained(ranks: Ranks, batch_key: str) -> Iterator[None]:
    """Say in a person's words what Lightning, torch and gloo raise for want of memory or of another process."""
    try:
        yield
    except (RuntimeError, MemoryError) as caught:
        error = caught.__context__ if MASK in str(caught) and caught.__context__ is not None else caught
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or NO_MEMORY.search(text):
            parts = ", or raise train.accumulate, which cuts a batch into parts" if batch_key.startswith("train.") else ""
            raise PersonError(f"the memory does not suffice for a step: halve {batch_key}{parts} ({text[:160]})") from error
        if WORKER_LOST.search(text):
            interrupt.check()
            raise PersonError(
                f"a data worker was lost, most often for want of memory ({_memory()}): set PIPELINE_WORKERS to less, or halve "
                f"{batch_key}; the same command continues ({text[:160]})"
            ) from error
        if ranks.place.world > 1 and CUT_OFF.search(text):
            time.sleep(2 * PERIOD_SECONDS)  # what became of the other is known a moment later
            said = ranks.lost or "another process of this training was lost"
            raise PersonError(f"{said}: nothing was published; the same command continues ({text[:160]})") from error
        if error is caught:
            raise
        raise error from None


def _memory() -> str:
    """What this process held at most, and what is left of the memory that workers hand batches over in."""
    held = f"this process held {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    if not SHARED.is_dir():
        return held
    found = os.statvfs(SHARED)
    return f"{held}, {SHARED} has {found.f_bavail * found.f_frsize / 2**20:.0f} MB left"
