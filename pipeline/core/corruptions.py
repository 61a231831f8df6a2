"""Common corruptions of photographs in five severities, drawn for each image by its key.

Source: Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
arXiv 1903.12261; the severities are the ImageNet-C table of the authors' code (hendrycks/robustness, make_imagenet_c.py),
which is meant for images of 224 pixels.

Scale: lengths (blur radii, motion length) are multiplied by min(height, width) / 224, which for 32 pixels gives the disks of
the authors' own CIFAR-10-C within 0.4 pixels; amplitudes of noise, contrast, brightness, JPEG quality and the pixelation
factor are used as they stand at every size, which is harsher on small images than CIFAR-10-C and leaves them little to blur.
Differs in: blur kernels are drawn with bilinear weights, so that a radius below one pixel still blurs; motion blur is a
Gaussian-weighted line (the authors call ImageMagick); fog is a sum of octaves of interpolated noise (the authors use
diamond-square). The paper's frost, snow, glass, zoom and elastic corruptions are not offered.

H height, W width, C channels; pixels are uint8.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator

Image = NDArray[np.float32]
Rng = np.random.Generator
SIDE = 224  # pixels for which the table below was made
SEVERITIES = (1, 2, 3, 4, 5)
TABLE: dict[str, tuple[tuple[float, ...], ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),  # standard deviation
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),  # photons at full white
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),  # share of the values that become 0 or 1
    "defocus_blur": ((3,), (4,), (6,), (8,), (10,)),  # radius of the disk, pixels at SIDE
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # reach and standard deviation, pixels at SIDE
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # amount, decay of the octaves
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),  # added to V of HSV
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),  # what is left of it
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),  # quality
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),  # share of the side that is kept
}


def check_names(names: list[str]) -> None:
    """Refuse names that are not in the catalogue.

    Raises:
        PersonError: an unknown name; the nearest one is named.
    """
    for name in names:
        if name not in TABLE:
            raise PersonError(f"robustness.corruptions: there is no corruption {name!r}; {near_match(name, TABLE)}")


def corrupt(pixels_HWC: NDArray[np.uint8], name: str, severity: int, *, seed: int, identity: str) -> NDArray[np.uint8]:
    """One corrupted copy of an image; the input is untouched.

    Args:
        pixels_HWC: uint8, 1 or 3 channels.
        name: a corruption of `TABLE`.
        severity: 1 (mild) to 5.
        seed: of the run.
        identity: the sample's id; the draw depends on (seed, name, severity, identity) alone.

    Raises:
        PersonError: an unknown name, or a severity outside 1 to 5.
    """
    check_names([name])
    if severity not in SEVERITIES:
        raise PersonError(f"robustness.severities must be within 1 to 5: received {severity}")
    rng = generator(seed, "corruption", name, severity, identity)
    image_HWC = pixels_HWC.astype(np.float32) / np.float32(255)
    changed_HWC = _FUNCTIONS[name](image_HWC, TABLE[name][severity - 1], rng)
    rounded_HWC: NDArray[np.uint8] = np.rint(np.clip(changed_HWC, 0, 1) * 255).astype(np.uint8)
    return rounded_HWC


def _gaussian_noise(image_HWC: Image, level: tuple[float, ...], rng: Rng) -> Image:
    noise_HWC = rng.standard_normal(image_HWC.shape, dtype=np.float32)
    return image_HWC + np.float32(level[0]) * noise_HWC


def _shot_noise(image_HWC: Image, level: tuple[float, ...], rng: Rng) -> Image:
    return (rng.poisson(image_HWC * level[0]) / level[0]).astype(np.float32)


def _impulse_noise(image_HWC: Image, level: tuple[float, ...], rng: Rng) -> Image:
    draw_HWC = rng.random(image_HWC.shape)
    salted_HWC = np.where(draw_HWC < level[0] / 2, 0, np.where(draw_HWC < level[0], 1, image_HWC))
    return salted_HWC.astype(np.float32)


def _defocus_blur(image_HWC: Image, level: tuple[float, ...], _: Rng) -> Image:
    radius = level[0] * min(image_HWC.shape[:2]) / SIDE
    along = (np.arange(128) + 0.5) / 64 - 1
    x, y = (part.ravel() * radius for part in np.meshgrid(along, along))
    inside = x * x + y * y <= radius * radius
    return _filtered(image_HWC, x[inside], y[inside], np.ones(int(inside.sum())))


def _motion_blur(image_HWC: Image, level: tuple[float, ...], rng: Rng) -> Image:
    reach, spread = (value * min(image_HWC.shape[:2]) / SIDE for value in level)
    angle = np.deg2rad(rng.uniform(-45, 45))
    along = np.linspace(-reach, reach, 257)
    return _filtered(image_HWC, along * np.cos(angle), along * np.sin(angle), np.exp(-(along**2) / (2 * spread**2)))


def _filtered(image_HWC: Image, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> Image:
    """Convolve with weighted points, each shared among its four nearest pixels; the border is mirrored."""
    reach = int(np.ceil(max(np.abs(x).max(), np.abs(y).max()))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for below in (0, 1):
            share = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            np.add.at(kernel, (top + below + reach, left + right + reach), weight * share)
    blurred = cv2.filter2D(image_HWC, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32).reshape(image_HWC.shape)


def _fog(image_HWC: Image, level: tuple[float, ...], rng: Rng) -> Image:
    amount, decay = level
    height, width = image_HWC.shape[:2]
    plasma_HW = np.zeros((height, width), dtype=np.float32)
    cells, share = 2, 1.0
    while cells <= max(height, width):
        coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
        plasma_HW += np.float32(share) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        cells, share = 2 * cells, share / decay
    plasma_HW -= plasma_HW.min()
    plasma_HW /= max(float(plasma_HW.max()), 1e-6)
    top = float(image_HWC.max())
    foggy_HWC = (image_HWC + np.float32(amount) * plasma_HW[..., None]) * np.float32(top / (top + amount))
    return np.asarray(foggy_HWC, dtype=np.float32)


def _brightness(image_HWC: Image, level: tuple[float, ...], _: Rng) -> Image:
    value_HW1 = image_HWC.max(axis=2, keepdims=True)  # V of HSV; hue and saturation stay
    raised_HW1 = np.minimum(value_HW1 + np.float32(level[0]), 1)
    raised_HWC = np.where(value_HW1 > 0, image_HWC * raised_HW1 / np.maximum(value_HW1, 1e-6), raised_HW1)
    return np.asarray(raised_HWC, dtype=np.float32)


def _contrast(image_HWC: Image, level: tuple[float, ...], _: Rng) -> Image:
    mean_C = image_HWC.mean(axis=(0, 1), keepdims=True)
    return np.asarray((image_HWC - mean_C) * np.float32(level[0]) + mean_C, dtype=np.float32)


def _jpeg_compression(image_HWC: Image, level: tuple[float, ...], _: Rng) -> Image:
    pixels_HWC = np.rint(image_HWC * 255).astype(np.uint8)
    colour = pixels_HWC.shape[2] == 3
    source = cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR) if colour else pixels_HWC
    code = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, int(level[0])])[1]
    read = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE))
    decoded = np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB) if colour else read)
    return decoded.reshape(image_HWC.shape).astype(np.float32) / np.float32(255)


def _pixelate(image_HWC: Image, level: tuple[float, ...], _: Rng) -> Image:
    height, width = image_HWC.shape[:2]
    small = cv2.resize(image_HWC, (max(1, int(width * level[0])), max(1, int(height * level[0]))), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(coarse, dtype=np.float32).reshape(image_HWC.shape)


_FUNCTIONS: dict[str, Callable[[Image, tuple[float, ...], Rng], Image]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "jpeg_compression": _jpeg_compression,
    "pixelate": _pixelate,
}
