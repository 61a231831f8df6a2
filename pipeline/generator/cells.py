"""A simulator of electroluminescence photographs of solar cells with planted defects, whose masks are known.

It is not trained and sees no image of the data: what it knows are the physics and proportions in `pipeline/simulation`, and the
numbers of its yaml, some of which (named there) were set by the statistics of the ELPV cells.

S side of a scene, H height and W width of the photo, pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.contracts import Card
from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator
from pipeline.core.record import Sample
from pipeline.images.decode import sample_id
from pipeline.simulation import cell, defect
from pipeline.simulation.camera import Camera
from pipeline.simulation.field import Field

TRIES = 20  # draws of defects until one can be seen


@dataclass(frozen=True)
class Photo:
    """A rendered cell.

    Attributes:
        pixels_HW: uint8 grey levels.
        mask_HW: uint8 classes: 0 background, 1 crack, 2 inactive, 3 interrupted finger.
        exposed_HW: the image before noise, grey levels.
        healthy_HW: the same cell and exposure without its defects, before noise.
        text: what it shows, for people.
    """

    pixels_HW: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]
    exposed_HW: Field
    healthy_HW: Field
    text: str


class Cells:
    """Renders functional and defective cells of a card that has both classes.

    Args:
        functional: class of a cell without defects.
        defective: class of a cell with defects.
        target: name of the card's target that is highest for a defective cell; another target stays unknown.
        resolution: S, pixels; a photo is then brought to the size of the data.
        balance: share of defective cells, in (0, 1).
        poly: share of multicrystalline cells.
        bars: numbers of bus bars to draw from, each 1 to 6.
        back_contact: share of monocrystalline cells whose bus bars lie behind the cell.
        fingers: lines along a side.
        roughness: strength of the crystal's texture.
        level: mean light of a functional cell, share of full scale.
        level_spread: standard deviation of that mean over cells.
        dimming: share of its light that a defective cell loses as a whole.
        cracks: mean number of cracks beyond the first; 0 plants interrupted fingers alone.
        branching: probability of a branch, and of each further one.
        crack_depth: least and greatest share of the light that a crack takes.
        crack_reach: distance at which a crack's loss has fallen to 1/e, share of the side.
        shattered: probability that a blow has left many cracks about one place.
        inactive: probability that a piece that cracks cut off goes dark.
        interruptions: mean number of interrupted fingers in a defective cell.
        streaks: mean number of faint dark fingers in any cell; they are no defect and stand in no mask.
        blur: mean standard deviation of the point spread, share of the side; a photo has 0.5 to 2 times as much.
        vignetting: share of the light lost in the corners.
        electrons: of a fully bright pixel; sets the shot noise; a photo has 0.25 to 4 times as many.
        read_noise: standard deviation, grey levels.
        visible: share of its light that a pixel must lose to a defect, after blur, to stand in the mask.

    Raises:
        PersonError: a number out of range, or one class for both.
    """

    def __init__(
        self, *, functional: str, defective: str, target: str, resolution: int, balance: float, poly: float, bars: list[int],
        back_contact: float, fingers: int, roughness: float, level: float, level_spread: float, dimming: float, cracks: float,
        branching: float, crack_depth: list[float], crack_reach: float, shattered: float, inactive: float, interruptions: float,
        streaks: float, blur: float, vignetting: float, electrons: float, read_noise: float, visible: float,
    ) -> None:  # fmt: skip
        _check_shares(balance=balance, poly=poly, back_contact=back_contact, level=level, level_spread=level_spread,
                      dimming=dimming, branching=branching, crack_reach=crack_reach, shattered=shattered, inactive=inactive,
                      blur=blur, vignetting=vignetting, visible=visible)  # fmt: skip
        _check_lists(bars, crack_depth)
        if functional == defective:
            raise PersonError(f"generator.functional and generator.defective must be two classes: received {functional!r} twice")
        if resolution < 32 or fingers < 8 or electrons <= 0 or min(cracks, interruptions, streaks, read_noise, roughness) < 0:
            raise PersonError(
                "generator.resolution must be at least 32, fingers 8, electrons above 0, and cracks, interruptions, streaks, "
                f"read_noise, roughness not negative: received {resolution}, {fingers}, {electrons}, {cracks}, {interruptions}, "
                f"{streaks}, {read_noise}, {roughness}"
            )
        self.functional, self.defective, self.target = functional, defective, target
        self.resolution, self.balance, self.poly, self.bars, self.fingers = resolution, balance, poly, list(bars), fingers
        self.back_contact = back_contact
        self.level, self.level_spread, self.dimming, self.roughness = level, level_spread, dimming, roughness
        self.streaks, self.visible = streaks, visible
        low, high = crack_depth
        self.recipe = defect.Recipe(cracks, branching, (low, high), crack_reach, shattered, inactive, interruptions)
        self.camera = Camera(blur, vignetting, electrons, read_noise)

    def simulate(self, card: Card, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        """Samples at the size of the data; sample i depends on the arguments, the state of the rng and i, not on `count`.

        Both classes come in turn, so that every stretch of samples has its share of each.

        Raises:
            PersonError: the card has neither the two classes nor the target.
        """
        labels, targets, key = self.labels(card), self.targets(card), int(rng.integers(2**62))
        for number in range(count):
            bad = math.floor((number + 1) * self.balance) > math.floor(number * self.balance)
            photo = self.photo(generator(key, "cell", number), defective=bad, size=(card["height"], card["width"]))
            pixels_HWC = np.repeat(photo.pixels_HW[:, :, None], card["channels"], axis=2)
            yield Sample(
                id=sample_id(pixels_HWC), pixels_HWC=pixels_HWC, label=labels[bad], target=targets[bad], order=number,
                name=f"simulated {number}: {photo.text}", origin="synthetic", mask_HW=photo.mask_HW,
            )  # fmt: skip

    def photo(self, rng: np.random.Generator, *, defective: bool, size: tuple[int, int]) -> Photo:
        """One cell, brought to a height and width in pixels.

        Raises:
            PersonError: at this size no defect can be seen.
        """
        side, poly = self.resolution, bool(rng.random() < self.poly)
        camera = replace(
            self.camera, blur=self.camera.blur * float(rng.uniform(0.5, 2.0)),
            electrons=self.camera.electrons * float(np.exp(rng.uniform(-1.4, 1.4))),
        )  # fmt: skip
        number = int(rng.choice(self.bars)) if poly else max(self.bars)
        back = 0.0 if poly else self.back_contact
        grid = cell.draw_grid(rng, bars=number, fingers=self.fingers, poly=poly, back=back)
        healthy = cell.draw_cell(rng, side=side, poly=poly, grid=grid, roughness=self.roughness)
        streak = defect.finger_factor(rng, healthy, int(rng.poisson(self.streaks)), depth=(0.02, 0.10))
        light = healthy.light * defect.on_wafer(streak, healthy)
        whole = light / max(float(light[healthy.wafer > 0.5].mean()), 1e-6)
        level = float(np.clip(rng.normal(self.level, self.level_spread), 0.25, 0.95))
        wounds, mask_HW = defect.none(side), np.zeros(size, np.uint8)
        if defective:
            level *= 1 - self.dimming * float(rng.uniform(0, 2))
            wounds, mask_HW = self._seen(rng, healthy, camera, whole=whole, size=size)
        hurt = whole * np.prod(list(wounds.factors.values()), axis=0)
        exposed, unhurt = camera.expose(hurt, level), camera.expose(whole, level)
        pixels_HW = levels(fit(camera.develop(exposed, rng), size))
        return Photo(pixels_HW, mask_HW, fit(exposed, size), fit(unhurt, size), _text(wounds, poly=poly))

    def _seen(
        self, rng: np.random.Generator, healthy: cell.Cell, camera: Camera, *, whole: Field, size: tuple[int, int]
    ) -> tuple[defect.Wounds, NDArray[np.uint8]]:
        """Defects of which at least one can be seen, and their mask: a cell without a visible defect would be mislabelled."""
        for _ in range(TRIES):
            wounds = defect.draw_wounds(rng, healthy, self.recipe)
            mask_HW = self._mask(camera, whole, wounds, size=size)
            if mask_HW.any():
                return wounds, mask_HW
        raise PersonError(
            f"generator=cells: at {size[0]} x {size[1]} pixels no defect takes generator.visible = {self.visible} of the light: "
            f"raise ingest.height and ingest.width or generator.crack_depth, lower generator.visible, or set generator=none"
        )

    def labels(self, card: Card) -> tuple[int, int]:
        """Class index of a functional and of a defective cell; -1 where the card has no classes.

        Raises:
            PersonError: the card lacks one of the two, and says which it has.
        """
        classes = list(card["classes"])
        if not classes:
            return -1, -1
        for key, name in (("functional", self.functional), ("defective", self.defective)):
            if name not in classes:
                raise PersonError(f"generator.{key}: the data has no class {name!r}: {near_match(name, classes)}; name the class "
                                  f"that a simulated cell {'with' if key == 'defective' else 'without'} defects belongs to, "
                                  f"or set generator=none")  # fmt: skip
        return classes.index(self.functional), classes.index(self.defective)

    def targets(self, card: Card) -> tuple[float, float]:
        """Target of a functional and of a defective cell; NaN where the card's target means something else.

        Raises:
            PersonError: the card has no classes either, so that a simulated cell would have no truth at all.
        """
        goal = card.get("target")
        if goal and goal["name"] == self.target:
            return float(goal["low"]), float(goal["high"])
        if not card["classes"]:
            raise PersonError(f"generator.target: the data has no classes, and its target is {goal and goal['name']!r}, not "
                              f"{self.target!r}: this simulator cannot label a cell of it; set generator=none")  # fmt: skip
        return float("nan"), float("nan")

    def _mask(self, camera: Camera, whole: Field, wounds: defect.Wounds, *, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Class of each pixel that lost a visible share of its light to a defect; a crack comes before a piece, a finger last."""
        clean = fit(camera.expose(whole, 1.0), size)
        mask_HW = np.zeros(size, np.uint8)
        for kind in (defect.FINGER, defect.INACTIVE, defect.CRACK):
            if wounds.counts[kind]:
                left = fit(camera.expose(whole * wounds.factors[kind], 1.0), size)
                mask_HW[left < (1 - self.visible) * clean] = kind
        return mask_HW


def fit(image: Field, size: tuple[int, int]) -> Field:
    """Bring an image to a height and width: averages over areas when shrinking, cubic when growing."""
    height, width = size
    if image.shape == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    sized: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(sized, np.float32)


def levels(image: Field) -> NDArray[np.uint8]:
    """Whole grey levels from 0 to 255."""
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def _text(wounds: defect.Wounds, *, poly: bool) -> str:
    named = {defect.CRACK: "crack paths", defect.INACTIVE: "inactive pieces", defect.FINGER: "interrupted fingers"}
    found = [f"{wounds.counts[kind]} {name}" for kind, name in named.items() if wounds.counts[kind]]
    return ", ".join(["poly" if poly else "mono", *(found or ["no defect"])])


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1 or (name in ("balance", "level", "crack_reach", "visible") and share in (0, 1)):
            raise PersonError(f"generator.{name} must be a share between 0 and 1: received {share}")


def _check_lists(bars: list[int], crack_depth: list[float]) -> None:
    if not bars or min(bars) < 1 or max(bars) > 6:
        raise PersonError(f"generator.bars must list numbers of bus bars, each 1 to 6: received {bars}")
    if len(crack_depth) != 2 or not 0 < crack_depth[0] <= crack_depth[1] < 1:
        raise PersonError(f"generator.crack_depth must be two ascending shares between 0 and 1: received {crack_depth}")
