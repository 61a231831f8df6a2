"""A list of albumentations behind a rule that holds in every worker: a draw depends on the generator that it is given.

H height, W width, C channels.
"""

from typing import Any

import albumentations
import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.moving import Moving, draw
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample


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
        self.p = p
        self._moving = Moving(transforms, p=p)

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
        return self._moving.pixels(pixels_HWC, draw(rng))

    def whole(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Augment a record: mask, boxes and keypoints move with the image, which is the one that a call gives for this rng.

        Raises:
            PersonError: as for a call; or a geometric transform cannot move what the sample has.
        """
        return self._moving.whole(sample, draw(rng))

    def describe(self) -> list[dict[str, Any]]:
        """Every transform with all its arguments, defaults included, as plain JSON."""
        return [_plain(transform.to_dict()["transform"]) for transform in self._moving.transforms]

    def alone(self) -> list[tuple[str, Any]]:
        """Each transform by itself, always applied: once with all its ranges at their low end, once at their high end."""
        return [
            (f"{type(transform).__name__}{end}", Policy(transforms=[step]))
            for transform in self._moving.transforms
            for end, step in _ends(transform)
        ]

    def applied(self) -> list[dict[str, float]]:
        """What the last call drew: for each transform `applied` (0 or 1) and the numbers among its parameters."""
        found = []
        for transform in self._moving.transforms:
            params = {} if isinstance(transform, albumentations.BaseCompose) else transform.get_applied_params()
            numbers = {name: float(value) for name, value in params.items() if isinstance(value, int | float | np.number)}
            found.append({"applied": float(bool(params)), **numbers})
        return found


def _ends(transform: Any) -> list[tuple[str, Any]]:
    if isinstance(transform, albumentations.BaseCompose):
        return [("", transform)]
    arguments = {**transform.get_transform_init_args(), "p": 1.0}
    low, high = ({name: _end(value, end) for name, value in arguments.items()} for end in (0, 1))
    if low == high:
        return [("", type(transform)(**arguments))]
    return [(" (low end)", type(transform)(**low)), (" (high end)", type(transform)(**high))]


def _end(value: Any, end: int) -> Any:
    if isinstance(value, dict):
        return {name: _end(entry, end) for name, entry in value.items()}
    numbers = isinstance(value, list | tuple) and all(isinstance(entry, int | float) for entry in value)
    return (value[end], value[end]) if numbers and len(value) == 2 and value[0] < value[1] else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
