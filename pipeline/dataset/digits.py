"""Digits: 1,797 handwritten digits of 8 x 8 pixels, from scikit-learn (no download). For tests and first steps.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.contracts import Rejected, Sample
from pipeline.core.decode import sample_id
from pipeline.core.errors import BadSampleError, MissingPackageError

LEVELS = 16  # grey levels of the source: 0 to 16


class Digits:
    """Ten classes; the digit's value is the target of a regression.

    Args:
        source: not used; scikit-learn brings the data.
        decode: bytes of an image file to uint8 pixels (H, W, C); each digit passes through it as a PNG, so that the size
            and the channels asked for hold here too.
        limit: first samples to use; 0 uses all.

    Raises:
        ValueError: `limit` is negative.
    """

    def __init__(self, *, source: Path, decode: Callable[[bytes], NDArray[np.uint8]], limit: int) -> None:
        if limit < 0:
            raise ValueError(f"limit must be 0 (all) or a number of samples: received {limit}")
        self.decode, self.limit = decode, limit

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

    def samples(self) -> Iterator[Sample | Rejected]:
        """The digits in the order of scikit-learn."""
        images, labels = _load()
        for order, (image, label) in enumerate(zip(images, labels, strict=True)):
            if self.limit and order == self.limit:
                return
            name = f"digit-{order:04d}"
            try:
                pixels = self.decode(_png(np.rint(image * (255.0 / LEVELS)).astype(np.uint8)))
            except BadSampleError as error:
                yield Rejected(name, str(error))
                continue
            yield Sample(
                id=sample_id(pixels), pixels_HWC=pixels, label=int(label), target=float(label), order=order, name=name
            )  # fmt: skip


def _load() -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("scikit-learn", "the dataset digits") from error
    loaded = load_digits()
    return loaded.images, loaded.target


def _png(pixels_HW: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels_HW).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
