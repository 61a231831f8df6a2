"""Whether a GAN helps at 10 % of the data, and DiffAugment the GAN: python -m benchmarks.synthesis [fashion] [elpv].

For each data set: real / real + classical / real + GAN at equal steps, paired by seed, with 95 % intervals on validation; and the
Frechet distance to validation of GANs trained with and without DiffAugment, at equal steps and equal seeds. Fashion-MNIST is read
from the Debian package dataset-fashion-mnist, ELPV from data/ingest and data/embed of the default experiment. The test splits are
never opened.

N images, S synthetic images, D features.
"""

import argparse
import gzip
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.elpv_run import ROOT, table
from pipeline.core.artifact import read_json
from pipeline.core.config import compose
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.images.resize import resize, small
from pipeline.synthesis.likeness import Scale, frechet_distance
from pipeline.synthesis.usefulness import REAL, Arm, Held, corrected, measure
from pipeline.training.gan_module import Images, train_gan
from pipeline.training.trial import Pool, Recipe, predict

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
DIMENSIONS = 64  # principal axes of the real features in which the Frechet distance is taken: few samples bias it in more
REQUIRED = 0.7

Pixels = NDArray[np.uint8]
Embedding = Callable[[Pixels], NDArray[Any]]


@dataclass(frozen=True)
class Data:
    """10 % of a training split, a validation split, and an embedding that saw neither.

    Attributes:
        name: for people.
        card: classes.
        train, label_N: images (N, H, W, C) and their classes.
        held, label_M: of validation.
        groups: of validation.
        embed: uint8 images of the data's size -> features.
        policy: key of conf/transform, the classical augmentation.
    """

    name: str
    card: dict[str, Any]
    train: Pixels
    label_N: NDArray[np.int64]
    held: Pixels
    label_M: NDArray[np.int64]
    groups: list[str]
    embed: Embedding
    policy: str


def fashion(options: argparse.Namespace) -> Data:
    """10 % of `--fashion-limit` images; the embedding is a small network trained on as many other images."""
    if not (FASHION / "train-images-idx3-ubyte.gz").is_file():
        sys.exit(f"error: {FASHION} is missing: run  apt-get install dataset-fashion-mnist")
    raw = [gzip.decompress((FASHION / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1")]
    images = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = np.frombuffer(raw[1], np.uint8, offset=8).astype(np.int64)
    order = generator(0, "benchmark", "fashion").permutation(len(images))
    count = options.fashion_limit // 10
    train, held, other = order[:count], order[10_000:12_000], order[20_000:30_000]
    embed = learnt(images[other], labels[other])
    return Data("Fashion-MNIST", {"classes": CLASSES}, images[train], labels[train], images[held], labels[held],
                [""] * len(held), embed, "light")  # fmt: skip


def learnt(images: Pixels, labels: NDArray[np.int64]) -> Embedding:
    """The last hidden layer (64) of a small network trained 600 steps on images that no arm sees."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(32 * 49, 64), torch.nn.ReLU(),
    )  # fmt: skip
    head, rng = torch.nn.Linear(64, len(CLASSES)), generator(0, "benchmark", "embedding")
    optimiser = torch.optim.AdamW([*layers.parameters(), *head.parameters()], 2e-3)
    for _ in range(600):
        chosen = rng.integers(0, len(images), 128)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(head(layers(tensor(images[chosen]))), torch.from_numpy(labels[chosen])).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    @torch.no_grad()
    def embed(seen: Pixels) -> NDArray[Any]:
        return np.concatenate([layers(tensor(seen[start : start + 512])).numpy() for start in range(0, len(seen), 512)])

    return embed


def tensor(images: Pixels) -> torch.Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)) / 127.5 - 1


def elpv(_: argparse.Namespace) -> Data:
    """10 % of the training modules' cells, by class, and frozen EfficientNet-Lite0 features."""
    from pipeline.core.store import open_samples

    cfg = compose(ROOT / "conf", experiment="solar_cells", overrides=["logger=none"])
    if not (ROOT / "data/split/split.json").is_file() or read_json(ROOT / "data/ingest/card.json")["name"] != "ELPV solar cells":
        sys.exit("error: this reads data/ingest and data/split of the solar cells: run  make repro  first")
    samples, ids = open_samples(ROOT / "data/ingest"), read_json(ROOT / "data/split/split.json")
    train = samples.only(ids["train"])
    drawn = generator(0, "benchmark", "elpv").permutation(len(ids["train"]))[: len(ids["train"]) // 10]
    places = [train.positions([ids["train"][number] for number in drawn]), samples.positions(ids["val"])]
    images = [np.stack([samples.pixels(int(place)) for place in chosen]) for chosen in places]
    labels = [samples.columns["label"][chosen].astype(np.int64) for chosen in places]
    embedder, size = build(cfg["embedder"]), cfg["embed"]["batch_size"]

    def embed(seen: Pixels) -> NDArray[Any]:
        return np.concatenate([embedder.features(seen[start : start + size]) for start in range(0, len(seen), size)])

    groups = [str(name) for name in samples.columns["group"][places[1]]]
    card = read_json(ROOT / "data/ingest/card.json")
    return Data("ELPV", card, images[0], labels[0], images[1], labels[1], groups, embed, "symmetries")


def gan(data: Data, options: argparse.Namespace, *, diffaugment: list[str], seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Train on the 10 % and draw `--count` balanced images at the size of the data."""
    node = compose(ROOT / "conf", experiment="digits", overrides=["logger=none", "generator=gan"])["generator"]
    part = build({
        **node, "resolution": options.resolution, "width": options.width, "max_steps": options.steps, "batch_size": options.batch,
        "lr_generator": options.lr, "lr_discriminator": 2 * options.lr, "beta1": 0.5, "spectral": options.spectral, "ema": 0.995,
        "minimum": 1, "diffaugment": diffaugment, "checkpoint_every": options.steps, "log_every": 100,
    })  # fmt: skip
    kinds = len(data.card["classes"])
    with tempfile.TemporaryDirectory() as folder:
        learner = Images(small(data.train, options.resolution), data.label_N)
        network, _ = train_gan(part, learner, conditions=kinds, seed=seed, folder=Path(folder))
    label_S = np.arange(options.count, dtype=np.int64) % kinds
    z_SL = torch.randn(options.count, part.latent, generator=torch.Generator().manual_seed(seed))
    made = np.concatenate([
        part.sample(network, torch.from_numpy(label_S[start : start + 128]), z_SL[start : start + 128])
        for start in range(0, options.count, 128)
    ])  # fmt: skip
    height, width = data.train.shape[1:3]
    return np.stack([resize(image, height=height, width=width) for image in made]), label_S


def distance(data: Data, made: Pixels) -> float:
    """Frechet distance to validation in the first principal axes of the standardised real features."""
    real_ND = data.embed(np.concatenate([data.train, data.held]))
    scale = Scale.of(real_ND)
    axes_DK = np.linalg.svd(scale(real_ND), full_matrices=False)[2][:DIMENSIONS].T
    return frechet_distance(scale(data.embed(made)) @ axes_DK, scale(data.embed(data.held)) @ axes_DK)


def arms(data: Data, made: tuple[Pixels, NDArray[np.int64]], options: argparse.Namespace) -> list[Arm]:
    """The three arms of the gate of usefulness; a small network on images, or a head on features for ELPV."""
    policy = build(
        compose(ROOT / "conf", experiment="digits", overrides=["logger=none", f"transform={data.policy}"])["transform"]
    )
    task = build({"_target_": "pipeline.task.classification.Classification", "headline": "auroc", "label_smoothing": 0.0,
                  "positive": None, "bins": 10, "equal_mass": False}, card=data.card)  # fmt: skip
    changed = np.stack([policy(image, generator(0, "benchmark", "augment", number)) for number, image in enumerate(data.train)])
    as_features = data.name == "ELPV"
    scale = Scale.of(data.embed(data.train)) if as_features else None

    def pool(images: Pixels, labels: NDArray[np.int64]) -> Pool:
        x = images if scale is None else scale(data.embed(images)).astype(np.float32)
        return Pool(x, labels, np.ones(len(labels), np.float32))

    pools = {"real": pool(data.train, data.label_N), "classical": pool(changed, data.label_N), "GAN": pool(*made)}
    held, recipe = pool(data.held, data.label_M).x, Recipe(options.trial_steps, 64, 3e-3)
    shares = {REAL: (None, 0.0), "real + classical": (pools["classical"], 0.5)}
    shares |= {f"real + GAN, share {share:g}": (pools["GAN"], share) for share in options.shares}
    predictions = {
        name: [predict(pools["real"], held, extra=extra, share=share, task=task, recipe=recipe, seed=seed) for seed in range(6)]
        for name, (extra, share) in shares.items()
    }
    judged = Held(data.label_M, np.ones(len(data.label_M)), data.groups)
    return measure(predictions, judged, task, resamples=200, coverage=corrected(0.95, len(shares) - 1), seed=0)


def run(data: Data, options: argparse.Namespace) -> bool:
    """Print both tables of one data set; whether DiffAugment reached what is required."""
    found: dict[bool, list[float]] = {True: [], False: []}
    made: list[tuple[Pixels, NDArray[np.int64]]] = []
    for seed in range(options.seeds):
        for on in (True, False):
            drawn = gan(data, options, diffaugment=["colour", "translation", "cutout"] if on else [], seed=seed)
            found[on].append(distance(data, drawn[0]))
            made += [drawn] if on else []
    real = distance(data, data.train)
    ratio = float(np.mean(found[True]) / np.mean(found[False]))
    what = f"{data.name}, {len(data.train)} images: Frechet distance to validation, {options.steps} steps"
    with table(what, ["seed", "with DiffAugment", "without", "ratio"]) as add:
        for seed, (a, b) in enumerate(zip(found[True], found[False], strict=True)):
            add(seed, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}")
        add("mean", f"{np.mean(found[True]):.2f}", f"{np.mean(found[False]):.2f}", f"{ratio:.2f} (at most {REQUIRED})")
        add("real training images", f"{real:.2f}", "", "")
    with table(f"{data.name}: validation AUROC, 6 paired seeds, equal steps", ["trained on", "AUROC", "gain", "interval"]) as add:
        for arm in arms(data, made[0], options):
            add(arm.name, f"{arm.value:.4f}", f"{arm.gain:+.4f}", f"[{arm.low:+.4f}, {arm.high:+.4f}]")
    return ratio <= REQUIRED


def main() -> int:
    """0 where DiffAugment reached what is required on every data set that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", choices=["fashion", "elpv", []], default=["fashion", "elpv"])
    parser.add_argument("--fashion-limit", type=int, default=6000, help="images of which a tenth is used")
    parser.add_argument("--resolution", type=int, default=32, help="of the GAN, pixels")
    parser.add_argument("--width", type=int, default=8, help="of the GAN")
    parser.add_argument("--batch", type=int, default=16, help="of the GAN")
    parser.add_argument("--steps", type=int, default=4000, help="of the GAN")
    parser.add_argument("--lr", type=float, default=1e-3, help="of the generator; the discriminator has twice as much")
    parser.add_argument("--spectral", action="store_true", help="spectral norm in the discriminator")
    parser.add_argument("--seeds", type=int, default=2, help="GANs of each kind")
    parser.add_argument("--count", type=int, default=1000, help="images drawn of each GAN")
    parser.add_argument("--trial-steps", type=int, default=200, help="of each training of an arm")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.25, 0.5], help="of the GAN arms")
    options = parser.parse_args()
    torch.set_num_threads(2)
    reached = [run({"fashion": fashion, "elpv": elpv}[name](options), options) for name in options.data]
    return int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
