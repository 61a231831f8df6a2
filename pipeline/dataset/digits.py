"""Digits: 1,797 handwritten digits of 8 x 8 pixels, from scikit-learn (no download). For tests and first steps.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MissingPackageError
from pipeline.core.record import Entry, Pixels

LEVELS = 16  # grey levels of the source: 0 to 16


class Digits:
    """Ten classes; the digit's value is the target of a regression.

    Args:
        source: not used; scikit-learn brings the data.
        limit: first samples to use; 0 uses all.

    Raises:
        ValueError: `limit` is negative.
    """

    def __init__(self, *, source: Path, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"limit must be 0 (all) or a number of samples: received {limit}")
        self.limit = limit

    def card(self) -> dict[str, Any]:
        """Name, licence, citation, ten classes and the digit's value as a target."""
        return {
            "name": "Handwritten digits",
            "source": "scikit-learn, sklearn.datasets.load_digits",
            "license": "BSD-3-Clause (scikit-learn); data CC-BY-4.0 (UCI)",
            "citation": "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998",
            "classes": [str(digit) for digit in range(10)],
            "target": {"name": "digit", "unit": "", "low": 0.0, "high": 9.0},
        }

    def __len__(self) -> int:
        return len(_load()[1][: self.limit or None])

    def entries(self) -> Iterator[Entry]:
        """The digits in the order of scikit-learn."""
        images, labels = _load()
        for order, label in enumerate(labels[: self.limit or None]):
            yield Entry(f"digit-{order:04d}", partial(_pixels, images[order]), label=int(label), target=float(label))


def _load() -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("scikit-learn", "the dataset digits") from error
    loaded = load_digits()
    return loaded.images, loaded.target


def _pixels(image: NDArray[Any]) -> Pixels:
    """Grey levels 0 to 255, (8, 8, 1)."""
    return np.rint(image * (255.0 / LEVELS)).astype(np.uint8)[..., None]
