"""Assign every sample to train, validation or test. Overlap is a hard stop, and so is a class that a split lacks."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Splitter
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.pictures import BLUE, GREEN, ORANGE, figure, save
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples
from pipeline.core.table import write_csv

SPLITS = ("train", "val", "test")
COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}
BINS = 5  # strata of a real-valued target
DPI = 110


def run(cfg: dict[str, Any], out: Path, *, ingest: Path) -> str:
    """Publish `split.json`, `statistics.json` of the train split, `table.csv` and a strip of where the splits lie.

    Args:
        cfg: `splitter` and `seed`.
        out: where to write.
        ingest: the samples.

    Raises:
        PersonError: samples or groups on both sides, or a class or a split without samples.
    """
    samples = open_samples(ingest)
    card = read_json(ingest / "card.json")
    columns = samples.columns
    splitter: Splitter = build(cfg["splitter"])
    strata = strata_of(columns, card)
    groups = [str(name) for name in columns["group"]]
    split = splitter.assign(strata=strata, groups=groups, order=columns["order"], seed=cfg["seed"])
    check_split(split, columns, card, keeps_groups=splitter.keeps_groups)
    ids = np.asarray(samples.ids)
    write_json(out / "split.json", {name: ids[split == name].tolist() for name in SPLITS})
    write_json(out / "statistics.json", statistics(samples, np.flatnonzero(split == "train")))
    write_csv(out / "table.csv", ["id", "name", "split", "label", "target", "group", "order"], _rows(split, columns, card))
    _strip(split, columns["order"], out / "strip.png")
    return write_section(out, _section(cfg["splitter"], split, columns, card))


def strata_of(columns: dict[str, NDArray[Any]], card: dict[str, Any]) -> NDArray[np.int64]:
    """Class of each sample, or its quantile bin of the target where the data has no classes."""
    if card["classes"]:
        return columns["label"].astype(np.int64)
    target = columns["target"].astype(np.float64)
    edges = np.unique(np.quantile(target, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, target, side="right").astype(np.int64)


def check_split(split: NDArray[np.str_], columns: dict[str, NDArray[Any]], card: dict[str, Any], *, keeps_groups: bool) -> None:
    """Hold a splitter's answer against the laws.

    Raises:
        PersonError: what is wrong, with names and counts, and the remedy.
    """
    ids = columns["id"].tolist()
    if len(split) != len(ids) or not set(split.tolist()) <= set(SPLITS):
        raise PersonError(
            f"the splitter must name one of {', '.join(SPLITS)} for each of {len(ids)} samples: received "
            f"{len(split)} names, {', '.join(sorted(set(split.tolist())))}"
        )
    twice = [identity for identity, count in Counter(ids).items() if count > 1]
    if twice:
        names = ", ".join(columns["name"][[place for place, identity in enumerate(ids) if identity == twice[0]]].tolist())
        raise PersonError(
            f"{len(twice)} samples are stored more than once and could stand on both sides, for example {names}: "
            f"run  dvc repro -f ingest"
        )
    for name in SPLITS:
        if not (split == name).any():
            raise PersonError(
                f"the {name} split is empty: {len(ids)} samples are too few for this splitter, or its shares are too small"
            )
    shared = parted_groups(split, columns["group"])
    if keeps_groups and shared:
        raise PersonError(
            f"{len(shared)} groups stand on both sides of the split, for example {shared[0]!r}: "
            f"the splitter breaks its promise to keep groups"
        )
    for number, kind in enumerate(card["classes"]):
        for name in SPLITS:
            if not ((columns["label"] == number) & (split == name)).any():
                told = ", ".join(f"{each} {int(((columns['label'] == number) & (split == each)).sum())}" for each in SPLITS)
                raise PersonError(
                    f"the class {kind!r} is missing in the {name} split ({told}): add samples of it, leave the class "
                    f"out, or use another splitter (stratified spreads each class; blocked has other folds)"
                )


def parted_groups(split: NDArray[np.str_], groups: NDArray[Any]) -> list[str]:
    """Groups with samples in more than one split, sorted."""
    sides: dict[str, set[str]] = {}
    for group, name in zip(groups.tolist(), split.tolist(), strict=True):
        if group:
            sides.setdefault(group, set()).add(name)
    return sorted(group for group, names in sides.items() if len(names) > 1)


def statistics(samples: Samples, places: NDArray[np.int64]) -> dict[str, Any]:
    """Mean and standard deviation of each channel over some samples, pixels in [0, 1].

    Counted in whole numbers, so that the result does not depend on the order of the samples.
    """
    channels = int(samples.columns["channels"][places[0]])
    histogram = np.zeros((channels, 256), dtype=np.int64)
    for place in places:
        pixels_HWC = samples.pixels(int(place))
        for channel in range(channels):
            histogram[channel] += np.bincount(pixels_HWC[..., channel].ravel(), minlength=256)
    levels = np.arange(256)
    total = histogram.sum(axis=1)
    mean = (histogram @ levels) / total
    variance = [
        float((counts * (levels - centre) ** 2).sum() / count)
        for counts, centre, count in zip(histogram, mean, total, strict=True)
    ]
    return {
        "mean": [float(value) / 255 for value in mean],
        "std": [math.sqrt(value) / 255 for value in variance],
        "samples": len(places),
    }


def _rows(split: NDArray[np.str_], columns: dict[str, NDArray[Any]], card: dict[str, Any]) -> list[list[object]]:
    def label(number: int) -> str:
        return card["classes"][number] if number >= 0 else ""

    def target(value: float) -> float | str:
        return "" if math.isnan(value) else round(value, 6)

    names = ("id", "name", "label", "target", "group", "order")
    table = zip(split.tolist(), *(columns[name].tolist() for name in names), strict=True)
    return [
        [identity, name, side, label(kind), target(value), group, order]
        for side, identity, name, kind, value, group, order in table
    ]


def _section(
    splitter: dict[str, Any], split: NDArray[np.str_], columns: dict[str, NDArray[Any]], card: dict[str, Any]
) -> Section:
    sizes = {name: int((split == name).sum()) for name in SPLITS}
    parted = parted_groups(split, columns["group"])
    option = str(splitter["_target_"]).rsplit(".", 2)[1]
    warning = (
        f"{len(parted)} of {card['groups']} groups stand in more than one split (splitter={option} does not keep groups): "
        "figures may be too good, because samples of a group are alike."
    )
    rows: list[list[Cell]] = [["all", *sizes.values()]]
    for number, kind in enumerate(card["classes"]):
        rows.append([kind, *(int(((columns["label"] == number) & (split == name)).sum()) for name in SPLITS)])
    if card["groups"]:
        rows.append(["groups", *(len(set(columns["group"][split == name].tolist()) - {""}) for name in SPLITS)])
    return Section(
        title="Split",
        summary=f"{sizes['train']:,} train, {sizes['val']:,} validation and {sizes['test']:,} test samples (splitter={option})",
        warnings=[warning] if parted else [],
        tables=[Table("Samples of each split", ["class", *SPLITS], rows)],
        pictures=[Picture("strip.png", "Where the splits lie in the order of the source.")],
    )


def _strip(split: NDArray[np.str_], order: NDArray[np.int64], path: Path) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    ordered = split[np.argsort(order, kind="stable")]
    colours = np.asarray([to_rgb(COLOURS[name]) for name in ordered])[None]
    fig = figure(7.5, 1.3)
    axes = fig.subplots()
    axes.imshow(colours, aspect="auto", interpolation="nearest", extent=(0, len(split), 0, 1))
    axes.set_yticks([])
    axes.set_xlabel("position in the source (samples)")
    named = {"train": "train", "val": "validation", "test": "test"}
    handles = [Patch(color=COLOURS[name], label=f"{named[name]} ({int((split == name).sum()):,})") for name in SPLITS]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    save(fig, path, DPI)
