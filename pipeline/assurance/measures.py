"""Where the number of each requirement stands, and the few that are made of two."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.assurance.evidence import ANY, Evidence, Shelf

Options = Mapping[str, Any]
Measure = Callable[[Shelf, Options], Evidence | None]
SHIPPED = ("exported", "trained")  # whose certificate counts: the first that there is
CERTIFICATES = ("certify", "certificates.json")


def at(stage: str, file: str, *path: str) -> Measure:
    """The number at a path of a file."""
    return lambda shelf, _: shelf.number(stage, file, *path)


def _told(shelf: Shelf) -> dict[str, Any]:
    """`headline.json`, which names the metric and says which way is better."""
    found: dict[str, Any] | None = shelf.json("evaluate", "headline.json")
    return found or {"metric": "", "higher_is_better": True}


def higher_is_better(shelf: Shelf) -> bool:
    """Whether a larger headline metric is a better one."""
    return bool(_told(shelf)["higher_is_better"])


def headline(shelf: Shelf, _: Options) -> Evidence | None:
    """The headline metric; it rests on the file that names it too."""
    found = shelf.number("evaluate", "metrics.json", _told(shelf)["metric"])
    if found is None:
        return None
    return replace(found, sources=(*found.sources, shelf.source("evaluate", "headline.json")), words=_told(shelf)["label"])


def gain(shelf: Shelf, options: Options) -> Evidence | None:
    """How far the model is ahead of the best baseline, in the headline metric; positive is better.

    The ends put the ends of both intervals against each other, so they lie further apart than those of a paired difference would.
    """
    ours, sign = headline(shelf, options), 1 if higher_is_better(shelf) else -1
    rivals = shelf.numbers("baseline", "metrics.json", ANY, _told(shelf)["metric"])
    if ours is None or not rivals:
        return None
    best = max(rivals, key=lambda one: sign * one.value)
    ends = [sign * (ours.interval[mine] - best.interval[1 - mine]) for mine in (0, 1)]
    words = f"over {best.key.split('.', maxsplit=1)[0]}"
    return Evidence(sign * (ours.value - best.value), min(ends), max(ends), ours.key, (*ours.sources, *best.sources), words)


def more_is_better_of_groups(shelf: Shelf) -> bool:
    """Whether groups are scored by accuracy, and not by their mean absolute error."""
    return bool(_told(shelf).get("group_metric", "accuracy") == "accuracy")


def worst_group(shelf: Shelf, _: Options) -> Evidence | None:
    """The score of the worst group, with an interval widened for the number of groups."""
    entry: dict[str, Any] = (shelf.json("evaluate", "groups.json") or {}).get("worst") or {}
    found = shelf.number("evaluate", "groups.json", "worst")
    if found is None:
        return None
    metric = _told(shelf).get("group_metric", "score")
    return replace(found, words=f"{metric} of {entry['by']} {entry['name']}, {entry['samples']} samples")


def compression_loss(shelf: Shelf, _: Options) -> Evidence | None:
    """What compression takes off the headline metric; negative where it gains."""
    found, sign = shelf.number("compress", "metrics.json", "change", _told(shelf)["metric"]), -1 if higher_is_better(shelf) else 1
    if found is None:
        return None
    ends = sorted(sign * end for end in found.interval)
    return replace(found, value=sign * found.value, low=ends[0], high=ends[1])


def attacked(shelf: Shelf, options: Options) -> Evidence | None:
    """Accuracy of what ships under every attack that was tried, at gates.eps."""
    return _certificate(shelf, options, "attacked")


def certified(shelf: Shelf, options: Options) -> Evidence | None:
    """Certified accuracy of what ships, at gates.eps."""
    return _certificate(shelf, options, "certified")


def _certificate(shelf: Shelf, options: Options, kind: str) -> Evidence | None:
    """A point of the curve of the exported model, of the trained one where nothing is exported."""
    artifacts: dict[str, Any] = (shelf.json(*CERTIFICATES) or {}).get("artifacts", {})
    name = next((one for one in SHIPPED if one in artifacts), None)
    if name is None:
        return None
    curve = artifacts[name]["curve"]
    wanted = max((entry["eps"] for entry in curve), default=math.nan) if options["eps"] is None else float(options["eps"])
    place = next((place for place, entry in enumerate(curve) if math.isclose(entry["eps"], wanted, rel_tol=1e-3)), None)
    if place is None:
        return None
    found = shelf.number(*CERTIFICATES, "artifacts", name, "curve", str(place), kind)
    return replace(found, words=f"{name} model at eps {curve[place]['eps']:.4g}") if found else None
