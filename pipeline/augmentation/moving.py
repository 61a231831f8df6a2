"""One composition of albumentations, run with one seed, on an image or on a whole record.

H height, W width, C channels, P keypoints.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import albumentations
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.core.record import Box, Sample

HIDDEN = (-1.0, -1.0)  # a keypoint that is out of sight
SMALLEST = 1.0  # pixels: of a box that is cut by the frame, what is narrower or lower than this has left it


class Moving:
    """Applies transforms in order; every one of them draws from one generator, which is set anew for every image.

    Args:
        transforms: albumentations, already built.
        p: probability that the composition is applied at all.

    Raises:
        PersonError: an entry is no albumentation, or has an argument that albumentations would ignore.
    """

    def __init__(self, transforms: Sequence[Any], *, p: float = 1.0) -> None:
        for transform in transforms:
            _check(transform)
        cv2.setNumThreads(0)
        parts = [part for transform in transforms for part in flatten(transform)]
        self.geometric = any(isinstance(part, albumentations.DualTransform) for part in parts)
        boxes = albumentations.BboxParams(format="pascal_voc", min_width=SMALLEST, min_height=SMALLEST)
        points = albumentations.KeypointParams(format="xy", remove_invisible=False)
        self.compose = albumentations.Compose(
            list(transforms), p=p, bbox_params=boxes if self.geometric else None,
            keypoint_params=points if self.geometric else None,
        )  # fmt: skip

    @property
    def transforms(self) -> list[Any]:
        """The transforms, in the order of application."""
        return list(self.compose.transforms)

    def pixels(self, pixels_HWC: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """A new image (H, W, C); the input is not changed and may be read-only.

        Raises:
            PersonError: the input is not uint8 HWC, or the transforms change the shape or the dtype.
        """
        return self._image(self._run(seed, pixels_HWC), pixels_HWC)

    def whole(self, sample: Sample, seed: int) -> Sample:
        """The same image as `pixels` gives, and mask, boxes and keypoints moved with it.

        A box keeps its class, is cut at the frame and is dropped where nothing of it is left; a keypoint keeps its place in the
        order and becomes (-1, -1) where it leaves the frame.

        Raises:
            PersonError: as `pixels`; or a geometric transform cannot move what the sample has.
        """
        if not self.geometric:
            return replace(sample, pixels_HWC=self.pixels(sample.pixels_HWC, seed))
        given: dict[str, Any] = {}
        if sample.mask_HW is not None:
            given["mask"] = sample.mask_HW.copy()
        if sample.boxes:
            given["bboxes"] = np.asarray(sample.boxes, dtype=np.float64)
        if sample.keypoints:
            given["keypoints"] = np.asarray(sample.keypoints, dtype=np.float64)
        try:
            found = self._run(seed, sample.pixels_HWC, **given)
        except NotImplementedError as error:
            raise PersonError(
                f"the transforms {', '.join(self._names())} cannot move {', '.join(given)} with the image ({error}): "
                "take the one that cannot out of conf/transform, or leave these annotations out of the data"
            ) from error
        return replace(
            sample,
            pixels_HWC=self._image(found, sample.pixels_HWC),
            mask_HW=None if sample.mask_HW is None else np.ascontiguousarray(found["mask"]),
            boxes=_boxes(found["bboxes"]) if sample.boxes else (),
            keypoints=_points(found["keypoints"], sample) if sample.keypoints else (),
        )

    def _run(self, seed: int, pixels_HWC: NDArray[np.uint8], **given: Any) -> dict[str, Any]:
        if pixels_HWC.dtype != np.uint8 or pixels_HWC.ndim != 3:
            raise PersonError(f"a transform takes uint8 pixels (H, W, C): received {pixels_HWC.dtype} {pixels_HWC.shape}")
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        found: dict[str, Any] = self.compose(image=pixels_HWC.copy(), **given)
        return found

    def _image(self, found: dict[str, Any], pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = found["image"]
        if changed.shape != pixels_HWC.shape or changed.dtype != np.uint8:
            raise PersonError(
                f"the transforms {', '.join(self._names())} turn uint8 {pixels_HWC.shape} into {changed.dtype} {changed.shape}; "
                "a policy must keep shape and dtype: resize in `ingest`, and take conversions out of conf/transform"
            )
        return np.ascontiguousarray(changed)

    def _names(self) -> list[str]:
        return [type(transform).__name__ for transform in self.transforms]


def flatten(transform: Any) -> Iterator[Any]:
    """A transform and all that are inside it."""
    yield transform
    for part in transform.transforms if isinstance(transform, albumentations.BaseCompose) else []:
        yield from flatten(part)


def draw(rng: np.random.Generator) -> int:
    """The one number that a policy takes from the caller's generator."""
    return int(rng.integers(2**63))


def _check(transform: Any) -> None:
    for part in flatten(transform):
        if not isinstance(part, albumentations.BasicTransform | albumentations.BaseCompose):
            raise PersonError(f"transform.transforms takes albumentations: received {type(part).__name__} {part!r}")
        ignored = getattr(part, "invalid_args", [])
        if ignored:
            raise PersonError(
                f"albumentations.{type(part).__name__} has no argument {', '.join(map(repr, ignored))} (it would be ignored)"
            )


def _boxes(found: NDArray[np.floating]) -> tuple[Box, ...]:
    rows = found.astype(np.float32).tolist()  # as the store keeps them, so that a record is the same before and after
    return tuple((x0, y0, x1, y1, round(label)) for x0, y0, x1, y1, label in rows)


def _points(found: NDArray[np.floating], sample: Sample) -> tuple[tuple[float, float], ...]:
    height, width, _ = sample.pixels_HWC.shape
    moved = []
    for before, (x, y) in zip(sample.keypoints, found[:, :2].astype(np.float32).tolist(), strict=True):
        seen = tuple(before) != HIDDEN and -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
        moved.append((x, y) if seen else HIDDEN)
    return tuple(moved)
