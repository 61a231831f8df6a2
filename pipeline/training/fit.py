"""A Lightning Trainer that continues where a killed run stopped, to the same bits.

Devices, nodes and processes come from the environment alone: `PIPELINE_DEVICES`, `PIPELINE_NODES`, `PIPELINE_STRATEGY`, or
what torchrun and srun set. On a CPU several processes speak gloo; nccl on several GPUs takes the same path and was not run here.
"""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from pipeline.training.checkpoint import DurableIO, EverySteps, newest


def fit(
    module: pl.LightningModule, loader: Any, *, max_steps: int, folder: Path, checkpoint_every: int,
    precision: str = "32-true", callbacks: Sequence[pl.Callback] = (), single: bool = False,
) -> None:  # fmt: skip
    """Train up to `max_steps` optimiser steps, from the newest checkpoint of `folder` where there is one.

    Args:
        module: what to train.
        loader: batches from the step that `newest(folder)` states, with the length of the whole stream.
        max_steps: optimiser steps in all.
        folder: of the checkpoints.
        checkpoint_every: steps between them.
        precision: as Lightning names it.
        callbacks: called before the checkpoint of a step is written.
        single: use one device of one node whatever the environment says.
    """
    checkpoint, _ = newest(folder)
    place = {} if single else os.environ
    quiet()
    trainer = pl.Trainer(
        max_epochs=1, max_steps=max_steps, precision=precision, deterministic=True, accelerator="auto",  # type: ignore[arg-type]
        devices=int(place.get("PIPELINE_DEVICES", "1")), num_nodes=int(place.get("PIPELINE_NODES", "1")),
        strategy=place.get("PIPELINE_STRATEGY", "auto"), plugins=[DurableIO()], use_distributed_sampler=False,
        callbacks=[*callbacks, EverySteps(folder, every=checkpoint_every)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)


def quiet() -> None:
    """Silence what Lightning says to developers: tips, device lists and advice on workers."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning")
