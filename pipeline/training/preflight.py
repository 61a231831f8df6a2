"""What is checked before the first step, so that a mistake costs seconds and not a night.

B batch.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.core.errors import PersonError


def check_splits(ids: Mapping[str, Any]) -> None:
    """An epoch must hold a sample, and so must the validation split.

    Args:
        ids: sample ids of `train` and `val`.

    Raises:
        PersonError: one of them is empty.
    """
    for name, words in (("train", "there is nothing to train on"), ("val", "nothing says how well the training goes")):
        if not ids[name]:
            raise PersonError(
                f"the split {name!r} holds no sample, so {words}: expected at least 1, received 0; use more data or another "
                "splitter"
            )


def check_norms(model: nn.Module, batch_of: Callable[[int], Mapping[str, Tensor]], *, batch: int) -> None:
    """Batch norm cannot take the spread of a single value: where one sample is taken at once, try a copy on one.

    Args:
        model: in training mode.
        batch_of: a batch of so many samples, with `x`.
        batch: samples that one process takes at once.

    Raises:
        PersonError: the network cannot train on single samples.
    """
    if batch > 1 or not any(isinstance(module, _BatchNorm) and module.training for module in model.modules()):
        return
    x_BCHW = batch_of(1)["x"].to(next(model.parameters()).device)
    try:
        with torch.random.fork_rng(), torch.no_grad():
            copy.deepcopy(model)(x_BCHW)
    except ValueError as error:
        raise PersonError(
            f"batch norm needs more than one sample at once, received 1 a process ({error}): raise train.batch_size, or lower "
            "train.accumulate or the number of processes"
        ) from error
