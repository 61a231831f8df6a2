"""Defects of a solar cell, planted so that the truth is known: cracks, pieces that cracks cut off, interrupted fingers.

Each is a factor (S, S) in (0, 1] that multiplies the light of the healthy cell. Cracks of monocrystalline silicon follow its
cleavage planes, which lie at 45 degrees to the edges of the usual wafer; those of multicrystalline silicon wander. A crack is
dark because carriers recombine at its two faces: the loss falls off as exp(-distance / diffusion length). A piece without a way
for the current to the bus bars stays dark as a whole, striped by the fingers that still bridge the crack (Köntges et al. 2011,
"The risk of power loss in crystalline silicon based photovoltaic modules due to micro-cracks").

S side of the scene in pixels; lengths are shares of the side.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.cell import Cell, axes
from pipeline.simulation.field import Field, blur, smooth

KINDS = CRACK, INACTIVE, FINGER = 1, 2, 3  # classes of the mask; 0 is background
Path2 = NDArray[np.float64]
STEP = 0.015  # length of one piece of a crack
STEPS = 100  # the longest crack has as many
CUT = 0.12  # share of a piece's border that cracks must make up for it to be cut off
SMALLEST, LARGEST = 0.004, 0.16  # area of a piece that can go dark


@dataclass(frozen=True)
class Wounds:
    """What is wrong with a cell: the factor of each kind of defect, and how many there are of it.

    Attributes:
        factors: class of the mask -> (S, S) in (0, 1].
        counts: class of the mask -> number.
    """

    factors: dict[int, Field]
    counts: dict[int, int]


@dataclass(frozen=True)
class Recipe:
    """How defects are drawn.

    Attributes:
        cracks: mean number of cracks beyond the first.
        branching: probability that a crack has a branch, and that a branch has one.
        depth: least and greatest share of the light that a crack takes.
        reach: distance at which a crack's loss has fallen to 1/e, share of the side.
        shattered: probability that a blow has left many cracks about one place.
        inactive: probability that a piece that cracks cut off goes dark.
        interruptions: mean number of interrupted fingers.
    """

    cracks: float
    branching: float
    depth: tuple[float, float]
    reach: float
    shattered: float
    inactive: float
    interruptions: float


def none(side: int) -> Wounds:
    """Nothing is wrong."""
    return Wounds({kind: np.ones((side, side), np.float32) for kind in KINDS}, dict.fromkeys(KINDS, 0))


def draw_wounds(rng: np.random.Generator, cell: Cell, recipe: Recipe) -> Wounds:
    """Draw defects: at least one crack, or one interrupted finger where `recipe.cracks` is 0."""
    side = len(cell.light)
    paths: list[Path2] = []
    if recipe.cracks > 0:
        for _ in range(1 + int(rng.poisson(recipe.cracks))):
            paths += draw_crack(rng, poly=cell.poly, branching=recipe.branching)
        if rng.random() < recipe.shattered:
            paths += shatter(rng, poly=cell.poly)
    crack = crack_factor(rng, paths, side=side, depth=recipe.depth, reach=recipe.reach)
    dark, pieces = inactive_factor(rng, cell, paths, chance=recipe.inactive)
    number = int(rng.poisson(recipe.interruptions)) + (not paths)
    finger = finger_factor(rng, cell, number, depth=(0.12, 0.4))
    factors = {kind: on_wafer(factor, cell) for kind, factor in zip(KINDS, (crack, dark, finger), strict=True)}
    return Wounds(factors, dict(zip(KINDS, (len(paths), pieces, number), strict=True)))


def on_wafer(factor: Field, cell: Cell) -> Field:
    """The factor on silicon, 1 beside it."""
    kept: Field = 1 - (1 - factor) * cell.wafer
    return kept


def draw_crack(rng: np.random.Generator, *, poly: bool, branching: float) -> list[Path2]:
    """A crack and its branches: polylines (points, 2) of (x, y), shares of the side. It starts inside and may leave the cell."""
    start = rng.uniform(0.06, 0.94, 2)
    heading = float(rng.uniform(0, 2 * np.pi)) if poly else cleavage(rng)
    paths = [walk(rng, start, heading, poly=poly, steps=int(rng.integers(8, STEPS)))]
    while len(paths) < 12 and rng.random() < branching:
        trunk = paths[int(rng.integers(len(paths)))]
        place = int(rng.integers(len(trunk) - 1))
        way = np.arctan2(*(trunk[place + 1] - trunk[place])[::-1])
        away = float(rng.uniform(0.3, 1.3) * rng.choice([-1, 1])) if poly else np.pi / 2 * float(rng.choice([-1, 1]))
        paths.append(walk(rng, trunk[place], way + away, poly=poly, steps=int(rng.integers(6, STEPS // 2))))
    return paths


def cleavage(rng: np.random.Generator) -> float:
    """A direction of easy cleavage: 45 degrees to the edges, one in twelve along them, with some degrees of scatter."""
    quarter = float(rng.integers(4)) * np.pi / 2
    return quarter + (0.0 if rng.random() < 1 / 12 else np.pi / 4) + float(rng.normal(0, 0.07))


def shatter(rng: np.random.Generator, *, poly: bool) -> list[Path2]:
    """Many cracks about one place, as a blow leaves them: crossing bundles in one crystal, a star in many grains."""
    middle, count = rng.uniform(0.2, 0.8, 2), int(rng.integers(8, 24))
    paths = []
    for number in range(count):
        start = middle + rng.normal(0, 0.02 if poly else 0.11, 2)
        heading = 2 * np.pi * number / count if poly else cleavage(rng)
        paths.append(walk(rng, start, heading + float(rng.normal(0, 0.1)) * poly, poly=poly, steps=int(rng.integers(8, 40))))
    return paths


def walk(rng: np.random.Generator, start: Path2, heading: float, *, poly: bool, steps: int) -> Path2:
    """A random walk whose direction is drawn back to a slowly drifting heading; it ends off the cell.

    Many grains: it drifts by 0.05 rad a step and jitters by 0.12 rad. One crystal: 0.012 and 0.01 rad.
    """
    drift, jitter = (0.05, 0.12) if poly else (0.012, 0.01)
    points = [np.asarray(start, np.float64)]
    for _ in range(steps):
        heading += float(rng.normal(0, drift))
        way = heading + float(rng.normal(0, jitter))
        points.append(points[-1] + STEP * np.array([np.cos(way), np.sin(way)]))
        if np.abs(points[-1] - 0.5).max() > 0.55:
            break
    return np.array(points)


def drawn(paths: list[Path2], side: int) -> NDArray[np.uint8]:
    """1 on the pixels that the paths run through, (S, S)."""
    canvas = np.zeros((side, side), np.uint8)
    for path in paths:
        points = np.round((path * side - 0.5) * 16).astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=1, thickness=1, shift=4)
    return canvas


def crack_factor(rng: np.random.Generator, paths: list[Path2], *, side: int, depth: tuple[float, float], reach: float) -> Field:
    """1 - depth exp(-d / reach), with a depth of its own for each crack that also changes along it."""
    factor = np.ones((side, side), np.float32)
    for path in paths:
        far = cv2.distanceTransform(1 - drawn([path], side), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        strength = rng.uniform(*depth) * np.clip(0.9 + 0.12 * smooth(rng, side, 8), 0.5, 1.15)
        wide = reach * side * rng.uniform(0.7, 1.5)
        factor = np.minimum(factor, 1 - np.clip(strength, 0, 0.97) * np.exp(-far / wide))
    return np.asarray(factor, np.float32)


def inactive_factor(rng: np.random.Generator, cell: Cell, paths: list[Path2], *, chance: float) -> tuple[Field, int]:
    """Pieces between cracks, bars and edges that are small enough go dark; the loss is striped along the fingers."""
    side = len(cell.light)
    factor = np.ones((side, side), np.float32)
    if not paths:
        return factor, 0
    walls = drawn(paths, side)
    for place in cell.grid.bars:
        walls[round(place * side)] = 1
    open_ = ((walls == 0) & (cell.wafer > 0.5)).astype(np.uint8)
    count, piece, facts, _ = cv2.connectedComponentsWithStats(open_, connectivity=4)
    crack, ring, dark = drawn(paths, side) > 0, np.ones((3, 3), np.uint8), 0
    for number in range(1, count):
        share = facts[number, cv2.CC_STAT_AREA] / side**2
        if not SMALLEST < share < LARGEST:
            continue
        inside = cv2.dilate((piece == number).astype(np.uint8), ring)
        border = (inside > 0) & (piece != number)
        if crack[border].mean() < CUT or rng.random() > chance:
            continue
        dark += 1
        loss = np.clip(rng.uniform(0.15, 0.85) * stripes(rng, cell), 0, 0.93)
        factor = np.minimum(factor, 1 - loss * blur(inside.astype(np.float32), 0.003 * side))
    return np.asarray(factor, np.float32), dark


def stripes(rng: np.random.Generator, cell: Cell) -> Field:
    """(1, S) about 1: how badly each finger still carries, smooth over neighbours."""
    side, lines = len(cell.light), cell.grid.fingers
    each = np.clip(1 + rng.uniform(0.02, 0.25) * np.repeat(rng.standard_normal(lines // 2 + 1), 2)[:lines], 0.3, 1.4)
    wide = cv2.resize(each[None].astype(np.float32), (side, 1), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide.reshape(1, side), np.float32)


def finger_factor(rng: np.random.Generator, cell: Cell, number: int, *, depth: tuple[float, float]) -> Field:
    """Interrupted fingers: from the break to half-way to the next bar or the edge, a strip along the finger is darker."""
    side = len(cell.light)
    y_S1, x_1S = axes(side)
    stops = np.array([0.0, *cell.grid.bars, 1.0])
    factor = np.ones((side, side), np.float32)
    for _ in range(number):
        band = int(rng.integers(len(stops) - 1))
        low, high = stops[band], stops[band + 1]
        span = (high - low) * rng.uniform(0.2, 0.95)
        top = low if rng.random() < 0.5 else high - span
        finger = (int(rng.integers(2, cell.grid.fingers - 2)) + 0.5) / cell.grid.fingers
        wide = rng.uniform(0.5, 1.2) / cell.grid.fingers
        along = np.clip((y_S1 - top) * side + 0.5, 0, 1) * np.clip((top + span - y_S1) * side + 0.5, 0, 1)
        across = np.exp(-(((x_1S - finger) / wide) ** 2))
        factor = factor * (1 - rng.uniform(*depth) * along * across)
    return np.asarray(factor, np.float32)
