"""RandAugment: a few operations of one common strength for each image.

Source: E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: Practical automated data augmentation with a reduced search
space", 2019, arXiv 1909.13719, section 3. What differs: see `pipeline.augmentation.operations`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.operations import SIGNED, Choice, Operations
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.transform.trivial import Fixed


class Rand:
    """Draws `count` operations with replacement, and the direction of each, from the caller's generator alone.

    Args:
        operations: names from `pipeline.augmentation.operations.NAMES`, all equally likely.
        count: operations for each image, N of the paper.
        strength: of every one, in [0, 1]; M / 30 of the paper.
        shear, translate, rotate, enhance, posterize, fill: at full strength; see `pipeline.augmentation.operations`.

    Raises:
        PersonError: an unknown operation or a number out of range.
    """

    def __init__(
        self, *, operations: list[str], count: int, strength: float, shear: float, translate: float, rotate: float,
        enhance: float, posterize: int, fill: int,
    ) -> None:  # fmt: skip
        if count < 1 or not 0 <= strength <= 1:
            raise PersonError(f"transform.count must be at least 1 and strength in [0, 1]: received {count} and {strength}")
        self.count, self.strength = count, strength
        self.menu = Operations(
            list(operations), shear=shear, translate=translate, rotate=rotate, enhance=enhance, posterize=posterize, fill=fill
        )
        self._last: list[Choice] = []

    def __call__(self, pixels_HWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A new image (H, W, C), uint8."""
        return self.menu.pixels(pixels_HWC, self._draw(rng))

    def whole(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The same draw for a record: mask, boxes and keypoints move with the image."""
        return self.menu.whole(sample, self._draw(rng))

    def describe(self) -> list[dict[str, Any]]:
        """Each operation and its strength."""
        return self.menu.describe(self.strength, self.strength)

    def alone(self) -> list[tuple[str, Any]]:
        """Each operation at the strength that is used."""
        return [
            (caption, Fixed(self.menu, [Choice(choice.name, self.strength, choice.sign)])) for caption, choice in self.menu.ends()
        ]

    def applied(self) -> list[dict[str, float]]:
        """What the last call drew."""
        return [{"operation": self.menu.names.index(one.name), "sign": one.sign} for one in self._last]

    def _draw(self, rng: np.random.Generator) -> list[Choice]:
        names = [self.menu.names[int(number)] for number in rng.integers(len(self.menu.names), size=self.count)]
        signs = (1 - 2 * rng.integers(2, size=self.count)).tolist()
        self._last = [Choice(name, self.strength, sign if name in SIGNED else 1) for name, sign in zip(names, signs, strict=True)]
        return self._last
