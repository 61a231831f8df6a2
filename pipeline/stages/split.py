"""Assign every sample to train, validation or test. Overlap is a hard stop, and so is a class that a split lacks.

A person's groups and quality's clusters of near duplicates are joined, and a splitter that keeps groups keeps them whole. What
another splitter parts is never moved: the sample on the training side is left out, so that what was tested stays tested.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Splitter
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.store import Samples, open_samples
from pipeline.splitting.checks import check_answer, check_classes, check_copies, check_overlap, check_promises, check_samples
from pipeline.splitting.groups import CLUSTER, SPLITS, join, leaks
from pipeline.splitting.page import Division, write_page

BINS = 5  # strata of a real-valued target


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, quality: Path) -> str:
    """Publish `split.json`, `statistics.json` of the train split, tables and a strip of where the splits lie.

    Args:
        cfg: `splitter`, `split` and `seed`.
        out: where to write.
        ingest: the samples, and `overlaps.json` of equal images for which a person named several splits.
        quality: its `clusters.json` of near duplicates.

    Raises:
        PersonError: samples or groups on both sides, a time order that is violated, or a class or a split without samples.
    """
    samples, card = open_samples(ingest), read_json(ingest / "card.json")
    check_samples(samples.columns)
    overlaps = read_json(ingest / "overlaps.json")
    division = divide(cfg, samples, card, clusters=read_json(quality / "clusters.json"), overlaps=overlaps)
    check_classes(division.split, samples.columns, card, because=division.because)
    ids = np.asarray(samples.ids)
    sides = {name: ids[division.split == side].tolist() for name, side in [("left_out", ""), *((name, name) for name in SPLITS)]}
    write_json(out / "split.json", sides)
    write_json(out / "statistics.json", statistics(samples.only(sides["train"]), samples.positions(sides["train"])))
    return write_page(out, division)


def divide(
    cfg: dict[str, Any], samples: Samples, card: dict[str, Any], *, clusters: dict[str, str], overlaps: list[dict[str, Any]]
) -> Division:
    """Ask the splitter, hold it to its promises, and deal with what belongs together and stands on both sides.

    Raises:
        PersonError: the splitter breaks a promise, or there is an overlap that is to stop the run.
    """
    columns, ids = samples.columns, samples.ids
    splitter: Splitter = build(cfg["splitter"])
    from_person = bool(getattr(splitter, "from_person", False))
    people = [str(name) for name in columns["group"]]
    joined = join(people, ids, clusters)
    action = on_leak(cfg["split"], from_person=from_person)
    if from_person and action == "stop":
        check_copies(overlaps)
    assigned = splitter.assign(
        strata=strata_of(columns, card), groups=joined if splitter.keeps_groups or from_person else people,
        order=columns["order"], given=named(samples, overlaps), ids=ids, seed=cfg["seed"],
    )  # fmt: skip
    check_answer(assigned, len(samples))
    check_promises(assigned, columns["order"], joined, splitter)
    near = [CLUSTER + clusters[identity] if identity in clusters else "" for identity in ids]
    found = leaks(assigned.tolist(), joined if from_person else near)
    if action == "stop":
        check_overlap(found, assigned, columns["name"].tolist(), from_person=from_person)
    split = assigned.copy()
    split[[leak.place for leak in found if action == "leave_out"]] = ""
    return Division(
        option=str(cfg["splitter"]["_target_"]).rsplit(".", 2)[1], columns=columns, card=card, assigned=assigned, split=split,
        leaks=found, copies=len(overlaps) if from_person else 0, reason=str(cfg["split"]["reason"]),
        people=people, joined=joined, clusters=clusters, keeps_groups=splitter.keeps_groups,
    )  # fmt: skip


def named(samples: Samples, overlaps: list[dict[str, Any]]) -> list[str]:
    """The split that a person named for each sample; of several for equal images the most precious one."""
    given = [str(name) for name in samples.columns["given"]]
    for one in overlaps:
        if one["id"] in samples.index:  # otherwise ingest dropped it, because its labels disagree
            place = samples.index[one["id"]]
            given[place] = max([given[place], *one["given"]], key=lambda name: SPLITS.index(name) if name in SPLITS else -1)
    return given


def strata_of(columns: Mapping[str, NDArray[Any]], card: dict[str, Any]) -> NDArray[np.int64]:
    """Class of each sample, or its quantile bin of the target where the data has no classes."""
    if card["classes"]:
        return columns["label"].astype(np.int64)
    target = columns["target"].astype(np.float64)
    edges = np.unique(np.quantile(target, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, target, side="right").astype(np.int64)


def on_leak(options: dict[str, Any], *, from_person: bool) -> str:
    """What to do with near duplicates on both sides: stop, leave_out or keep.

    Raises:
        PersonError: they are to be kept and no reason is given.
    """
    action = str(options["on_leak"])
    if action == "keep" and not str(options["reason"]).strip():
        raise PersonError(
            "split.on_leak=keep leaves a leak in the figures: say why in  split.reason  (the report's first page shows it)"
        )
    if action == "auto":
        return "stop" if from_person else "leave_out"
    return action


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
