"""The fifteen common corruptions of photographs and two more, in five severities, drawn for each image by its key.

Source: Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
arXiv 1903.12261; the severities are the ImageNet-C table of the authors' code (hendrycks/robustness), which is meant for
images of 224 pixels.

Scale: lengths (radii, displacements, grain) are multiplied by min(height, width) / 224, which for 32 pixels gives the disks of
the authors' own CIFAR-10-C within 0.4 pixels; amplitudes of noise, contrast, brightness, JPEG quality and the pixelation
factor are used as they stand at every size, which is harsher on small images than CIFAR-10-C and leaves them little to blur.
A draw depends on (seed, name, id) and not on the severity: the five images of one sample share their noise field, angle or
flakes, so that what a curve shows is the severity.

Differs in: blur kernels are drawn with bilinear weights, so that a radius below one pixel still blurs; motion blur and snow use
a Gaussian-weighted line on both sides (the authors call ImageMagick, which blurs to one); glass displaces all pixels of a round
at once; fog is a sum of octaves (diamond-square there); frost is drawn (six photographs there). Elastic: the authors' severities
1 and 2 are wide affine warps of another kind, which move pixels further than 3 to 5; here all five are of the kind of
their 3 to 5, whose fields have a root mean square of 0.81, 1.14 and 1.95 pixels, so that severity rises.
Darkness and occlusion are ours.

H height, W width, C channels; pixels are uint8.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator
from pipeline.corruption import blur, digital, noise, shift, weather
from pipeline.corruption.filters import Image, Level, Rng

SEVERITIES = (1, 2, 3, 4, 5)
TABLE: dict[str, tuple[Level, ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),  # standard deviation
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),  # photons at full white
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),  # share of the values that become 0 or 1
    "defocus_blur": ((3,), (4,), (6,), (8,), (10,)),  # radius of the disk, pixels at SIDE
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),  # blur and reach, pixels at SIDE; rounds
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # reach and standard deviation, pixels at SIDE
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),  # enlargements: up to, step
    "snow": (  # see weather.snow
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),  # of the image, of the pane
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # amount, decay of the octaves
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),  # added to V of HSV
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),  # what is left of it
    "elastic_transform": ((0.4, 2.44, 1.6), (0.6, 2.44, 3.3), (0.81, 2.44, 4.9), (1.14, 2.44, 4.9), (1.95, 2.44, 4.9)),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),  # share of the side that is kept
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),  # quality
    "darkness": ((0.6,), (0.4,), (0.25,), (0.15,), (0.08,)),  # share of the light that is left
    "occlusion": ((0.05,), (0.1,), (0.2,), (0.3,), (0.4,)),  # share of the area that is covered
}  # fmt: skip
OWN = ("darkness", "occlusion")
PAPER = tuple(name for name in TABLE if name not in OWN)  # the fifteen over which the mean corruption error goes
FUNCTIONS: dict[str, Callable[[Image, Level, Rng], Image]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "darkness": shift.darkness,
    "occlusion": shift.occlusion,
}


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are not in the catalogue.

    Raises:
        PersonError: an unknown name, the nearest one is named; or one that is there twice.
    """
    for name in names:
        if name not in TABLE:
            raise PersonError(f"robustness.corruptions: there is no corruption {name!r}; {near_match(name, TABLE)}")
        if list(names).count(name) > 1:
            raise PersonError(f"robustness.corruptions names {name!r} twice: leave one out")


def corrupt(pixels_HWC: NDArray[np.uint8], name: str, severity: int, *, seed: int, identity: str) -> NDArray[np.uint8]:
    """One corrupted copy of an image; the input is untouched.

    Args:
        pixels_HWC: uint8, any size and number of channels.
        name: a corruption of `TABLE`.
        severity: 1 (mild) to 5.
        seed: of the run.
        identity: the sample's id; the draw depends on (seed, name, identity) alone.

    Raises:
        PersonError: an unknown name, or a severity outside 1 to 5.
    """
    check_names([name])
    if severity not in SEVERITIES:
        raise PersonError(f"robustness.severities must be within 1 to 5: received {severity}")
    rng = generator(seed, "corruption", name, identity)
    image_HWC = pixels_HWC.astype(np.float32) / np.float32(255)
    changed_HWC = FUNCTIONS[name](image_HWC, TABLE[name][severity - 1], rng)
    rounded_HWC: NDArray[np.uint8] = np.rint(np.clip(changed_HWC, 0, 1) * 255).astype(np.uint8)
    return rounded_HWC
