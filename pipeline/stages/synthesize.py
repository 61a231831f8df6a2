"""Train a generator on the train split alone and publish samples of it, with what a person needs to judge them.

N training images, S synthetic images, H height, W width, C channels, L latent, P pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core import launch, pictures
from pipeline.core.artifact import read_json, sha256, write_json
from pipeline.core.contracts import Pixels, Sample
from pipeline.core.decode import sample_id
from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.nearest import nearest
from pipeline.core.parts import build, is_off
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples, write_shards

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "generator.safetensors"
COLUMNS = ("loss_discriminator", "loss_generator", "norm_discriminator", "norm_generator", "score_real", "score_synthetic")
BESIDE = 4  # real and as many synthetic images in a row of the sheet
UNPROVEN = (
    "No gate has yet shown that these samples help a model. Training therefore takes only the share train.synthetic_share of its "
    "samples from here, which is 0 unless you set it."
)

LOOK = (
    "Look at the sheet before you use them: real images stand beside synthetic ones. Synthetic images were made at the "
    "generator's resolution and resized to the size of the data, which takes away fine detail."
)
NEAREST = (
    "Distance to the nearest other image, root mean square in grey levels of 255. Where a generator repeats its training images, "
    "it lies far closer to them than they lie to each other; where it has no variety, its images lie closest to each other"
)


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, scratch: Path) -> str:
    """Train the generator, or continue where a killed run stopped, and publish `synthesize.count` samples.

    Args:
        cfg: `generator`, `synthesize` and `seed`.
        out: where to write.
        ingest: the samples.
        split: who is in the train split; no other sample is read.
        scratch: of the checkpoints.

    Raises:
        PersonError: no class has enough images, or a loss is not finite.
    """
    if is_off(cfg["generator"]):
        return _none(out)
    if launch.rank() != 0:
        return "rank 0 trains the generator"
    from pipeline.training.gan_module import Images, train_gan
    from pipeline.training.watch import write_history

    gan = build(cfg["generator"])
    card, samples = read_json(ingest / "card.json"), open_samples(ingest)
    chosen = choose(samples, samples.positions(read_json(split / "split.json")["train"]), card["classes"], gan=gan)
    real_NHWC = _small((samples.pixels(int(position)) for position in chosen.positions), gan.resolution)
    network, rows = train_gan(
        gan, Images(real_NHWC, chosen.condition), conditions=len(chosen.names), seed=cfg["seed"], folder=scratch
    )
    write_history(rows, out / "history.csv")
    maker = Maker(gan, network, chosen, seed=cfg["seed"], digest=_publish_weights(cfg, out, network, chosen=chosen))
    made = list(maker.samples(cfg["synthesize"]["count"], height=card["height"], width=card["width"]))
    write_shards(out, made)
    _losses(out / "losses.png", rows)
    _sheet(out / "samples.png", samples, chosen, made, count=cfg["synthesize"]["sheet"])
    near = _closeness(_small([one.pixels_HWC for one in made], gan.resolution) if made else real_NHWC[:0], real_NHWC, cfg["seed"])
    return _section(out, chosen, steps=gan.max_steps, near=near, repeated=maker.repeated, made=len(made))


@dataclass(frozen=True)
class Chosen:
    """The training images of a generator and what it is conditioned on.

    Attributes:
        positions: of the images in the store, (N,).
        condition: of each of them, (N,).
        names: of the conditions, for people.
        labels: class index of each condition, -1 where the data has no classes.
        targets: mean target of each condition's images, NaN where the data has none.
        left_out: conditions with too few images, as "name (count)".
        channels: of the images.
    """

    positions: NDArray[np.int64]
    condition: NDArray[np.int64]
    names: list[str]
    labels: list[int]
    targets: list[float]
    left_out: list[str]
    channels: int


def choose(samples: Samples, positions: NDArray[np.int64], classes: list[str], *, gan: Any) -> Chosen:
    """Condition on the class, or on quantile bins of the target where the data has no classes.

    Raises:
        PersonError: no condition has `generator.minimum` images.
    """
    target_N = samples.columns["target"][positions].astype(np.float64)
    label_N = samples.columns["label"][positions].astype(np.int64)
    raw_N = label_N if classes else quantile_bins(target_N, gan.bins)
    condition_N = np.full(len(raw_N), -1, np.int64)
    chosen = Chosen(positions, condition_N, [], [], [], [], channels=int(samples.columns["channels"][0]))
    for number in sorted(set(raw_N[raw_N >= 0].tolist())):
        inside = raw_N == number
        name = classes[number] if classes else f"target {target_N[inside].min():.3g} to {target_N[inside].max():.3g}"
        if inside.sum() < gan.minimum:
            chosen.left_out.append(f"{name} ({int(inside.sum())})")
            continue
        condition_N[inside] = len(chosen.names)
        chosen.names.append(name)
        chosen.labels.append(number if classes else -1)
        chosen.targets.append(float(target_N[inside].mean()))
    if not chosen.names:
        raise PersonError(
            f"no class has the {gan.minimum} training images that generator.minimum asks for "
            f"(found: {', '.join(chosen.left_out) or 'none'}): lower it, or set generator=none"
        )
    kept = condition_N >= 0
    return replace(chosen, positions=positions[kept], condition=condition_N[kept])


def quantile_bins(target_N: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Bin of each value, -1 where there is none; equal values share a bin, so there may be fewer bins than asked for."""
    known = np.isfinite(target_N)
    inner = np.unique(np.quantile(target_N[known], np.linspace(0, 1, bins + 1)[1:-1])) if known.any() else np.zeros(0)
    return np.where(known, np.searchsorted(inner, target_N, side="left"), -1)


@dataclass
class Maker:
    """Draws samples; sample i depends on the weights, the seed and i alone.

    Attributes:
        gan: a part of `pipeline/generator`.
        network: its trained generator.
        chosen: what it was trained on.
        seed: of the noise.
        digest: of the weights; the parent of every sample.
        repeated: samples that were left out because their pixels came a second time.
    """

    gan: Any
    network: "nn.Module"
    chosen: Chosen
    seed: int
    digest: str
    repeated: int = field(default=0)

    def samples(self, count: int, *, height: int, width: int) -> Iterator[Sample]:
        """Samples with the conditions in turn, so that they are balanced, at the size of the data."""
        import torch

        seen: set[str] = set()
        for number in range(count):
            kind = number % len(self.chosen.names)
            noise_1L = generator(self.seed, "gan", "sample", number).standard_normal((1, self.gan.latent), dtype=np.float32)
            small_1HWC = self.gan.sample(self.network, torch.tensor([kind]), torch.from_numpy(noise_1L))
            pixels_HWC = resize(small_1HWC[0], height=height, width=width)
            identity = sample_id(pixels_HWC)
            if identity in seen:
                self.repeated += 1
                continue
            seen.add(identity)
            yield Sample(
                id=identity, pixels_HWC=pixels_HWC, label=self.chosen.labels[kind], target=self.chosen.targets[kind],
                order=number, name=f"synthetic {self.chosen.names[kind]} {number}", origin="synthetic", parent=self.digest,
            )  # fmt: skip


def resize(pixels_HWC: Pixels, *, height: int, width: int) -> Pixels:
    """Bring an image to a size: averages over areas when shrinking, cubic when enlarging."""
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    shrinks = height <= pixels_HWC.shape[0] and width <= pixels_HWC.shape[1]
    changed: Any = cv2.resize(pixels_HWC, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    resized: Pixels = changed.reshape(height, width, pixels_HWC.shape[2])
    return resized


def _closeness(made_SHWC: Pixels, real_NHWC: Pixels, seed: int) -> dict[str, NDArray[np.float64]]:
    """Distances of synthetic images, and of as many real ones, to the nearest other image."""
    compared = generator(seed, "gan", "compared").permutation(len(real_NHWC))[: len(made_SHWC)]
    return {
        "training images to each other": nearest(real_NHWC[compared], real_NHWC, itself=compared),
        "synthetic images to training images": nearest(made_SHWC, real_NHWC),
        "synthetic images to each other": nearest(made_SHWC, made_SHWC, itself=np.arange(len(made_SHWC))),
    }


def _small(images_HWC: Iterable[Pixels], side: int) -> Pixels:
    return np.stack([resize(pixels_HWC, height=side, width=side) for pixels_HWC in images_HWC])


def _publish_weights(cfg: dict[str, Any], out: Path, network: "nn.Module", *, chosen: Chosen) -> str:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, out / WEIGHTS)
    digest = sha256(out / WEIGHTS)
    counts = np.bincount(chosen.condition, minlength=len(chosen.names)).tolist()
    rows = zip(chosen.names, chosen.labels, chosen.targets, counts, strict=True)
    conditions = [
        {"name": name, "label": label, "target": target if np.isfinite(target) else None, "training_images": count}
        for name, label, target, count in rows
    ]
    facts = {"conditions": len(chosen.names), "channels": chosen.channels}
    write_json(out / "generator.json", {"part": cfg["generator"], "facts": facts, "conditions": conditions, "sha256": digest})
    return digest


def _losses(path: Path, rows: list[dict[str, float]]) -> None:
    fig = pictures.figure(9, 3)
    steps = [row["step"] for row in rows]
    axes = fig.subplots(1, 2)
    for side, names, label in ((0, COLUMNS[:2], "loss"), (1, COLUMNS[4:], "mean score of the discriminator")):
        for name, colour in zip(names, (pictures.BLUE, pictures.ORANGE), strict=True):
            axes[side].plot(steps, [row[name] for row in rows], color=colour, label=name.split("_")[1])
        axes[side].set(xlabel="step", ylabel=label)
        axes[side].legend()
        pictures.grid(axes[side])
    pictures.save(fig, path, 110)


def _sheet(path: Path, samples: Samples, chosen: Chosen, made: list[Sample], *, count: int) -> None:
    """By condition, four real images beside four synthetic ones in each row."""
    blank = np.full_like(samples.pixels(int(chosen.positions[0])), 255)
    images, titles = [], []
    wanted = max(1, count // len(chosen.names))
    for kind, name in enumerate(chosen.names):
        synthetic = [one.pixels_HWC for one in made if one.order % len(chosen.names) == kind][:wanted]
        real = [samples.pixels(int(position)) for position in chosen.positions[chosen.condition == kind][: len(synthetic)]]
        for start in range(0, len(synthetic), BESIDE):
            for origin, found in (("real", real), ("synthetic", synthetic)):
                row = found[start : start + BESIDE]
                images += [*row, *[blank] * (BESIDE - len(row))]
                titles += [f"{origin}: {name}"] * len(row) + [""] * (BESIDE - len(row))
    if images:
        pictures.sheet(images, titles, path, columns=2 * BESIDE, tile=1.15)
    else:
        pictures.placard("synthesize.count: 0", path)


def _section(out: Path, chosen: Chosen, *, steps: int, near: dict[str, NDArray[np.float64]], repeated: int, made: int) -> str:
    warnings = [f"Too few training images for the generator, so no synthetic ones: {name}." for name in chosen.left_out]
    if repeated:
        warnings.append(f"{repeated} synthetic images came a second time and were left out: the generator has little variety.")
    counts = np.bincount(chosen.condition, minlength=len(chosen.names)).tolist()
    share: list[list[Cell]] = [[name, count] for name, count in zip(chosen.names, counts, strict=True)]
    close: list[list[Cell]] = [
        [which, round(float(np.median(found)), 2), round(float(found.min()), 2)]
        for which, found in near.items()
        if len(found) and np.isfinite(found).all()
    ]
    return write_section(out, Section(
        title="Synthetic samples",
        summary=f"{made} synthetic images of {len(chosen.names)} conditions, by a generator trained {steps} steps on "
                f"{len(chosen.positions)} training images",
        text=[UNPROVEN, LOOK],
        warnings=warnings,
        tables=[
            Table("What the generator is conditioned on", ["condition", "training images"], share),
            Table(NEAREST, ["images", "median", "smallest"], close),
        ],
        pictures=[
            Picture("samples.png", "Real training images (left half) and synthetic ones (right half), by condition."),
            Picture("losses.png", "Losses of both networks, and the discriminator's mean score of real and synthetic images."),
        ],
    ))  # fmt: skip


def _none(out: Path) -> str:
    from safetensors.numpy import save_file

    write_shards(out, [])
    save_file({}, out / WEIGHTS)
    write_json(out / "generator.json", {"conditions": []})
    (out / "history.csv").write_text(",".join(["step", *COLUMNS]) + "\n", encoding="utf-8")
    for name in ("samples.png", "losses.png"):
        pictures.placard("generator: none", out / name)
    return write_section(out, Section(title="Synthetic samples", summary="no synthetic samples (generator: none)"))
