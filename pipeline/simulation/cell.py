"""A healthy solar cell as an electroluminescence camera sees it, before optics and noise.

A forward-biased cell glows where carriers recombine radiatively; the light is
proportional to exp(V / V_T) and to the local diffusion length (Fuyuki et al. 2005, "Photographic surveying of minority carrier
diffusion length in polycrystalline silicon solar cells by electroluminescence"). So the scene is a product of factors in [0, 1]:
crystal (dislocations of multicrystalline silicon shorten the diffusion length), series resistance (V falls with the distance
from the nearest bus bar along a finger), metal that shades the light, and the wafer's outline.

S side of the square scene in pixels; fields are (S, S) float32, rows go down. Lengths are shares of the side.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.field import Field, blur, fractal, smooth, turn

PADS = 0.45  # light that comes from the pads of bars behind the cell


@dataclass(frozen=True)
class Grid:
    """The metal on a cell.

    Attributes:
        bars: height of each bus bar's centre, share of the side, from above.
        width: of a bus bar, share of the side.
        inset: where bars begin and end, share of the side from the edge.
        dashes: solder pads along a bar; 0 for a plain one.
        fingers: vertical lines along the side.
        metal: light that still comes from a bar, by scattering, share.
        back: the bars lie behind the cell, and only their dark pads show, at both edges.
    """

    bars: tuple[float, ...]
    width: float
    inset: float
    dashes: int
    fingers: int
    metal: float
    back: bool = False


@dataclass(frozen=True)
class Cell:
    """A healthy cell.

    Attributes:
        poly: multicrystalline, else monocrystalline.
        grid: its metal.
        light: glow of each pixel, share of the brightest; metal, outline and surroundings included.
        wafer: whether a pixel is silicon, float 0 to 1.
    """

    poly: bool
    grid: Grid
    light: Field
    wafer: Field


def draw_grid(rng: np.random.Generator, *, bars: int, fingers: int, poly: bool, back: float) -> Grid:
    """A metal grid with the proportions of the ELPV cells; `back` is the share of cells with their bars behind them."""
    first = {2: 0.255, 3: 0.165}.get(bars, 0.5 / bars) + rng.normal(0, 0.004)
    places = np.linspace(first, 1 - first - 0.005, bars) if bars > 1 else np.array([0.5])
    dashes = 0 if rng.random() < (0.8 if poly else 0.5) else int(rng.choice([3, 6, 7]))
    thick = rng.uniform(0.010, 0.024) if dashes == 0 else rng.uniform(0.016, 0.022)
    return Grid(
        bars=tuple(float(place) for place in places), width=float(thick), inset=float(rng.choice([0.0, 0.03, 0.065])),
        dashes=dashes, fingers=fingers, metal=float(rng.uniform(0.22, 0.65)), back=bool(rng.random() < back),
    )  # fmt: skip


def draw_cell(rng: np.random.Generator, *, side: int, poly: bool, grid: Grid, roughness: float) -> Cell:
    """Draw a healthy cell.

    Args:
        rng: of the draws.
        side: S.
        poly: multicrystalline.
        grid: its metal.
        roughness: strength of the crystal's texture; 1 is that of ELPV.
    """
    wafer = outline(rng, side, cut=not poly)
    crystal = multicrystal(rng, side, roughness) if poly else monocrystal(rng, side, roughness)
    surroundings = float(rng.uniform(0.2, 0.45))
    light = crystal * resistance(rng, side, grid) * metal(side, grid)
    light = light * wafer + surroundings * (1 - wafer)
    return Cell(poly=poly, grid=grid, light=light.astype(np.float32), wafer=wafer)


def outline(rng: np.random.Generator, side: int, *, cut: bool) -> Field:
    """1 on silicon, 0 beside it; the corners of a monocrystalline wafer, sawn from a round ingot, are cut."""
    margin = rng.uniform(0.006, 0.026, 4)
    y_S1, x_1S = axes(side)
    far = np.minimum(np.minimum(x_1S - margin[0], 1 - margin[1] - x_1S), np.minimum(y_S1 - margin[2], 1 - margin[3] - y_S1))
    if cut:
        chamfer = rng.uniform(0.085, 0.125)
        x_1S, y_S1 = x_1S - 0.5, y_S1 - 0.5
        far = np.minimum(far, (1 - chamfer - np.abs(x_1S) - np.abs(y_S1)) / np.sqrt(2))
    inside = np.asarray(np.clip(far * side + 0.5, 0, 1), np.float32)
    return blur(inside, rng.uniform(0.003, 0.009) * side)


def axes(side: int) -> tuple[Field, Field]:
    """Centres of the pixels as shares of the side: rows (S, 1) and columns (1, S)."""
    places = ((np.arange(side) + 0.5) / side).astype(np.float32)
    return places[:, None], places[None, :]


def monocrystal(rng: np.random.Generator, side: int, roughness: float) -> Field:
    """One crystal: no grains, only slow changes of the wafer, and now and then the rings that the ingot grew in."""
    field = 1 + roughness * (0.014 * fractal(rng, side, 2.0, 3) + 0.006 * smooth(rng, side, 60, stretch=rng.uniform(1, 8)))
    if rng.random() < 0.25:
        y_S1, x_1S = axes(side)
        middle = rng.normal(0.5, 0.05, 2)
        radius = np.sqrt((x_1S - middle[0]) ** 2 + (y_S1 - middle[1]) ** 2)
        field = field + roughness * 0.012 * np.cos(2 * np.pi * radius * rng.uniform(3, 7))
    return np.asarray(np.clip(field, 0.2, 1.2), np.float32)


def multicrystal(rng: np.random.Generator, side: int, roughness: float) -> Field:
    """Grains of slightly different light, with clusters of dislocations: dark, ragged, and drawn out along one direction."""
    grain = grains(rng, side, count=int(rng.integers(25, 70)))
    heading = float(rng.uniform(0, 180))
    ragged = turn(fractal(rng, side, rng.uniform(12, 30), 4, stretch=rng.uniform(1.0, 2.5)), heading)
    where = fractal(rng, side, rng.uniform(3.0, 8.0), 2)
    count = int(grain.max()) + 1
    prone = blur(rng.uniform(-0.9, 0.9, count).astype(np.float32)[grain], 0.012 * side)
    cluster = np.clip(0.9 * ragged + 0.65 * where + 0.7 * prone + rng.normal(-1.15, 0.6), 0, 1.8) / 1.8
    spots = np.clip(fractal(rng, side, rng.uniform(20, 44), 2) - rng.uniform(1.6, 2.6), 0, 1)
    cloud = turn(fractal(rng, side, rng.uniform(8, 26), 4, stretch=rng.uniform(1.0, 2.5)), heading)
    streak = smooth(rng, side, 45, stretch=rng.uniform(4, 10))
    shade = blur(rng.standard_normal(count).astype(np.float32)[grain], 0.008 * side)
    field = (1 - roughness * rng.uniform(0.15, 0.6) * cluster) * (1 - roughness * rng.uniform(0.15, 0.45) * spots)
    field *= 1 + roughness * (rng.uniform(0.015, 0.055) * cloud + rng.uniform(0.004, 0.02) * streak + 0.01 * shade)
    return np.asarray(np.clip(field, 0.15, 1.25), np.float32)


def grains(rng: np.random.Generator, side: int, *, count: int) -> NDArray[np.int64]:
    """Grain of each pixel, (S, S): cells of a Voronoi diagram with ragged borders."""
    seeds = rng.uniform(0, 1, (count, 2)).astype(np.float32)
    y_S1, x_1S = axes(side)
    x = x_1S + 0.03 * smooth(rng, side, 8)
    y = y_S1 + 0.03 * smooth(rng, side, 8)
    grain = np.zeros((side, side), np.int64)
    best = np.full((side, side), np.inf, np.float32)
    for number, (down, across) in enumerate(seeds):
        far = (x - across) ** 2 + (y - down) ** 2
        grain[far < best] = number
        best = np.minimum(best, far)
    return grain


def resistance(rng: np.random.Generator, side: int, grid: Grid) -> Field:
    """Light lost to the voltage drop along the fingers, and a slope over the cell.

    A finger whose current flows in evenly along its length a drops V by d (2a - d) at the distance d from its bar; a is half of
    the way to the next bar, or the way to the edge.
    """
    y_S1, x_1S = axes(side)
    bars = np.array(grid.bars)
    place = y_S1[:, 0]
    near = np.min(np.abs(place[:, None] - bars), axis=1)
    gap = float(np.min(np.diff(bars))) / 2 if len(bars) > 1 else 0.5
    length = np.where(place < bars[0], bars[0], np.where(place > bars[-1], 1 - bars[-1], gap))
    drop = np.clip(near * (2 * length - near), 0, None) / gap**2
    loss = rng.uniform(0.0, 0.28) * drop[:, None]
    slope = rng.normal(0, 0.07) * (x_1S - 0.5) + rng.normal(0, 0.07) * (y_S1 - 0.5)
    return np.asarray(1 - loss + slope, np.float32)


def metal(side: int, grid: Grid) -> Field:
    """Light let through by the metal: fingers cost a little everywhere, bars most of it."""
    _, x_1S = axes(side)
    finger = 1 - 0.02 * (0.5 + 0.5 * np.cos(2 * np.pi * x_1S * grid.fingers))
    bar = np.zeros((side, side), np.float32)
    scale = 16  # sub-pixel steps of the drawing routine
    for place in grid.bars:
        for edge in (0.012, 0.988) if grid.back else ():
            middle = (round(edge * side * scale), round(place * side * scale))
            size = (round(0.04 * side * scale), round(0.034 * side * scale))
            cv2.ellipse(bar, middle, size, 0, 0, 360, color=1.0, thickness=cv2.FILLED, shift=4)
        for left, right, width in () if grid.back else _pieces(grid):
            top, bottom = (round((place + step * width / 2) * side * scale) for step in (-1, 1))
            corners = ((round(left * side * scale), top), (round(right * side * scale), bottom))
            cv2.rectangle(bar, *corners, color=1.0, thickness=cv2.FILLED, shift=4)
    left_over = PADS if grid.back else grid.metal
    return np.asarray(finger * (1 - (1 - left_over) * blur(bar, 0.0025 * side)), np.float32)


def _pieces(grid: Grid) -> list[tuple[float, float, float]]:
    """Stretches of one bar: left, right, width. A thin line from edge to edge, a thick one inside it or a row of pads."""
    thin = (0.0, 1.0, 0.4 * grid.width)
    if grid.dashes == 0:
        return [thin, (grid.inset, 1 - grid.inset, grid.width)]
    pitch = (1 - 2 * grid.inset) / grid.dashes
    return [thin, *((grid.inset + (k + 0.2) * pitch, grid.inset + (k + 0.8) * pitch, grid.width) for k in range(grid.dashes))]
