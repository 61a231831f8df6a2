"""From light to grey levels: vignetting, blur, shot noise and read noise of a camera. S side of the scene in pixels."""

from dataclasses import dataclass

import numpy as np

from pipeline.simulation.cell import axes
from pipeline.simulation.field import Field, blur

SMOOTHED = 0.7  # standard deviation of what resizing does to the noise, pixels


@dataclass(frozen=True)
class Camera:
    """A camera in front of a cell.

    Attributes:
        blur: standard deviation of the point spread, share of the side.
        vignetting: share of the light that is lost in the corners.
        electrons: that a fully bright pixel collects; shot noise is their square root.
        read_noise: standard deviation of the reading, grey levels of 255.
    """

    blur: float
    vignetting: float
    electrons: float
    read_noise: float

    def expose(self, light: Field, level: float) -> Field:
        """Noise-free image in grey levels of 255: blurred, vignetted, scaled so that light 1 gives `level`."""
        side = len(light)
        y_S1, x_1S = axes(side)
        corner = 2 * ((x_1S - 0.5) ** 2 + (y_S1 - 0.5) ** 2)
        exposed = 255 * level * blur(light, self.blur * side) * (1 - self.vignetting * corner**2)
        return np.asarray(exposed, np.float32)

    def develop(self, image: Field, rng: np.random.Generator) -> Field:
        """Add noise. Photos are straightened and resized after they are taken, so noise is a little smooth."""
        shot = np.sqrt(np.clip(image, 0, None) * 255 / self.electrons)
        grain = blur(rng.standard_normal(image.shape, dtype=np.float32), SMOOTHED)
        noise = grain / max(float(grain.std()), 1e-6) * np.sqrt(shot**2 + self.read_noise**2)
        return np.asarray(image + noise, np.float32)
