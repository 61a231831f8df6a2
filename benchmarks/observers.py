"""What looking on costs: a training step with history, clock, live line and health, beside the same step without them.

    python -m benchmarks.observers [--rounds 5] [--steps 200]

Two figures, both in CPU time of one thread, which a busy machine disturbs least. The first counts: what is spent inside our
callbacks and hooks of a training of a residual network, over the whole of it. The second pairs: whole trainings with and without
them, in turn, and the median of the ratios. The validation and the checkpoint, which a training has anyway, are left out.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from pipeline.training import health
from pipeline.training import observers as all_that_looks_on
from pipeline.training.fit import fit
from pipeline.training.inputs import FeatureInputs, Labels, batch_of, load
from pipeline.training.learner import Learner
from pipeline.training.stream import StepStream
from pipeline.training.watch import Validator

TASK = {"_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0,
        "positive": None, "bins": 5, "equal_mass": False}  # fmt: skip
CARD = {"classes": [str(number) for number in range(10)], "target": None, "name": "noise"}
SIDE, COUNT, BATCH = 28, 640, 64
INSIDE = ("_activations", "_norm")  # what the hooks of a measured step call
HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")


def train(folder: Path, steps: int, *, watched: bool, spent: list[float]) -> tuple[float, float]:
    """CPU seconds of the training loop, and of them those inside our callbacks and hooks, without the validation."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = Labels(rng.integers(0, 10, COUNT), np.ones(COUNT, np.float32), [str(number) for number in range(COUNT)])
    inputs = FeatureInputs(rng.random((COUNT, 1, SIDE, SIDE), dtype=np.float32), labels)
    recipe = {"lr": 1e-3, "weight_decay": 0.0, "warmup": 0.0, "max_steps": steps, "clip": 1.0, "ema": 0.0, "log_every": 5,
              "validate_every": 10 * steps, "checkpoint_every": 10 * steps, "batch_size": BATCH}  # fmt: skip
    torch.manual_seed(0)
    model = ResNet(channels=1, height=SIDE, width_pixels=SIDE, outputs=10, mean=[0.5], std=[0.3], width=16, stages=3, dropout=0.0)
    task = build(TASK, card=CARD)
    learner = Learner(model, task=task, recipe=recipe, seed=0)
    validator = Validator(lambda rows: batch_of(inputs, rows), BATCH, task=task, batch_size=BATCH)
    callbacks = []
    if watched:
        callbacks = all_that_looks_on.observers(
            learner, recipe, scratch=folder, start=0, batch_of=lambda rows: batch_of(inputs, rows), validator=validator,
            tracker=None,
        )  # fmt: skip
        callbacks[0].validator = Aside(callbacks[0].validator, spent)
    for callback in callbacks:
        for name in HOOKS:
            setattr(callback, name, counted(getattr(callback, name), spent))
    stream = StepStream(COUNT, batch_size=BATCH, max_steps=steps, seed=0)
    spent[:] = [0.0, 0.0]
    began = time.thread_time()
    loader = load(inputs, stream, workers=0)
    fit(learner, loader, max_steps=steps, folder=folder, checkpoint_every=10 * steps, callbacks=callbacks)
    return time.thread_time() - began - spent[1], spent[0] - spent[1]


def counted(hook, spent):
    """The hook, with its CPU time added to `spent[0]`, once where one counted hook calls another."""

    def timed(*arguments, **named):
        began, before = time.thread_time(), spent[0]
        result = hook(*arguments, **named)
        spent[0] = before + time.thread_time() - began
        return result

    return timed


class Aside:
    """A validator, whose CPU time is added to `spent[1]`."""

    def __init__(self, validator, spent):
        self.validator, self.spent, self.task, self.count = validator, spent, validator.task, validator.count

    def __call__(self, model):
        """Validate."""
        began = time.thread_time()
        row = self.validator(model)
        self.spent[1] += time.thread_time() - began
        return row


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios, shares, step, spent = [], [], [], [0.0, 0.0]
    for name in INSIDE:
        setattr(health, name, counted(getattr(health, name), spent))
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "warm", 20, watched=True, spent=spent)
        for number in range(options.rounds):
            alone, _ = train(Path(folder) / f"alone{number}", options.steps, watched=False, spent=spent)
            whole, ours = train(Path(folder) / f"watched{number}", options.steps, watched=True, spent=spent)
            ratios.append(whole / alone)
            shares.append(ours / whole)
            step.append(alone / options.steps)
    print(f"a step without them {1000 * statistics.median(step):.1f} ms of CPU time")
    print(
        f"inside our callbacks and hooks {statistics.median(shares):.2%} of a training of {options.steps} steps "
        f"({min(shares):.2%} to {max(shares):.2%})"
    )
    print(f"paired trainings: ratio {statistics.median(ratios):.4f} ({min(ratios):.3f} to {max(ratios):.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
