"""Inputs that are not of the data: other sets to measure on the test split, and outliers made of validation samples to choose by.

Outliers made of known samples stand in for unknown ones while a detector is chosen, as in Hendrycks, Mazeika and Dietterich 2019,
Deep Anomaly Detection with Outlier Exposure, arXiv 1812.04606 (validation outliers: jigsaw, arithmetic mean, speckle noise). They
are of other kinds than the sets of the test, so that the choice does not know what it is measured on.

H height, W width, C channels; images are uint8.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.record import Pixels
from pipeline.images.decode import sample_id
from pipeline.images.resize import resize

GENERATED = ("noise", "inverted", "blank")
MADE = ("jigsaw", "mean", "speckle")
SPECKLE = 0.6  # standard deviation of the factor, the fifth severity of ImageNet-C's speckle noise
EQUAL = 0.1  # share of images that a set may have in common with the data before it is refused
LARGE = 16  # pixels of a side from which a jigsaw has 4 x 4 pieces; below it has 2 x 2
Shape = tuple[int, int, int]


def shaped(pixels_HWC: Pixels, shape: Shape) -> Pixels:
    """An image of another set at the height, width and number of channels of the data."""
    height, width, channels = shape
    resized_HWC = resize(np.ascontiguousarray(pixels_HWC), height=height, width=width)
    if resized_HWC.shape[2] == channels:
        return resized_HWC
    if channels == 1:
        grey_HWC: Pixels = np.rint(resized_HWC.mean(axis=2, keepdims=True)).astype(np.uint8)
        return grey_HWC
    return np.repeat(resized_HWC[..., :1], channels, axis=2)


def generated(name: str, known: Sequence[Pixels], *, count: int, shape: Shape, seed: int) -> list[Pixels]:
    """Images of a set that is drawn and not read.

    Args:
        name: noise (every value uniform), inverted (255 less a test image) or blank (one grey level, from black to white).
        known: test images, for `inverted`.
        count: how many; at most as many as there are test images for `inverted`.
        shape: of an image.
        seed: of the draws.
    """
    if name == "inverted":
        return [255 - pixels_HWC for pixels_HWC in known[:count]]
    if name == "blank":
        return [np.full(shape, round(255 * number / max(1, count - 1)), dtype=np.uint8) for number in range(count)]
    return [generator(seed, "ood", name, number).integers(0, 256, shape, dtype=np.uint8) for number in range(count)]


def made(name: str, known: Sequence[Pixels], ids: Sequence[str], seed: int) -> list[Pixels]:
    """Outliers made of validation samples, one of each.

    Args:
        name: jigsaw (its pieces in another order), mean (of two samples) or speckle (each value times its own factor).
        known: validation images.
        ids: of them; a draw depends on (seed, name, id) alone.
        seed: of the draws.
    """
    if name == "mean":
        half = max(1, len(known) // 2)
        pairs = zip(known, [*known[half:], *known[:half]], strict=True)
        return [((first.astype(np.uint16) + second) // 2).astype(np.uint8) for first, second in pairs]
    change = _jigsaw if name == "jigsaw" else _speckle
    return [change(pixels_HWC, generator(seed, "ood", name, identity)) for pixels_HWC, identity in zip(known, ids, strict=True)]


def _jigsaw(pixels_HWC: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    cuts = 4 if min(height, width) >= LARGE else 2
    tall, wide = height // cuts, width // cuts
    corners = [(row * tall, column * wide) for row in range(cuts) for column in range(cuts)]
    order = np.roll(rng.permutation(len(corners)), 1)
    if np.array_equal(order, np.arange(len(corners))):
        order = order[::-1]
    found_HWC = pixels_HWC.copy()
    for (top, left), source in zip(corners, order, strict=True):
        below, right = corners[source]
        found_HWC[top : top + tall, left : left + wide] = pixels_HWC[below : below + tall, right : right + wide]
    return found_HWC


def _speckle(pixels_HWC: Pixels, rng: np.random.Generator) -> Pixels:
    factor_HWC = 1 + SPECKLE * rng.standard_normal(pixels_HWC.shape)
    speckled_HWC: Pixels = np.rint(np.clip(pixels_HWC * factor_HWC, 0, 255)).astype(np.uint8)
    return speckled_HWC


def unlike(name: str, images: Iterable[Pixels], ids: Iterable[str]) -> list[Pixels]:
    """Those of a set's images that are not samples of the data.

    Args:
        name: of the set.
        images: at the shape of the data.
        ids: of every sample of the data; they depend on the content alone.

    Raises:
        PersonError: more than a tenth are samples of the data, so that the set is no other one; or nothing is left.
    """
    held, known = list(images), set(ids)
    left = [pixels_HWC for pixels_HWC in held if sample_id(pixels_HWC) not in known]
    equal = len(held) - len(left)
    if equal > EQUAL * len(held) or not left:
        raise PersonError(
            f"ood.sets: {equal} of {len(held)} images of {name!r} are samples of the training data itself, so it cannot tell "
            f"known from unknown: leave it out of  ood.sets=[...]"
        )
    return left
