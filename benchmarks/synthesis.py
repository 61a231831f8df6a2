"""Whether a GAN helps at 10 % of the data, and DiffAugment the GAN.

    python -m benchmarks.synthesis [fashion] [elpv] [digits]

For each data set real / real + classical / real + GAN (and the simulator, on ELPV) at equal steps, paired by seed, with intervals
on validation; and, where `pairs` is not 0, the Frechet distance to validation of GANs trained with and without DiffAugment at
equal steps and equal seeds, every `every` steps. Fashion-MNIST is read from the Debian package dataset-fashion-mnist, ELPV from
the package elpv-dataset. The test splits are never opened. Each training takes one thread; two run at a time.

N training images, M validation images, S synthetic images, R resolution of the GAN, C channels, D features.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from benchmarks.elpv_run import ROOT, table
from benchmarks.synthesis_data import Data, Pixels, digits, elpv, fashion
from pipeline.core import scores
from pipeline.core.config import compose
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.images.resize import small
from pipeline.synthesis.likeness import Scale, frechet_distance
from pipeline.synthesis.usefulness import REAL, Arm, Held, corrected, measure
from pipeline.training.gan_module import Images, train_gan
from pipeline.training.trial import Pool, Recipe, predict

POLICY = ["colour", "translation", "cutout"]
DIMENSIONS = 64  # most principal axes of the real features in which the Frechet distance is taken: few samples bias it in more
SEEDS = 6  # pairs of each arm of the table
CLASSICAL = 2  # changed copies of each image
REQUIRED = 0.7


@dataclass(frozen=True)
class Setting:
    """Numbers of a benchmark.

    Attributes:
        limit: images of which a tenth trains (Fashion-MNIST).
        side: pixels to which small images are shrunk.
        resolution, width, batch, steps, lr, spectral, ema: of the GAN; the discriminator has `ratio` times the learning rate.
        count: images drawn of it.
        every: steps between two Frechet distances.
        pairs: seeds with and without DiffAugment.
        trial_steps: of each training of an arm.
        arms: whether to train them.
    """

    limit: int = 6000
    side: int = 16
    resolution: int = 16
    width: int = 16
    batch: int = 32
    steps: int = 5000
    lr: float = 2.5e-4
    ratio: float = 4.0
    spectral: bool = False
    ema: float = 0.999
    count: int = 1000
    every: int = 1000
    pairs: int = 0
    trial_steps: int = 300
    arms: bool = True


SETTINGS = {
    "fashion": Setting(),
    "elpv": Setting(resolution=32, batch=16, steps=1500, count=300, every=1500),
    "digits": Setting(side=8, resolution=8, width=32, steps=8000, count=600, pairs=3, arms=False),
}
LOAD: dict[str, Callable[[Setting], Data]] = {
    "fashion": lambda one: fashion(limit=one.limit, side=one.side),
    "elpv": lambda one: elpv(size=one.batch),
    "digits": lambda one: digits(side=one.side),
}


Training = Callable[[], dict[int, Pixels]]  # waits for the end; step -> images


@dataclass(frozen=True)
class Job:
    """One training of a GAN: images (N, R, R, C) and their classes, of `kinds` ones."""

    images: Pixels
    label_N: NDArray[np.int64]
    kinds: int
    setting: Setting
    diffaugment: bool
    seed: int


@dataclass(frozen=True)
class Headline:
    """One metric alone; the task computes all of them, which a bootstrap need not wait for."""

    headline: str
    higher_is_better: bool = True

    def metrics(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        """Accuracy of any number of classes, or the area under the ROC curve of the second of two."""
        if self.headline == "auroc":
            return {"auroc": scores.auroc(prediction_NK[:, 1], truth_N == 1)}
        return {self.headline: getattr(scores, self.headline)(prediction_NK.argmax(axis=1), truth_N)}


class Snapshots(pl.Callback):
    """Draws the same noise from the averaged generator every so many steps."""

    def __init__(self, part: Any, job: Job) -> None:
        super().__init__()
        self.part, self.every, self.found = part, job.setting.every, {}
        self.label_S = torch.arange(job.setting.count) % job.kinds
        self.z_SL = torch.randn(job.setting.count, part.latent, generator=torch.Generator().manual_seed(job.seed))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Draw."""
        if trainer.global_step % self.every == 0:
            blocks = zip(self.label_S.split(128), self.z_SL.split(128), strict=True)
            self.found[trainer.global_step] = np.concatenate([self.part.sample(pl_module.average, *block) for block in blocks])


def grown(job: Job) -> dict[int, Pixels]:
    """Train; images (S, R, R, C) of the classes in turn at every snapshot's step."""
    one = job.setting
    node = compose(ROOT / "conf", experiment="digits", overrides=["logger=none", "generator=gan"])["generator"]
    part = build({
        **node, "resolution": one.resolution, "width": one.width, "max_steps": one.steps, "batch_size": one.batch,
        "lr_generator": one.lr, "lr_discriminator": one.ratio * one.lr, "spectral": one.spectral,
        "ema": one.ema, "minimum": 1, "diffaugment": POLICY if job.diffaugment else [], "checkpoint_every": one.steps,
        "log_every": one.every,
    })  # fmt: skip
    watch = Snapshots(part, job)
    with tempfile.TemporaryDirectory() as folder:
        train_gan(
            part, Images(job.images, job.label_N), conditions=job.kinds, seed=job.seed, folder=Path(folder), callbacks=[watch]
        )
    return watch.found


def grow(data: Data, one: Setting, kinds: Sequence[tuple[bool, int]], pool: Executor) -> list[Training]:
    """Begin trainings, each with or without DiffAugment and of a seed; their images come at the size of the data."""
    images, height = small(data.train, one.resolution), data.card["height"]
    jobs = [Job(images, data.label_N, len(data.card["classes"]), one, on, seed) for on, seed in kinds]

    def drawn(begun: Future[dict[int, Pixels]]) -> dict[int, Pixels]:
        return {step: small(made, height) for step, made in begun.result().items()}

    return [partial(drawn, pool.submit(grown, job)) for job in jobs]


def distances(data: Data, sets: Sequence[Pixels]) -> list[float]:
    """Frechet distance of each set to validation in the first principal axes of the standardised real features."""
    held, train = data.embed(data.held), data.embed(data.train)
    real_ND = np.concatenate([train, held])
    scale = Scale.of(real_ND)
    axes_DK = np.linalg.svd(scale(real_ND), full_matrices=False)[2][:DIMENSIONS].T
    held_MK = scale(held) @ axes_DK
    return [frechet_distance(scale(data.embed(made)) @ axes_DK, held_MK) for made in sets]


def diffaugment(data: Data, one: Setting, grew: Sequence[dict[int, Pixels]]) -> float:
    """Print the table of Frechet distances of trainings with, without, with, ...; the ratio that counts."""
    steps = sorted(grew[0])
    flat = distances(data, [data.train, *(found[step] for found in grew for step in steps)])
    value_PAS = np.asarray(flat[1:]).reshape(one.pairs, 2, len(steps))
    what = f"{data.name}, {len(data.train)} training images: Frechet distance to validation, mean of {one.pairs} pairs"
    with table(what, ["step", "with DiffAugment", "without", "ratio"]) as add:
        for step, (a, b) in zip(steps, value_PAS.mean(axis=0).T, strict=True):
            add(step, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}")
        add("real training images", f"{flat[0]:.2f}", "", "")
    both = {"last step": value_PAS[:, :, -1], "each training's best step": value_PAS.min(axis=2)}
    for name, value_PA in both.items():
        each = ", ".join(f"{a / b:.2f}" for a, b in value_PA)
        a, b = value_PA.mean(axis=0)
        limit = f" (at most {REQUIRED})" if name == "last step" else ""
        print(
            f"{data.name}: with over without DiffAugment, {name}: {a:.2f} / {b:.2f}, pairs {each}: {a / b:.2f}{limit}", flush=True
        )
    a, b = both["last step"].mean(axis=0)
    return float(a / b)


def sources(data: Data, one: Setting) -> dict[str, tuple[Pixels, NDArray[np.int64]]]:
    """Extra samples of other arms than the GAN's: changed training images, and the simulator's where there is one."""
    node = compose(ROOT / "conf", experiment="digits", overrides=["logger=none", f"transform={data.policy}"])["transform"]
    policy = build(node)
    draws = [(number, image) for number in range(CLASSICAL) for image in data.train]
    changed = np.stack([policy(image, generator(0, "benchmark", "augment", draw)) for draw, (_, image) in enumerate(draws)])
    found = {"classical": (changed, np.tile(data.label_N, CLASSICAL))}
    if data.simulator:
        node = compose(ROOT / "conf", experiment="solar_cells", overrides=[f"generator={data.simulator}"])["generator"]
        drawn = list(build(node).simulate(data.card, one.count, generator(0, "benchmark", "simulate")))
        found["simulator"] = (np.stack([one.pixels_HWC for one in drawn]), np.asarray([one.label for one in drawn], np.int64))
    return found


def usefulness(data: Data, one: Setting, training: Training, pool: Executor) -> None:
    """Print the table of the arms; a small network on images, or a head on features for large ones.

    Args:
        data: real samples.
        one: numbers.
        training: of the GAN; it may not have ended yet.
        pool: for the trainings.
    """
    scale = Scale.of(data.embed(data.train)) if data.by_head else None

    def pooled(images: Pixels, labels: NDArray[np.int64]) -> Pool:
        x = images if scale is None else scale(data.embed(images)).astype(np.float32)
        return Pool(x, labels, np.ones(len(labels), np.float32))

    real, held = pooled(data.train, data.label_N), pooled(data.held, data.label_M).x
    extra = {name: pooled(*found) for name, found in sources(data, one).items()}
    made = training()[one.steps]
    extra["GAN"] = pooled(made, np.arange(len(made), dtype=np.int64) % len(data.card["classes"]))
    plan: dict[str, tuple[Pool | None, float]] = {REAL: (None, 0.0), "real + classical": (extra.pop("classical"), 0.5)}
    plan |= {f"real + {name}, share {share:g}": (source, share) for name, source in extra.items() for share in (0.1, 0.25, 0.5)}
    recipe = Recipe(one.trial_steps, 64, 3e-3)
    task = build({
        "_target_": "pipeline.task.classification.Classification", "headline": data.headlines[0], "label_smoothing": 0.0,
        "positive": None, "bins": 10, "equal_mass": False,
    }, card=data.card)  # fmt: skip
    waiting = {
        name: [
            pool.submit(predict, real, held, extra=source, share=share, task=task, recipe=recipe, seed=seed)
            for seed in range(SEEDS)
        ]
        for name, (source, share) in plan.items()
    }
    predictions = {name: [one.result() for one in futures] for name, futures in waiting.items()}
    judged = Held(data.label_M, np.ones(len(data.label_M)), data.groups)
    coverage = corrected(0.95, len(plan) - 1)
    for headline in data.headlines:
        arms = measure(predictions, judged, Headline(headline), resamples=500, coverage=coverage, seed=0)
        show(data, one, headline, arms, coverage=coverage)


def show(data: Data, one: Setting, headline: str, arms: list[Arm], *, coverage: float) -> None:
    """One table of arms."""
    title = (f"{data.name}: {headline} on {len(data.held)} validation images, {len(data.train)} training images, {SEEDS} paired "
             f"seeds, {one.trial_steps} steps each")  # fmt: skip
    with table(title, ["trained on", headline, "gain", f"{100 * coverage:.1f} % interval"]) as add:
        for arm in arms:
            add(arm.name, f"{arm.value:.4f}", f"{arm.gain:+.4f}", f"[{arm.low:+.4f}, {arm.high:+.4f}]")


def main() -> int:
    """0 where DiffAugment reached what is required wherever it was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", choices=[*SETTINGS, []], help="all of them without")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    for field in fields(Setting):
        parser.add_argument(f"--{field.name}", type=int if field.type is bool else field.type)
    options = vars(parser.parse_args())
    changed = {name: options[name] for name in (field.name for field in fields(Setting)) if options[name] is not None}
    reached = []
    with ProcessPoolExecutor(options["jobs"], get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for name in options["data"] or SETTINGS:
            one = replace(SETTINGS[name], **changed)
            data = LOAD[name](one)
            kinds = [(on, seed) for seed in range(one.pairs) for on in (True, False)] or [(True, 0)]
            grew = grow(data, one, kinds, pool)
            if one.pairs:
                reached.append(diffaugment(data, one, [training() for training in grew]) <= REQUIRED)
            if one.arms:
                usefulness(data, one, grew[0], pool)
    return int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
