"""From the entries of a dataset to the samples that are stored: each image passes once, and what is held back has a reason."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.core.errors import BadSampleError, PersonError
from pipeline.core.record import Entry, Pixels, Rejected, Sample
from pipeline.core.shards import Kept, mask_digest, mask_of
from pipeline.images.decoding import Refused, Taken
from pipeline.images.geometry import Decoded, Request
from pipeline.images.pool import DecodePool
from pipeline.intake.items import Earlier, Items, Look
from pipeline.source.folder import is_foreign

Arrival = Sample | Kept | Rejected
SAID = ("label", "mask")  # in which equal images may contradict each other


def arrivals(entries: Iterable[Entry | Rejected], items: Items, pool: DecodePool) -> Iterator[Arrival]:
    """What becomes of each entry, in order; only content that is not known from the run before is decoded."""
    decoder, store = pool.decoder, items.store
    ids = [] if store is None else store.ids
    blank_HWC = np.broadcast_to(np.uint8(0), (decoder.height, decoder.width, decoder.channels))
    for context, outcome in pool.in_order(_work(entries, items)):
        if isinstance(context, Rejected):
            yield context
            continue
        entry, look = context
        items.counts.decoded += outcome is not None
        items.remember(entry, look, outcome)
        found = outcome or look.outcome
        if isinstance(found, Refused):
            yield Rejected(entry.name, found.reason)
        elif isinstance(found, Taken):
            decoded = found.decoded
            yield _sample(entry, found.id, decoded, decoded.pixels_HWC, mask_HW=decoded.mask_HW, length=look.length)
        else:
            assert isinstance(found, Earlier)
            assert store is not None
            sample = _sample(entry, ids[found.position], found, blank_HWC, mask_HW=None, length=look.length)
            yield Kept(sample, store, found.position)


def _work(entries: Iterable[Entry | Rejected], items: Items) -> Iterator[tuple[Rejected | tuple[Entry, Look], Request | None]]:
    for entry in entries:
        if isinstance(entry, Rejected):
            yield entry, None
            continue
        try:
            look = items.look(entry)
        except OSError as error:
            yield Rejected(entry.name, f"cannot be read: {error.strerror or type(error).__name__}"), None
            continue
        except BadSampleError as error:  # a mask that is made of its file, which changed since it was listed
            yield Rejected(entry.name, f"its mask: {error}"), None
            continue
        if look.outcome is not None:
            yield (entry, look), None
            continue
        request = Request(look.data, entry.crop, look.mask, entry.boxes, entry.keypoints)
        look.data, look.mask = b"", None
        yield (entry, look), request


def _sample(
    entry: Entry, identity: str, moved: Decoded | Earlier, pixels_HWC: Pixels, *, mask_HW: Pixels | None, length: int
) -> Sample:
    return Sample(
        id=identity, pixels_HWC=pixels_HWC, mask_HW=mask_HW, boxes=moved.boxes, keypoints=moved.keypoints,
        label=entry.label, target=entry.target, weight=entry.weight, group=entry.group, name=entry.name, given=entry.given,
        source_bytes=length, source_width=moved.size[0], source_height=moved.size[1],
    )  # fmt: skip


class Intake:
    """Lets each image pass once, and keeps the reasons of what it held back.

    Args:
        classes: names of the classes.
        stop_on_conflict: equal images with different labels or masks are an error; otherwise all of them are held back.

    Attributes:
        rejected: what was held back, in the order of the source.
        conflicting: ids of images that passed before an equal one with another label or mask came.
        unusable: how many files could not be read.
        seen: how many files came.
        foreign: names that Windows could not hold.
        overlaps: equal images for which a person named different splits, `{id, names, given}` of the first and the later one.
    """

    def __init__(self, *, classes: list[str], stop_on_conflict: bool) -> None:
        self.classes, self.stop_on_conflict = classes, stop_on_conflict
        self.rejected: list[Rejected] = []
        self.conflicting: set[str] = set()
        self.unusable = self.seen = 0
        self.foreign: list[str] = []
        self.overlaps: list[dict[str, Any]] = []
        self._first: dict[str, tuple[str, str, str, str]] = {}  # id -> name, given split, and what `SAID` names

    def accept(self, found: Iterable[Arrival]) -> Iterator[Sample | Kept]:
        """Yield the samples that are new.

        Raises:
            PersonError: equal images with different labels, where that stops the run.
        """
        for arrival in found:
            self.seen += 1
            if isinstance(arrival, Rejected):
                self.unusable += 1
                self.rejected.append(arrival)
                continue
            entry = arrival.sample if isinstance(arrival, Kept) else arrival
            said = self._meaning(entry), mask_digest(mask_of(arrival))
            if is_foreign(entry.name):
                self.foreign.append(entry.name)
            if entry.id not in self._first:
                self._first[entry.id] = entry.name, entry.given, *said
                yield arrival
                continue
            name, given, *before = self._first[entry.id]
            if entry.given != given:
                self.overlaps.append({"id": entry.id, "names": [name, entry.name], "given": [given, entry.given]})
            if tuple(before) != said:
                self._conflict(entry, *next(one for one in zip(SAID, before, said, strict=True) if one[1] != one[2]))
            else:
                self.rejected.append(Rejected(entry.name, f"duplicate: the same image as {name}"))
        self._first.clear()

    def check(self, max_bad_fraction: float) -> None:
        """Stop where too much, or everything, is unusable.

        Raises:
            PersonError: with the counts and the first reasons.
        """
        bad = [entry for entry in self.rejected if not entry.reason.startswith(("duplicate:", "conflict:"))]
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        if self.seen == len(self.rejected):
            raise PersonError(
                f"no usable sample among {self.seen} files: {reasons or 'every image has conflicting labels'}{more}"
            )
        if len(bad) > max_bad_fraction * self.seen:
            raise PersonError(
                f"{len(bad)} of {self.seen} files ({len(bad) / self.seen:.1%}) cannot be used, more than ingest.max_bad_fraction "
                f"= {max_bad_fraction:g}: {reasons}{more}; mend or remove them, or raise ingest.max_bad_fraction"
            )

    def _meaning(self, sample: Sample) -> str:
        kind = self.classes[sample.label] if sample.label >= 0 else ""
        return kind if math.isnan(sample.target) else f"{kind} {sample.target:g}".strip()

    def _conflict(self, sample: Sample, what: str, before: str, said: str) -> None:
        name = self._first[sample.id][0]
        if self.stop_on_conflict:
            are = f"{name} is {before!r} and {sample.name} is {said!r}" if what == "label" else f"{name} and {sample.name}"
            raise PersonError(
                f"the same image has two {what}s: {are}; remove one, or set ingest.conflicts=drop to leave out both"
            )
        if sample.id not in self.conflicting:
            self.conflicting.add(sample.id)
            self.rejected.append(Rejected(name, f"conflict: the same image as {sample.name}, with another {what}"))
        self.rejected.append(Rejected(sample.name, f"conflict: the same image as {name}, with another {what}"))
