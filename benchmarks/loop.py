"""Goal 8: what the training loop costs, beside a loop written by hand and stock Lightning.

    python -m benchmarks.loop

Three loops do the same work on the same batches with the same first weights: forward, cross-entropy, backward, clipping by the
norm, AdamW, a cosine per step. Ours writes its history, seeds every step, and checks loss and gradient besides. Each runs in a
process of its own with one thread, one after the other, in another order each round: while another one computes, a loop would
begin every step with cold caches. CPU seconds a step, their mean without the smallest and largest twentieth; median of the rounds
with the smallest and the largest.
- a convolutional network of some 40 ms a step: speed of ours over the hand-written loop's (must 0.97, stretch 0.99),
- a linear layer of about 0.3 ms: what ours adds to a step over what stock Lightning adds (must 1.0, stretch 0.5).
"""

import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}  # else who faults in pages again is luck

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.stats import trim_mean
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from pipeline.core.parts import build
from pipeline.training.fit import fit, quiet
from pipeline.training.learner import Learner
from pipeline.training.schedules import Schedule
from pipeline.training.watch import Watch

RECIPE = {
    "lr": 1e-3, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "ema": 0.0, "log_every": 5, "validate_every": 10**9,
}  # fmt: skip
TASK = {
    "_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0, "positive": None,
    "bins": 5, "equal_mass": False,
}  # fmt: skip
TRIM = 0.05  # of the steps that are left out at either end
WARM = 5  # steps before the clock starts
SAME = 40  # steps after which the weights of all loops must be the same
BATCH = 190  # images, which makes a step of the convolutions some 40 ms, as the goal names it
LOOPS = "by_hand", "stock", "ours"
MUST_SPEED, MUST_ADDED = 0.97, 1.0


class Ready(Dataset[dict[str, torch.Tensor]]):
    """Batches made before. Whoever asks for one has finished a step: what it cost is noted."""

    def __init__(self, model: nn.Module, steps: int, shape: tuple[int, ...]) -> None:
        rng = torch.Generator().manual_seed(0)
        self.model, self.steps, self.spent = model, steps, [0.0] * steps
        self.began = 0.0
        self.made = [
            {"x": torch.rand(shape, generator=rng), "truth": torch.randint(0, 10, shape[:1], generator=rng),
             "weight": torch.ones(shape[0]), "index": torch.arange(shape[0])}
            for _ in range(4)
        ]  # fmt: skip

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        self.spent[step] = time.process_time() - self.began  # of the step before
        if step == SAME:
            self.weights_N = torch.cat([one.detach().flatten() for one in self.model.parameters()]).numpy()
        self.began = time.process_time()
        return self.made[step % len(self.made)]


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights decay, biases do not."""
    return [
        {"params": [one for one in model.parameters() if (one.ndim > 1) == heavy], "weight_decay": 0.01 * heavy}
        for heavy in (True, False)
    ]


def by_hand(model: nn.Module, ready: Ready) -> None:
    """As one writes it in a notebook."""
    optimiser = torch.optim.AdamW(groups(model), lr=RECIPE["lr"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, Schedule("cosine", len(ready), 0.1))
    for batch in DataLoader(ready, batch_size=None):
        optimiser.zero_grad()
        cross_entropy(model(batch["x"]), batch["truth"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()


class Stock(pl.LightningModule):
    """The same as Lightning's manual shows it, without logging."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def training_step(self, batch: Any, _: int) -> Any:
        """The loss."""
        return cross_entropy(self.model(batch["x"]), batch["truth"])

    def configure_optimizers(self) -> Any:
        """AdamW and a cosine per step."""
        optimiser = torch.optim.AdamW(groups(self.model), lr=RECIPE["lr"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, Schedule("cosine", self.steps, 0.1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def stock(model: nn.Module, ready: Ready) -> None:
    """Lightning's Trainer with everything optional off."""
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Stock(model, len(ready)), DataLoader(ready, batch_size=None))


def ours(model: nn.Module, ready: Ready) -> None:
    """Learner, history and checkpoints as the stage train wires them; no checkpoint falls into the counted steps."""
    recipe = {**RECIPE, "max_steps": len(ready)}
    task = build(TASK, card={"classes": [str(k) for k in range(10)], "target": None})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        watch = Watch(folder / "history.jsonl", start_step=0, recipe=recipe, validator=None, tracker=None)
        learner = Learner(model, task=task, recipe=recipe, seed=0)
        fit(
            learner, DataLoader(ready, batch_size=None), max_steps=len(ready), folder=folder, checkpoint_every=10**9,
            callbacks=[watch], single=True,
        )  # fmt: skip


def alone(loop: str, network: str, told: Any, *, shape: tuple[int, ...], steps: int) -> None:
    """One loop in this process; tells the seconds of each step, and weights."""
    quiet()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = str(int(loop != "by_hand"))  # 1 is Lightning's doing
    model = globals()[network]()
    ready = Ready(model, steps, shape)
    globals()[loop](model, ready)
    told.send((ready.spent[WARM:], ready.weights_N))


def measure(network: str, shape: tuple[int, ...], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step of each loop in each round, which has new processes; their weights must be the same."""
    context = get_context("spawn")
    found: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    for first in range(rounds):
        told = {}
        for place in range(len(LOOPS)):
            loop = LOOPS[(first + place) % len(LOOPS)]
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=alone, args=(loop, network, theirs), kwargs={"shape": shape, "steps": WARM + steps})
            process.start()
            told[loop] = ours.recv()
            process.join()
        weights = [one for _, one in told.values()]
        assert all(np.allclose(one, two, atol=1e-6) for one, two in pairwise(weights)), "the loops do different work"
        for loop, (spent, _) in told.items():
            found[loop].append(float(trim_mean(spent, TRIM)))
    return found


def spread(values: list[float], unit: str = "") -> str:
    """Median with the smallest and the largest."""
    return f"{statistics.median(values):.3f}{unit} [{min(values):.3f}, {max(values):.3f}]"


def convolutions() -> nn.Module:
    """Some 40 ms a step on images of 28 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 9, 10))


def linear() -> nn.Module:
    """About 0.3 ms a step."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def main() -> int:
    """Both comparisons; 1 where a required figure is missed."""
    times = measure("convolutions", (BATCH, 1, 28, 28), rounds=11, steps=75)
    ratios = [hand / own for hand, own in zip(times["by_hand"], times["ours"], strict=True)]
    speed = statistics.median(ratios)
    print(f"convolutions, {1000 * statistics.median(times['by_hand']):.1f} ms a step by hand: "
          f"ours runs at {spread(ratios, 'x')} of its speed (must 0.97x, stretch 0.99x)")  # fmt: skip
    times = measure("linear", (64, 1, 28, 28), rounds=5, steps=395)
    extra = {
        name: [1000 * (one - hand) for one, hand in zip(times[name], times["by_hand"], strict=True)] for name in ("stock", "ours")
    }
    ratios = [own / theirs for own, theirs in zip(extra["ours"], extra["stock"], strict=True)]
    print(f"linear, {1000 * statistics.median(times['by_hand']):.2f} ms a step by hand: stock Lightning adds "
          f"{spread(extra['stock'], ' ms')}, ours {spread(extra['ours'], ' ms')}: {spread(ratios, 'x')} of it "
          "(must 1.0x, stretch 0.5x)")  # fmt: skip
    return int(speed < MUST_SPEED or statistics.median(ratios) > MUST_ADDED)


if __name__ == "__main__":
    sys.exit(main())
