"""Weather before the lens: snow, frost, fog, and bright light.

Layers of snow and frost are made at `filters.SIDE` pixels and brought to the image, so that they look alike at every size.
H height, W width, C channels; images are float32 in [0, 1].
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.corruption.filters import Image, Level, Rng, along, clouds, resized, scale

GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue, ITU-R BT.601
PANE = 256  # pixels of the pane on which ice grows
CRYSTALS = 70  # needles with branches on it
BRANCHES = 6  # pairs on a needle
ICE = (0.90, 0.96, 1.0)  # its colour


def snow(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Flakes: noise that is enlarged, thresholded and blurred along a steep line, twice; and a whiter scene.

    Level: mean and standard deviation of the noise, enlargement, threshold, reach and standard deviation of the streak, share of
    the scene that keeps its colours.
    """
    mean, spread, zoom, threshold, reach, blur, keep = level
    height, width = (round(length / scale(image_HWC)) for length in image_HWC.shape[:2])
    noise_HW1 = mean + spread * rng.standard_normal((height, width, 1), dtype=np.float32)
    angle = float(rng.uniform(-135, -45))
    rows, columns = (int(np.ceil(length / zoom)) for length in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    layer_HW1 = resized(noise_HW1[top : top + rows, left : left + columns], height, width)
    layer_HW1 = np.clip(np.where(layer_HW1 < threshold, 0, layer_HW1), 0, 1).astype(np.float32)
    flakes_HW1 = resized(along(layer_HW1, reach, blur, angle), *image_HWC.shape[:2])
    pale_HWC = np.maximum(image_HWC, _grey(image_HWC) * 1.5 + 0.5)
    scene_HWC = np.float32(keep) * image_HWC + np.float32(1 - keep) * pale_HWC
    return np.asarray(scene_HWC + flakes_HW1 + flakes_HW1[::-1, ::-1], dtype=np.float32)


def frost(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """The image behind a pane of ice: `level[0]` of the image and `level[1]` of the pane are added.

    The authors lay crops of six photographs over the image; these are not at hand, so the pane is drawn: clouded glass, and
    needles of ice whose branches leave them at 60 degrees.
    """
    keep, amount = level
    height, width = image_HWC.shape[:2]
    longer = max(height, width)
    ice_HW1 = resized(_pane(rng)[..., None], longer, longer)[:height, :width]
    colour_C = np.asarray(ICE if image_HWC.shape[2] == 3 else [1.0], dtype=np.float32)
    return np.asarray(np.float32(keep) * image_HWC + np.float32(amount) * ice_HW1 * colour_C, dtype=np.float32)


def fog(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Cloudy light is added and the sum brought back to the image's range: (x + a p) m / (m + a), m the largest value of x.

    The authors' clouds are made by diamond-square; these are a sum of octaves of interpolated noise.
    """
    amount, decay = level
    cloud_HW = clouds(image_HWC.shape[0], image_HWC.shape[1], decay, rng)
    top = float(image_HWC.max())
    foggy_HWC = (image_HWC + np.float32(amount) * cloud_HW[..., None]) * np.float32(top / (top + amount))
    return np.asarray(foggy_HWC, dtype=np.float32)


def brightness(image_HWC: Image, level: Level, _: Rng) -> Image:
    """Value of HSV, the largest channel, raised; hue and saturation stay."""
    value_HW1 = image_HWC.max(axis=2, keepdims=True)
    raised_HW1 = np.minimum(value_HW1 + np.float32(level[0]), 1)
    raised_HWC = np.where(value_HW1 > 0, image_HWC * raised_HW1 / np.maximum(value_HW1, 1e-6), raised_HW1)
    return np.asarray(raised_HWC, dtype=np.float32)


def _grey(image_HWC: Image) -> Image:
    if image_HWC.shape[2] == 3:
        return np.asarray(image_HWC @ np.asarray(GREY, dtype=np.float32), dtype=np.float32)[..., None]
    return np.asarray(image_HWC.mean(axis=2, keepdims=True), dtype=np.float32)


def _pane(rng: Rng) -> Image:
    """Ice (PANE, PANE) from 0 to 1."""
    lines = np.zeros((PANE, PANE), dtype=np.uint8)
    root_N2 = rng.uniform(0, PANE, (CRYSTALS, 2))
    heading_N, length_N = rng.uniform(0, 2 * np.pi, CRYSTALS), rng.uniform(0.1, 0.4, CRYSTALS) * PANE
    segments = [_segments(root_N2, heading_N, length_N)]
    for share in (np.arange(BRANCHES) + 1) / (BRANCHES + 1):
        foot_N2 = root_N2 + share * length_N[:, None] * np.stack([np.cos(heading_N), np.sin(heading_N)], axis=1)
        segments += [_segments(foot_N2, heading_N + turn, 0.5 * (1 - share) * length_N) for turn in (np.pi / 3, -np.pi / 3)]
    cv2.polylines(lines, list(np.concatenate(segments)), isClosed=False, color=255, thickness=1, lineType=cv2.LINE_AA)
    needles = cv2.GaussianBlur(lines, (0, 0), 0.8).astype(np.float32) / np.float32(255)
    return np.clip(np.float32(0.2) + np.float32(0.6) * clouds(PANE, PANE, 1.6, rng) + np.float32(0.7) * needles, 0, 1)


def _segments(root_N2: NDArray[np.float64], heading_N: NDArray[np.float64], length_N: NDArray[np.float64]) -> NDArray[np.int32]:
    """Lines (N, 2, 2) as OpenCV takes them."""
    tip_N2 = root_N2 + length_N[:, None] * np.stack([np.cos(heading_N), np.sin(heading_N)], axis=1)
    return np.asarray(np.rint(np.stack([root_N2, tip_N2], axis=1)), dtype=np.int32)
