"""How fast a training step is on this machine under settings that change bits: precision, memory layout, threads.

B batch, C channels, H height, W width, K outputs.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.optimisers import optimisers_of

ROUND = 0.15  # seconds that one setting takes of a round, at least
ROUNDS = 3  # at least, whatever they take


@dataclass(frozen=True, order=True)
class Setting:
    """One combination.

    Attributes:
        precision: of conf/train: 32-true or bf16-mixed.
        channels_last: of conf/train.
        threads: of conf/config.yaml.
    """

    precision: str
    channels_last: bool
    threads: int

    def overrides(self, other: "Setting") -> list[str]:
        """Hydra overrides that lead from `other` to this one."""
        found = {
            "train.precision": (self.precision, other.precision),
            "train.channels_last": (str(self.channels_last).lower(), str(other.channels_last).lower()),
            "threads": (self.threads, other.threads),
        }
        return [f"{key}={mine}" for key, (mine, its) in found.items() if mine != its]


@dataclass(frozen=True)
class Timing:
    """What was measured of one setting.

    Attributes:
        setting: which.
        seconds: of a step, the median of the rounds.
        ratios: of each round, the time of the present setting over this one's; above one this one is faster.
    """

    setting: Setting
    seconds: float
    ratios: list[float]

    @property
    def gain(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def settings(threads: Sequence[int], *, layouts: bool) -> list[Setting]:
    """Every combination; without `layouts` (features have none) the memory layout stays as it is."""
    return [Setting(*one) for one in product(("32-true", "bf16-mixed"), (False, True) if layouts else (False,), threads)]


def stepper(
    network: nn.Module, x_B: Tensor, truth_B: Tensor, *, task: Any, recipe: Mapping[str, Any], setting: Setting
) -> Callable[[], None]:  # fmt: skip
    """One training step on one batch, again and again: forward, loss, backward, clip, optimiser.

    Args:
        network: a copy of its own; its memory layout is changed.
        x_B: images (B, C, H, W) or features (B, D).
        truth_B: their truths.
        task: gives the losses.
        recipe: conf/train.
        setting: precision and layout; threads are set by who calls.
    """
    if x_B.ndim == 4 and setting.channels_last:
        network = network.to(memory_format=torch.channels_last)
    network.train()
    optimisers = optimisers_of(network, recipe, {})
    limit = recipe["clip"]

    def step() -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if setting.precision.startswith("bf16") else nullcontext():
            loss = task.losses(network(x_B), truth_B).mean()
        loss.backward()
        if limit:
            nn.utils.clip_grad_norm_(network.parameters(), limit)
        for optimiser in optimisers:
            optimiser.step()

    return step


def compare(steps: Mapping[Setting, Callable[[], None]], *, present: Setting, seconds: float) -> list[Timing]:
    """Time every setting in turn, round after round, so that what else the machine does hits all alike.

    Args:
        steps: one step of each setting.
        present: what the others are compared with; one of them.
        seconds: to spend on rounds; three are done in any case.

    Returns:
        Fastest first.
    """
    before, repeats = torch.get_num_threads(), {}
    try:
        for setting, step in steps.items():
            torch.set_num_threads(setting.threads)
            step()
            repeats[setting] = max(1, round(ROUND / max(_timed(step, 1), 1e-6)))
        found: dict[Setting, list[float]] = {setting: [] for setting in steps}
        end = time.perf_counter() + seconds
        while len(found[present]) < ROUNDS or time.perf_counter() < end:
            for setting, step in steps.items():
                torch.set_num_threads(setting.threads)
                found[setting].append(_timed(step, repeats[setting]))
    finally:
        torch.set_num_threads(before)
    base = found[present]
    timings = [
        Timing(setting, statistics.median(times), [theirs / own for theirs, own in zip(base, times, strict=True)])
        for setting, times in found.items()
    ]
    return sorted(timings, key=lambda timing: (-timing.gain, timing.setting))


def _timed(step: Callable[[], None], repeats: int) -> float:
    """Seconds a step: of the clock, since threads work side by side."""
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - began) / repeats
