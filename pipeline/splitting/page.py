"""What a split tells people: the table of every sample, what was left out and why, a strip, and the section of the report."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.pictures import BLUE, GREEN, ORANGE, RED, figure, save
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.table import write_csv
from pipeline.splitting.groups import SPLITS, Leak, parted

COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN, "": "#e5e7eb"}
NAMES = {"train": "train", "val": "validation", "test": "test"}
DPI = 110
LARGE = 0.2  # share of the samples above which one joined group makes the shares of a split wrong, and is warned of
SHOWN = 12  # left-out samples in the report; left_out.csv has all of them


@dataclass(frozen=True)
class Division:
    """A split of N samples and how it came about.

    Attributes:
        option: of conf/splitter.
        columns: of the store.
        card: of ingest.
        assigned: what the splitter said; "" for a sample that it leaves out.
        split: what holds; "" for every sample that is left out.
        leaks: samples that belong together with one of a more precious split.
        copies: equal images for which a person named several splits.
        reason: why leaks are kept, where they are.
        people: group that a person named, "" for none.
        joined: the same, joined with the near duplicates.
        clusters: sample id -> cluster of near duplicates.
        keeps_groups: whether the splitter does.
    """

    option: str
    columns: Mapping[str, NDArray[Any]] = field(repr=False)
    card: dict[str, Any]
    assigned: NDArray[np.str_]
    split: NDArray[np.str_]
    leaks: Sequence[Leak]
    copies: int
    reason: str
    people: Sequence[str]
    joined: Sequence[str]
    clusters: dict[str, str]
    keeps_groups: bool

    @cached_property
    def left_out(self) -> list[int]:
        """Places of the samples that stand in no split."""
        return [int(place) for place in np.flatnonzero(self.split == "")]

    @cached_property
    def kept(self) -> list[Leak]:
        """Leaks that are in the split all the same."""
        return [leak for leak in self.leaks if self.split[leak.place]]

    @cached_property
    def largest(self) -> tuple[str, int]:
        """Name and size of the largest group that near duplicates had a part in; ("", 0) where there are none."""
        pairs = zip(self.joined, self.columns["id"].tolist(), strict=True)
        touched = {name for name, identity in pairs if identity in self.clusters}
        sizes = Counter(name for name in self.joined if name in touched)
        return max(sizes.items(), key=lambda entry: (entry[1], entry[0])) if sizes else ("", 0)

    @property
    def because(self) -> str:
        """What near duplicates have to do with a split that lacks something, for the end of an error."""
        if self.leaks and self.left_out:
            return f" ({len(self.left_out)} near duplicates were left out)"
        if self.keeps_groups and self.largest[1] > LARGE * len(self.joined):
            return (
                f" (near duplicates join {self.largest[1]} of {len(self.joined)} samples into one group: look at data/quality, "
                "be stricter there about what is one, or use a splitter that leaves them out, such as stable)"
            )
        return ""


def write_page(out: Path, it: Division) -> str:
    """Write `table.csv`, `left_out.csv`, `strip.png` and the section; return its summary."""
    write_csv(out / "table.csv", ["id", "name", "split", "label", "target", "group", "cluster", "order"], _rows(it))
    reasons = _reasons(it)
    write_csv(out / "left_out.csv", ["id", "name", "assigned", "reason", "other_id", "other_name", "other_split"], reasons)
    _strip(it, out / "strip.png")
    sizes = {name: int((it.split == name).sum()) for name in SPLITS}
    told = f"{sizes['train']:,} train, {sizes['val']:,} validation and {sizes['test']:,} test samples"
    aside = f", {len(it.left_out):,} left out" if it.left_out else ""
    tables = [_sizes(it)]
    if reasons:
        shown: list[list[Cell]] = [[row[1], NAMES.get(row[2], "none"), row[3], row[5] or None] for row in reasons[:SHOWN]]
        caption = f"Samples that were left out ({len(shown)} of {len(reasons):,}; all of them in left_out.csv)"
        tables.append(Table(caption, ["sample", "would be in", "reason", "because of"], shown))
    return write_section(out, Section(
        title="Split",
        summary=f"{told}{aside} (splitter={it.option})",
        text=_joins(it),
        warnings=_warnings(it),
        tables=tables,
        pictures=[Picture("strip.png", "Where the splits lie in the order of the source.")],
    ))  # fmt: skip


def _rows(it: Division) -> list[list[object]]:
    def label(number: int) -> str:
        return it.card["classes"][number] if number >= 0 else ""

    def target(value: float) -> float | str:
        return "" if math.isnan(value) else round(value, 6)

    names = ("id", "name", "label", "target", "group", "order")
    table = zip(it.split.tolist(), *(it.columns[name].tolist() for name in names), strict=True)
    return [
        [identity, name, side, label(kind), target(value), group, it.clusters.get(identity, ""), order]
        for side, identity, name, kind, value, group, order in table
    ]


def _reasons(it: Division) -> list[list[str]]:
    """A row for each sample that was left out: id, name, assigned split, reason, and the sample that it belongs to."""
    ids, names = it.columns["id"].tolist(), it.columns["name"].tolist()
    leaks = {leak.place: leak for leak in it.leaks}
    rows = []
    for place in it.left_out:
        leak = leaks.get(place)
        if leak is None:
            rows.append([ids[place], names[place], "", "between two splits", "", "", ""])
        else:
            other = [ids[leak.other], names[leak.other], str(it.assigned[leak.other])]
            rows.append([ids[place], names[place], leak.side, f"{leak.unit}, also in {NAMES[other[2]]}", *other])
    return rows


def _sizes(it: Division) -> Table:
    """Samples, and groups, of each class in each split."""
    sides = [*SPLITS, *([""] if it.left_out else [])]
    rows: list[list[Cell]] = [["all", *(int((it.split == side).sum()) for side in sides)]]
    for number, kind in enumerate(it.card["classes"]):
        rows.append([kind, *(int(((it.columns["label"] == number) & (it.split == side)).sum()) for side in sides)])
    if any(it.people):
        groups = np.asarray(it.people, dtype=object)
        rows.append(["groups", *(len(set(groups[it.split == side].tolist()) - {""}) for side in sides)])
    return Table("Samples of each split", ["class", *(side or "left out" for side in sides)], rows)


def _joins(it: Division) -> list[str]:
    """What near duplicates join, in words."""
    if not it.clusters:
        return []
    largest, size = it.largest
    told = (
        f"{len(it.clusters):,} samples have near duplicates, in {len(set(it.clusters.values())):,} clusters. Joined with the "
        f"groups of the data they make {len(set(it.joined) - {''}):,} groups; the largest with a near duplicate "
        f"({_short(largest)}) holds {size:,} of {len(it.joined):,} samples."
    )
    return [told]


def _warnings(it: Division) -> list[str]:
    warnings = []
    if it.copies:
        warnings.append(f"{it.copies:,} times the data names two splits for one image; it stands in the later one alone.")
    dropped = [leak for leak in it.leaks if not it.split[leak.place]]
    if dropped:
        sides = Counter(leak.side for leak in dropped)
        told = " and ".join(f"{sides[name]:,} {NAMES[name]}" for name in ("train", "val") if sides[name])
        warnings.append(
            f"{told} samples were left out, because they belong together with samples of a later split "
            f"(splitter={it.option} does not keep near duplicates together)."
        )
    if it.kept:
        warnings.append(
            f"{len(it.kept):,} samples belong together with samples of a later split and were kept: figures may be too good. "
            f"Reason given: {it.reason}"
        )
    if it.keeps_groups and it.largest[1] > LARGE * len(it.joined):
        warnings.append(
            f"Near duplicates join {it.largest[1]:,} of {len(it.joined):,} samples into one group ({_short(it.largest[0])}), "
            "which goes whole to one side: the shares of the splits may be far from those asked for."
        )
    cut = parted(it.split.tolist(), it.people)
    if cut:
        warnings.append(
            f"{len(cut)} of {len(set(it.people) - {''})} groups stand in more than one split (splitter={it.option} does not keep "
            "groups): figures may be too good, because samples of a group are alike."
        )
    return warnings


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."


def _strip(it: Division, path: Path) -> None:
    """The splits in the order of the source, with a mark under each sample that was left out."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    total = len(it.split)
    rank = np.argsort(it.columns["order"], kind="stable")
    shown = np.where(it.split == "", it.assigned, it.split)[rank]
    colours = np.asarray([to_rgb(COLOURS[str(name)]) for name in shown])[None]
    fig = figure(7.5, 1.5 if it.left_out else 1.3)
    axes = fig.subplots()
    axes.imshow(colours, aspect="auto", interpolation="nearest", extent=(0, total, 0, 1))
    axes.set_yticks([])
    axes.set_xlabel("position in the source (samples)")
    handles = [Patch(color=COLOURS[name], label=f"{NAMES[name]} ({int((it.split == name).sum()):,})") for name in SPLITS]
    if it.left_out:
        places = np.flatnonzero(it.split[rank] == "") + 0.5
        axes.vlines(places, -0.28, -0.06, color=RED, linewidth=max(0.6, min(4.0, 400 / total)))
        axes.set(xlim=(0, total), ylim=(-0.32, 1))
        handles.append(Patch(color=RED, label=f"left out ({len(it.left_out):,})"))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    save(fig, path, DPI)
