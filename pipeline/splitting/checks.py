"""The laws that a split is held to; each is a hard stop with names, counts and the remedy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.contracts import Splitter
from pipeline.core.errors import PersonError
from pipeline.splitting.groups import SPLITS, Leak, parted

PAIRS = 5  # shown in an error


def check_samples(columns: Mapping[str, NDArray[Any]]) -> None:
    """Hold the samples against what a split needs.

    Raises:
        PersonError: a sample is stored twice, or was made and not measured.
    """
    ids = columns["id"].tolist()
    twice = [identity for identity, count in Counter(ids).items() if count > 1]
    if twice:
        names = ", ".join(columns["name"][[place for place, identity in enumerate(ids) if identity == twice[0]]].tolist())
        raise PersonError(
            f"{len(twice)} samples are stored more than once and could stand on both sides, for example {names}: "
            f"run  dvc repro -f ingest"
        )
    made = columns["name"][columns["origin"] != "real"].tolist()
    if made:
        raise PersonError(
            f"{len(made)} samples were augmented or synthesized before the split and could stand in the test, for example "
            f"{made[0]}: split the real ones alone"
        )


def check_answer(split: NDArray[np.str_], total: int) -> None:
    """Hold a splitter's answer to its form: train, val or test for each sample, or "" for one that is left out.

    Raises:
        PersonError: another length, or another name.
    """
    if len(split) != total or not set(split.tolist()) <= {*SPLITS, ""}:
        raise PersonError(
            f"the splitter must name one of {', '.join(SPLITS)} for each of {total} samples: received "
            f"{len(split)} names, {', '.join(sorted(set(split.tolist())))}"
        )


def check_promises(split: NDArray[np.str_], order: NDArray[np.int64], joined: Sequence[str], splitter: Splitter) -> None:
    """Hold a splitter to `keeps_groups` and `keeps_order`.

    Raises:
        PersonError: a group stands on both sides, or a sample comes before one of an earlier split.
    """
    shared = parted(split.tolist(), joined) if splitter.keeps_groups else []
    if shared:
        raise PersonError(
            f"{len(shared)} groups stand on both sides of the split, for example {shared[0]!r}: "
            f"the splitter breaks its promise to keep groups"
        )
    if getattr(splitter, "keeps_order", False):
        for early, late in (("train", "val"), ("val", "test"), ("train", "test")):
            if (split == early).any() and (split == late).any():
                last, first = int(order[split == early].max()), int(order[split == late].min())
                count = int((order[split == early] > first).sum())
                if last > first:
                    raise PersonError(
                        f"{count} {early} samples come after the first {late} sample (position {first}, the last one at {last}): "
                        "the splitter breaks its promise to keep the order of time"
                    )


def check_classes(split: NDArray[np.str_], columns: Mapping[str, NDArray[Any]], card: dict[str, Any], *, because: str) -> None:
    """Hold the split to having every class everywhere.

    Args:
        split: of N samples.
        columns: of the store.
        card: of ingest.
        because: what near duplicates have to do with it, for the end of the message; "" for nothing.

    Raises:
        PersonError: a split is empty, or lacks a class; with counts and the remedy.
    """
    for name in SPLITS:
        if not (split == name).any():
            raise PersonError(
                f"the {name} split is empty: {len(split)} samples are too few for this splitter, or its shares are too small"
                f"{because}"
            )
    for number, kind in enumerate(card["classes"]):
        counts = {name: int(((columns["label"] == number) & (split == name)).sum()) for name in SPLITS}
        lacking = next((name for name in SPLITS if not counts[name]), None)
        if lacking:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise PersonError(
                f"the class {kind!r} is missing in the {lacking} split ({told}): add samples of it, leave the class "
                f"out, or use another splitter (stratified spreads each class; blocked has other folds){because}"
            )


def check_overlap(found: Sequence[Leak], split: NDArray[np.str_], names: Sequence[str], *, from_person: bool) -> None:
    """Stop where samples that belong together stand on both sides.

    Raises:
        PersonError: the first pairs, their number and the remedy.
    """
    if not found:
        return
    pairs = "; ".join(
        f"{names[leak.place]} ({leak.side}) and {names[leak.other]} ({split[leak.other]}), {leak.unit}" for leak in found[:PAIRS]
    )
    more = f"; and {len(found) - PAIRS} more" if len(found) > PAIRS else ""
    whose = "the split that the data names" if from_person else "the split"
    raise PersonError(
        f"{whose} overlaps: {len(found)} samples belong together with one of a later split: {pairs}{more}: mend the data, "
        "or leave their training side out with  split.on_leak=leave_out"
    )


def check_copies(overlaps: Sequence[Mapping[str, Any]]) -> None:
    """Stop where a person named several splits for one image.

    Args:
        overlaps: of ingest, which stores the first of equal images alone.

    Raises:
        PersonError: the first pairs, their number and the remedy.
    """
    if overlaps:
        pairs = "; ".join(
            " and ".join(f"{name} ({given or 'no split'})" for name, given in zip(one["names"], one["given"], strict=True))
            for one in overlaps[:PAIRS]
        )
        more = f"; and {len(overlaps) - PAIRS} more" if len(overlaps) > PAIRS else ""
        raise PersonError(
            f"the split that the data names overlaps: {len(overlaps)} times one image stands in two splits: {pairs}{more}: mend "
            "the data, or leave the training side out with  split.on_leak=leave_out"
        )
