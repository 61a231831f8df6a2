"""What software does to images: contrast, elastic warps, coarse pixels, JPEG.

H height, W width, C channels; images are float32 in [0, 1].
"""

import cv2
import numpy as np

from pipeline.corruption.filters import Image, Level, Rng, by_planes, gaussian, places, scale, warped

CORNERS = ((1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))  # of a square about the centre that the affine part moves


def contrast(image_HWC: Image, level: Level, _: Rng) -> Image:
    """So much of each channel's difference from its mean is left."""
    mean_C = image_HWC.mean(axis=(0, 1), keepdims=True)
    return np.asarray((image_HWC - mean_C) * np.float32(level[0]) + mean_C, dtype=np.float32)


def elastic_transform(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """A small affine warp and a smooth random field of displacements.

    Source: Simard, Steinkraus and Platt 2003, Best practices for convolutional neural networks applied to visual document
    analysis, section 2; the affine part as in the authors' code. Level: root mean square of the field, its grain (standard
    deviation of the Gaussian that smooths it) and the largest shift of a corner, pixels at `filters.SIDE`.
    """
    strength, grain, corner = (value * scale(image_HWC) for value in level)
    height, width = image_HWC.shape[:2]
    x_HW, y_HW = places(image_HWC)
    third = min(height, width) / 3
    source = np.asarray([[width / 2 + third * x, height / 2 + third * y] for x, y in CORNERS], dtype=np.float32)
    target = source + np.float32(corner) * rng.uniform(-1, 1, source.shape).astype(np.float32)
    turn = cv2.getAffineTransform(source, target).astype(np.float32)
    field_HW2 = gaussian(rng.uniform(-1, 1, (height, width, 2)).astype(np.float32), grain)
    field_HW2 *= np.float32(strength / max(float(np.sqrt(np.mean(field_HW2**2))), 1e-9))
    along_x = turn[0, 0] * x_HW + turn[0, 1] * y_HW + turn[0, 2] + field_HW2[..., 0]
    along_y = turn[1, 0] * x_HW + turn[1, 1] * y_HW + turn[1, 2] + field_HW2[..., 1]
    return warped(image_HWC, along_x.astype(np.float32), along_y.astype(np.float32))


def pixelate(image_HWC: Image, level: Level, _: Rng) -> Image:
    """A share of the side is kept by means of areas, and shown in blocks."""
    height, width = image_HWC.shape[:2]
    size = max(1, int(width * level[0])), max(1, int(height * level[0]))
    small_HWC = by_planes(image_HWC, lambda part: cv2.resize(part, size, interpolation=cv2.INTER_AREA))
    return by_planes(small_HWC, lambda part: cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def jpeg_compression(image_HWC: Image, level: Level, _: Rng) -> Image:
    """Written and read as JPEG of a quality; three channels as colour, others each as grey."""
    pixels_HWC = np.rint(image_HWC * 255).astype(np.uint8)
    if pixels_HWC.shape[2] == 3:
        parts = [_coded(cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR), int(level[0]), cv2.IMREAD_COLOR)]
        decoded_HWC = cv2.cvtColor(parts[0], cv2.COLOR_BGR2RGB)
    else:
        planes = [np.ascontiguousarray(pixels_HWC[..., c]) for c in range(pixels_HWC.shape[2])]
        decoded_HWC = np.stack([_coded(plane, int(level[0]), cv2.IMREAD_GRAYSCALE) for plane in planes], axis=2)
    return np.asarray(decoded_HWC, dtype=np.float32) / np.float32(255)


def _coded(pixels: np.ndarray, quality: int, way: int) -> np.ndarray:
    code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(code, way))
