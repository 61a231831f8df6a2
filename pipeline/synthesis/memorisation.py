"""Whether synthetic samples repeat what their generator was trained on, and whether any of them stands where it must not.

N training samples, M validation samples, S synthetic samples, D features, H height, W width, C channels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Pixels
from pipeline.core.store import Samples
from pipeline.synthesis.likeness import BLOCK, Doubles, Features, distances
from pipeline.synthesis.nearest import nearest


def symmetries(images_SHWC: Pixels) -> list[Pixels]:
    """The eight symmetries of square images: four turns, each plain and mirrored."""
    turned = [np.rot90(images_SHWC, number, axes=(1, 2)) for number in range(4)]
    return [*turned, *(np.flip(image_SHWC, axis=2) for image_SHWC in turned)]


def pixel_distance(images_SHWC: Pixels, set_NHWC: Pixels) -> Doubles:
    """Distance of each square image to the nearest of a set, over its eight symmetries, (S,), in grey levels of 255."""
    distance_S: Doubles = np.min([nearest(np.ascontiguousarray(seen), set_NHWC) for seen in symmetries(images_SHWC)], axis=0)
    return distance_S


def feature_distance(x_SD: Features, set_ND: Features) -> Doubles:
    """Distance of each sample to the nearest of a set, (S,)."""
    blocks = [distances(x_SD[start : start + BLOCK], set_ND).min(axis=1) for start in range(0, len(x_SD), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


@dataclass(frozen=True)
class Memory:
    """What a generator remembers.

    Attributes:
        copy_S: whether a sample is a copy of a training sample.
        ratio: space -> distance to the train split over distance to validation, (S,).
        nearer: space -> share of samples whose nearest real sample is a training one.
        expected: that share where training samples are no nearer than validation ones.
        chance: space -> probability of a share as high under that expectation (one-sided, normal approximation).
    """

    copy_S: NDArray[np.bool_]
    ratio: dict[str, Doubles]
    nearer: dict[str, float]
    expected: float
    chance: dict[str, float]

    @property
    def copies(self) -> int:
        """Number of copies."""
        return int(self.copy_S.sum())


def remember(
    train: dict[str, Doubles], held: dict[str, Doubles], *, sizes: tuple[int, int], copy_ratio: float
) -> Memory:  # fmt: skip
    """Compare distances to the train split with distances to samples that the generator never saw.

    A sample is a copy where, in one of the spaces, it lies closer to the train split than `copy_ratio` times its distance to
    validation. This is the ratio of Meehan, Chaudhuri, Dasgupta 2020, "A non-parametric test to detect data-copying in
    generative models", taken for each sample instead of for the whole set.

    Args:
        train: space (pixels, embedding) -> distance of each synthetic sample to the nearest training sample, (S,).
        held: the same for validation.
        sizes: numbers of training and of validation samples.
        copy_ratio: in (0, 1).
    """
    ratio = {space: _ratio(train[space], held[space]) for space in train}
    count = len(next(iter(train.values())))
    copy_S = np.zeros(count, dtype=bool)
    for ratio_S in ratio.values():
        copy_S |= ratio_S < copy_ratio
    expected = sizes[0] / (sizes[0] + sizes[1])
    nearer = {space: float((ratio_S < 1).mean()) if count else 0.0 for space, ratio_S in ratio.items()}
    error = math.sqrt(expected * (1 - expected) / max(1, count))
    chance = {
        space: 0.5 * math.erfc((share - expected) / error / math.sqrt(2)) if error > 0 and count else 1.0
        for space, share in nearer.items()
    }
    return Memory(copy_S, ratio, nearer, expected, chance)


def check_held_out(samples: Samples, ids: Iterable[str], what: str) -> None:
    """Hold validation and test to real samples.

    Raises:
        AssertionError: one of them is synthetic or augmented: a fault of ours, and no measurement on it would mean anything.
    """
    origin = samples.columns["origin"]
    wrong = [identity for identity in ids if str(origin[samples.index[identity]]) != "real"]
    if wrong:
        raise AssertionError(
            f"{len(wrong)} samples of {what} are not real, the first is {wrong[0]}: only real samples may be there"
        )


def check_synthetic(made: Samples, *, parent: str, taken: set[str]) -> None:
    """Hold published synthetic samples to their provenance.

    Args:
        made: as published.
        parent: digest of the generator.
        taken: ids of real samples; an id is a hash of the pixels, so a synthetic sample with one of them is a real image.

    Raises:
        AssertionError: one does not say that it is synthetic and of which generator, or is a real image.
    """
    for identity, origin, source in zip(made.ids, made.columns["origin"], made.columns["parent"], strict=True):
        if str(origin) != "synthetic" or str(source) != parent:
            raise AssertionError(
                f"sample {identity} has origin {origin!r} and parent {source!r}: expected 'synthetic', {parent!r}"
            )
        if identity in taken:
            raise AssertionError(f"synthetic sample {identity} has the pixels of a real one: it must be left out")


def _ratio(train_S: Doubles, held_S: Doubles) -> Doubles:
    """Quotient; 0 / 0 is 0, since a sample at no distance of a training one is a copy wherever else it lies."""
    ratio_S = np.full(len(train_S), np.inf)
    np.divide(train_S, held_S, out=ratio_S, where=held_S > 0)
    ratio_S[train_S == 0] = 0.0
    return ratio_S


def nearest_places(images_SHWC: Pixels, set_NHWC: Pixels) -> NDArray[np.int64]:
    """Position of the nearest image of a set, over the eight symmetries, (S,); for pictures, where rounding does not matter."""
    flat_NP = set_NHWC.reshape(len(set_NHWC), -1).astype(np.float64)
    found = [distances(seen.reshape(len(seen), -1).astype(np.float64), flat_NP) for seen in symmetries(images_SHWC)]
    places_S: NDArray[np.int64] = np.min(found, axis=0).argmin(axis=1)
    return places_S
