"""A list of albumentations behind a rule that holds in every worker: a draw depends on the generator that it is given.

H height, W width, C channels.
"""

import random
from collections.abc import Iterator
from typing import Any

import albumentations
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError


class Policy:
    """Applies albumentations in order, driven by the caller's generator alone.

    Left to itself, albumentations 2.0.8 repeats its draws across the workers of a DataLoader and, without persistent workers,
    in every epoch. Its `set_random_seed` gives every transform of the list the *same* seed, so that two flips with p = 0.5
    always happen together (measured). Here all of them share one generator, set anew for every image.
    """

    def __init__(self, *, transforms: list[Any], p: float = 1.0) -> None:
        """Hold the transforms.

        Args:
            transforms: albumentations, already built, in the order of application.
            p: probability that an image is augmented at all, in [0, 1].

        Raises:
            PersonError: an entry is no albumentation, has an argument that albumentations would ignore, or p is out of range.
        """
        if not 0.0 <= p <= 1.0:
            raise PersonError(f"transform.p must be in [0, 1]: received {p}")
        for transform in transforms:
            _check(transform)
        cv2.setNumThreads(0)
        self.p = p
        self._compose = albumentations.Compose(transforms, p=p)

    def __call__(self, pixels_HWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Augment one image.

        Args:
            pixels_HWC: uint8, with one or three channels; not changed, may be read-only.
            rng: the only source of chance; it is advanced by one draw.

        Returns:
            A new uint8 array (H, W, C).

        Raises:
            PersonError: the input is not uint8 HWC, or the policy changes the shape or the dtype.
        """
        if pixels_HWC.dtype != np.uint8 or pixels_HWC.ndim != 3:
            raise PersonError(f"a transform takes uint8 pixels (H, W, C): received {pixels_HWC.dtype} {pixels_HWC.shape}")
        seed = int(rng.integers(2**63))
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        changed = self._compose(image=pixels_HWC.copy())["image"]
        if changed.shape != pixels_HWC.shape or changed.dtype != np.uint8:
            raise PersonError(
                f"the transforms {', '.join(self._names())} turn uint8 {pixels_HWC.shape} into {changed.dtype} {changed.shape}; "
                "a policy must keep shape and dtype: resize in `ingest`, and take conversions out of conf/transform"
            )
        return np.ascontiguousarray(changed)

    def describe(self) -> list[dict[str, Any]]:
        """Every transform with all its arguments, defaults included, as plain JSON."""
        return [_plain(transform.to_dict()["transform"]) for transform in self._compose.transforms]

    def _names(self) -> list[str]:
        return [type(transform).__name__ for transform in self._compose.transforms]


def _check(transform: Any) -> None:
    for part in _flatten(transform):
        if not isinstance(part, albumentations.BasicTransform | albumentations.BaseCompose):
            raise PersonError(f"transform.transforms takes albumentations: received {type(part).__name__} {part!r}")
        ignored = getattr(part, "invalid_args", [])
        if ignored:
            raise PersonError(
                f"albumentations.{type(part).__name__} has no argument {', '.join(map(repr, ignored))} (it would be ignored)"
            )


def _flatten(transform: Any) -> Iterator[Any]:
    yield transform
    for part in transform.transforms if isinstance(transform, albumentations.BaseCompose) else []:
        yield from _flatten(part)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
