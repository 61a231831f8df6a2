"""The pixels themselves as features: for toys, and as the floor that a network must beat."""

from typing import Any

import numpy as np

from pipeline.core.record import Floats
from pipeline.core.record import Pixels as Images


class Pixels:
    """Flattened pixels in [0, 1]."""

    def describe(self) -> dict[str, Any]:
        """Name and feature block."""
        return {"name": "pixels", "source": "the images themselves", "license": "", "weights_sha256": "", "features": []}

    def features(self, pixels_BHWC: Images) -> Floats:
        """(B, H * W * C) float32: row by row, channels last."""
        return (pixels_BHWC.reshape(len(pixels_BHWC), -1) / np.float32(255)).astype(np.float32)
