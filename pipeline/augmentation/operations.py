"""The fourteen operations of AutoAugment and its followers, of one strength each, made of albumentations.

Source of the set: Cubuk et al. 2019, "RandAugment", arXiv 1909.13719, section 3; Mueller & Hutter 2021, "TrivialAugment",
arXiv 2103.10158, table 1. What differs: shears are about the centre of the image and translations a share of its side, so that
one policy serves any size; `sharpness` is Pillow's, `posterize`, `solarize`, `auto_contrast` and `equalize` are albumentations'.
`color` changes nothing in a grey image.

H height, W width, C channels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import albumentations
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.moving import Moving
from pipeline.core.errors import PersonError, near_match
from pipeline.core.record import Sample

SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
GRADED = (*SIGNED, "posterize", "solarize")
PLAIN = ("identity", "auto_contrast", "equalize")
NAMES = (*PLAIN, *GRADED)
SMOOTH = np.asarray([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # ImageFilter.SMOOTH of Pillow


@dataclass(frozen=True)
class Choice:
    """One operation with its strength in [0, 1] and its direction, +1 or -1."""

    name: str
    strength: float = 0.0
    sign: int = 1


@dataclass
class Operations:
    """Operations by name, each built once.

    Attributes:
        names: of those that may be drawn, from `NAMES`.
        shear: tangent of the angle at full strength.
        translate: share of the side at full strength.
        rotate: degrees at full strength.
        enhance: brightness, colour, contrast and sharpness are multiplied by 1 + this, or 1 - this, at full strength.
        posterize: bits that are left at full strength, of 8.
        fill: grey level of what comes in at the edges.

    Raises:
        PersonError: an unknown operation, none at all, or a number out of range.
    """

    names: list[str]
    shear: float
    translate: float
    rotate: float
    enhance: float
    posterize: int
    fill: int
    built: dict[Choice, Moving] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in NAMES:
                raise PersonError(f"transform.operations: {name!r} is no operation: {near_match(name, NAMES)}")
        if not self.names:
            raise PersonError(f"transform.operations must name at least one of {', '.join(NAMES)}: received none")
        if not (0 <= self.enhance <= 1 and 1 <= self.posterize <= 8 and 0 <= self.fill <= 255):
            raise PersonError(
                "transform.enhance must be in [0, 1], posterize in 1 to 8 and fill in 0 to 255: "
                f"received {self.enhance}, {self.posterize} and {self.fill}"
            )

    def pixels(self, pixels_HWC: NDArray[np.uint8], choices: list[Choice]) -> NDArray[np.uint8]:
        """The image after these operations, in order."""
        for choice in choices:
            pixels_HWC = self._of(choice).pixels(pixels_HWC, 0)
        return pixels_HWC

    def whole(self, sample: Sample, choices: list[Choice]) -> Sample:
        """The record after these operations, in order."""
        for choice in choices:
            sample = self._of(choice).whole(sample, 0)
        return sample

    def ends(self) -> list[tuple[str, Choice]]:
        """Each operation at full strength, in both directions where it has two."""
        found = []
        for name in self.names:
            signs = (1, -1) if name in SIGNED else (1,)
            found += [(f"{name}{' ' + '+-'[sign < 0] if name in SIGNED else ''}", Choice(name, 1.0, sign)) for sign in signs]
        return found

    def describe(self, lowest: float, highest: float) -> list[dict[str, Any]]:
        """Each operation with its range of strengths, as plain JSON."""
        return [
            {
                "__class_fullname__": name,
                **({"strength": [lowest, highest], "both_ways": name in SIGNED} if name in GRADED else {}),
            }
            for name in self.names
        ]

    def _of(self, choice: Choice) -> Moving:
        if choice not in self.built:
            self.built[choice] = Moving([self._build(choice)])
        return self.built[choice]

    def _build(self, choice: Choice) -> Any:
        if choice.name not in PLAIN and choice.strength == 0:
            return albumentations.NoOp(p=1.0)
        value, factor = choice.sign * choice.strength, 1 + choice.sign * choice.strength * self.enhance
        bits, threshold = 8 - round(choice.strength * (8 - self.posterize)), 1 - choice.strength
        makers: dict[str, Callable[[], Any]] = {
            "identity": lambda: albumentations.NoOp(p=1.0),
            "auto_contrast": lambda: albumentations.AutoContrast(method="pil", p=1.0),
            "equalize": lambda: albumentations.Equalize(p=1.0),
            "shear_x": lambda: self._affine(shear=_along("x", math.degrees(math.atan(value * self.shear)))),
            "shear_y": lambda: self._affine(shear=_along("y", math.degrees(math.atan(value * self.shear)))),
            "translate_x": lambda: self._affine(translate_percent=_along("x", value * self.translate)),
            "translate_y": lambda: self._affine(translate_percent=_along("y", value * self.translate)),
            "rotate": lambda: self._affine(rotate=(value * self.rotate, value * self.rotate)),
            "brightness": lambda: _jitter("brightness", factor),
            "contrast": lambda: _jitter("contrast", factor),
            "color": lambda: _jitter("saturation", factor),
            "sharpness": lambda: Sharpness(factor=factor, p=1.0),
            "posterize": lambda: (
                albumentations.Posterize(num_bits=(bits, bits), p=1.0) if bits < 8 else albumentations.NoOp(p=1.0)
            ),
            "solarize": lambda: albumentations.Solarize(threshold_range=(threshold, threshold), p=1.0),
        }
        return makers[choice.name]()

    def _affine(self, **what: Any) -> Any:
        return albumentations.Affine(border_mode=cv2.BORDER_CONSTANT, fill=self.fill, p=1.0, **what)


class Sharpness(albumentations.ImageOnlyTransform):  # type: ignore[misc]  # it is shipped without types
    """Pillow's ImageEnhance.Sharpness: the image away from (factor > 1) or towards (< 1) a smoothed one; the frame stays."""

    def __init__(self, factor: float = 1.0, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.factor = factor

    def apply(self, img: NDArray[np.uint8], **_: Any) -> NDArray[np.uint8]:
        """Blend (H, W, C)."""
        smooth = np.floor(cv2.filter2D(img.astype(np.float32), -1, SMOOTH).reshape(img.shape) + 0.5)
        blend = smooth + self.factor * (img - smooth)
        out = img.copy()
        out[1:-1, 1:-1] = np.clip(blend, 0, 255).astype(np.uint8)[1:-1, 1:-1]
        return out

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """What describes it."""
        return ("factor",)


def _along(axis: str, value: float) -> dict[str, tuple[float, float]]:
    return {"x": (0.0, 0.0), "y": (0.0, 0.0), axis: (value, value)}


def _jitter(what: str, factor: float) -> Any:
    still = {"brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": (0.0, 0.0)}
    return albumentations.ColorJitter(**{**still, what: (factor, factor)}, p=1.0)
