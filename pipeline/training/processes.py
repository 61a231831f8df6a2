"""How the processes of a training share the work: what exchanges gradients, what tells Lightning its place, and a mean over all.

On a CPU they speak gloo; nccl on several GPUs takes the same path and was not run here.
"""

import os
from datetime import timedelta

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor

from pipeline.core.errors import PersonError, near_match
from pipeline.core.ranks import Place

STRATEGIES = ("ddp",)
PATIENCE_SECONDS = 300  # how long one process waits for another that is alive and silent, such as during validation


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a number over all processes of the training, without a gradient; the number itself where there is one process.

    Every process must call it at the same place of the same step.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return value
    shared = value.detach().clone()
    torch.distributed.all_reduce(shared)
    return shared / torch.distributed.get_world_size()


def check_devices(here: Place) -> None:
    """Refuse more processes than there are devices.

    Raises:
        PersonError: there are fewer GPUs, or, where no launcher has decided already, fewer CPU cores.
    """
    gpus = torch.cuda.device_count()
    there = gpus or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if here.devices > there and (gpus or not here.launcher):
        raise PersonError(
            f"{here.devices} processes were asked of this machine, which has {there} {'GPUs' if gpus else 'CPU cores, no GPU'}: "
            f"set  PIPELINE_DEVICES={there}  or less (torchrun: --nproc-per-node, srun: --ntasks-per-node)"
        )


def patience() -> int:
    """Seconds that one process waits for another that is silent.

    Raises:
        PersonError: `PIPELINE_PATIENCE` is not understood.
    """
    said = os.environ.get("PIPELINE_PATIENCE", "").strip() or str(PATIENCE_SECONDS)
    if not said.isdigit() or int(said) < 1:
        raise PersonError(f"PIPELINE_PATIENCE must be a whole number of seconds, 1 or more: received {said!r}")
    return int(said)


def strategy(here: Place) -> Strategy | str:
    """What exchanges gradients.

    Raises:
        PersonError: `PIPELINE_STRATEGY` or `PIPELINE_PATIENCE` is not understood.
    """
    wanted = os.environ.get("PIPELINE_STRATEGY", "").strip() or STRATEGIES[0]
    if wanted not in STRATEGIES:
        raise PersonError(f"PIPELINE_STRATEGY {wanted!r} is not known: {near_match(wanted, STRATEGIES)}")
    seconds = patience()
    if here.world == 1:
        return "auto"
    return DDPStrategy(timeout=timedelta(seconds=seconds), gradient_as_bucket_view=True)


def surroundings(here: Place) -> ClusterEnvironment:
    """What tells Lightning its place. Slurm's own requeueing stays off: it would checkpoint under a name of its own.

    Raises:
        PersonError: srun was called in a way that Lightning does not support.
    """
    if here.launcher == "srun":
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise PersonError(f"srun: {error}") from error
    return TorchElasticEnvironment() if here.world > 1 else LightningEnvironment()
