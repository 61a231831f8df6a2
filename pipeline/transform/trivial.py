"""TrivialAugment: one operation of one strength for each image, nothing to tune.

Source: S. G. Mueller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021, arXiv
2103.10158, algorithm 1 and the wide space of table 1. What differs: see `pipeline.augmentation.operations`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.operations import SIGNED, Choice, Operations
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample


class Trivial:
    """Draws an operation, its strength out of equally likely ones, and its direction, from the caller's generator alone.

    Args:
        operations: names from `pipeline.augmentation.operations.NAMES`, all equally likely.
        strengths: number of strengths, from none to full.
        shear, translate, rotate, enhance, posterize, fill: at full strength; see `pipeline.augmentation.operations`.

    Raises:
        PersonError: an unknown operation or a number out of range.
    """

    def __init__(
        self, *, operations: list[str], strengths: int, shear: float, translate: float, rotate: float, enhance: float,
        posterize: int, fill: int,
    ) -> None:  # fmt: skip
        if strengths < 2:
            raise PersonError(f"transform.strengths must be at least 2: received {strengths}")
        self.strengths = strengths
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
        """Each operation and its strengths."""
        return self.menu.describe(0.0, 1.0)

    def alone(self) -> list[tuple[str, Any]]:
        """Each operation at full strength."""
        return [(caption, Fixed(self.menu, [choice])) for caption, choice in self.menu.ends()]

    def applied(self) -> list[dict[str, float]]:
        """What the last call drew."""
        return [{"operation": self.menu.names.index(one.name), "strength": one.strength, "sign": one.sign} for one in self._last]

    def _draw(self, rng: np.random.Generator) -> list[Choice]:
        name = self.menu.names[int(rng.integers(len(self.menu.names)))]
        strength, sign = int(rng.integers(self.strengths)) / (self.strengths - 1), 1 - 2 * int(rng.integers(2))
        self._last = [Choice(name, strength, sign if name in SIGNED else 1)]
        return self._last


class Fixed:
    """A policy without chance: these operations, always."""

    def __init__(self, menu: Operations, choices: list[Choice]) -> None:
        self.menu, self.choices = menu, choices

    def __call__(self, pixels_HWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The image after the operations."""
        return self.menu.pixels(pixels_HWC, self.choices)
