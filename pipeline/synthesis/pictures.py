"""What a person looks at to judge synthetic samples: sheets beside real ones, curves of the training, gains with intervals.

S synthetic images, H height, W width, C channels, R resolution.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core import pictures
from pipeline.core.record import Pixels, Sample
from pipeline.core.store import Samples
from pipeline.synthesis.conditions import Chosen
from pipeline.synthesis.usefulness import Arm

BESIDE = 4  # real and as many synthetic images in a row of the sheet
SHOWN = 6  # conditions of the images of a few steps


def losses(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Both losses, both mean scores and the variety, along the steps."""
    fig = pictures.figure(11, 3)
    steps = [row["step"] for row in rows]
    axes = fig.subplots(1, 3)
    both = (pictures.BLUE, pictures.ORANGE)
    for side, names, label in (
        (0, ("loss_discriminator", "loss_generator"), "loss"),
        (1, ("score_real", "score_synthetic"), "mean score of the discriminator"),
    ):
        for name, colour in zip(names, both, strict=True):
            axes[side].plot(steps, [row[name] for row in rows], color=colour, label=name.split("_")[1])
        axes[side].legend()
        axes[side].set(ylabel=label)
    axes[2].plot(steps, [row["variety"] for row in rows], color=pictures.GREEN)
    axes[2].axhline(1.0, color=pictures.GREY, linewidth=0.8, linestyle=":")
    axes[2].set(ylabel="variety, 1 is that of real images", ylim=(0, None))
    for one in axes:
        one.set(xlabel="step")
        pictures.grid(one)
    pictures.save(fig, path, 110)


def grids(folder: Path, found: Mapping[int, NDArray[np.uint8]], *, each: int) -> list[tuple[str, int]]:
    """Write `grids/step_<step>.png` for each step, one row a condition; return the files and their steps."""
    (folder / "grids").mkdir()
    written = []
    for step, images_SRRC in sorted(found.items()):
        file = f"grids/step_{step:06d}.png"
        pictures.sheet([mosaic(images_SRRC[: SHOWN * each], columns=each)], [f"step {step}"], folder / file, columns=1, tile=4.5)
        written.append((file, step))
    return written


def mosaic(images_SHWC: Pixels, *, columns: int) -> Pixels:
    """Images side by side in one, with a white line between them; the last row is filled up with white."""
    count, height, width, channels = images_SHWC.shape
    rows = -(-count // columns)
    tiles = np.full((rows * columns, height + 1, width + 1, channels), 255, np.uint8)
    tiles[:count, :height, :width] = images_SHWC
    whole: Pixels = tiles.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    return whole.reshape(rows * (height + 1), columns * (width + 1), channels)


def sheet(path: Path, samples: Samples, chosen: Chosen, made: Sequence[Sample], *, count: int) -> None:
    """By condition, real images (left half) beside synthetic ones (right half) in each row."""
    blank = np.full_like(samples.pixels(int(chosen.positions[0])), 255)
    images: list[Pixels] = []
    titles: list[str] = []
    wanted = max(1, count // len(chosen.names))
    kinds = [chosen.of(sample) for sample in made]
    for kind, name in enumerate(chosen.names):
        synthetic = [sample.pixels_HWC for sample, of in zip(made, kinds, strict=True) if of == kind][:wanted]
        real = [samples.pixels(int(position)) for position in chosen.positions[chosen.condition == kind][: len(synthetic)]]
        for start in range(0, len(synthetic), BESIDE):
            for origin, found in (("real", real), ("synthetic", synthetic)):
                row = found[start : start + BESIDE]
                images += [*row, *[blank] * (BESIDE - len(row))]
                titles += [f"{origin}: {name}"] * len(row) + [""] * (BESIDE - len(row))
    if images:
        pictures.sheet(images, titles, path, columns=2 * BESIDE, tile=1.15)
    else:
        pictures.placard("no synthetic sample passed", path)


def neighbours(path: Path, pairs: Sequence[tuple[Pixels, Pixels, float]]) -> None:
    """Synthetic images (small) beside the nearest training image, those closest to training first.

    Args:
        path: to write.
        pairs: synthetic image, training image, distance to train over distance to validation.
    """
    images = [image for pair in pairs for image in pair[:2]]
    titles = [title for pair in pairs for title in (f"synthetic, ratio {pair[2]:.2f}", "nearest in train")]
    if images:
        pictures.sheet(images, titles, path, columns=4)
    else:
        pictures.placard("no synthetic sample", path)


def gains(path: Path, arms: Sequence[Arm], headline: str, *, coverage: float) -> None:
    """Paired gain of each arm over real samples alone: a dot a seed, the mean and its interval."""
    others = list(arms[1:])
    if not others:
        pictures.placard("nothing to compare", path)
        return
    fig = pictures.figure(7.5, 1.0 + 0.45 * len(others))
    axes = fig.subplots()
    for row, arm in enumerate(others):
        colour = pictures.GREEN if arm.low > 0 else pictures.RED if arm.high < 0 else pictures.GREY
        axes.plot(arm.gains, [row + 0.18] * len(arm.gains), "o", color=colour, alpha=0.5, markersize=3.5, markeredgewidth=0)
        axes.plot([arm.low, arm.high], [row, row], color=colour)
        axes.plot([arm.gain], [row], "D", color=colour, markersize=5)
    axes.axvline(0.0, color=pictures.INK, linewidth=0.8)
    axes.set_yticks(range(len(others)), [arm.name for arm in others])
    axes.set(
        xlabel=f"gain in {headline} over real samples alone, {100 * coverage:.1f} % interval", ylim=(len(others) - 0.5, -0.5)
    )
    pictures.grid(axes, "x")
    pictures.save(fig, path, 110)
