"""Checks that always hold, or nothing else on the page means anything: sound data, one model, bounds below attacks."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from pipeline.assurance.evidence import Shelf
from pipeline.assurance.measures import CERTIFICATES
from pipeline.core import artifact

HELD, BROKEN, NOTHING = "holds", "does not hold", "nothing to check"
DAMAGE = "python -m pipeline verify  names damaged artifacts; make them again with  dvc repro"


@dataclass(frozen=True)
class Check:
    """One law and whether it holds.

    Attributes:
        name: short, for the line that stops a run.
        says: the requirement, for people.
        faults: what is wrong, a line each; empty where it holds.
        rests: `stage/file` of what was looked at.
        mend: what to do about a fault.
        applies: whether there is anything to check.
    """

    name: str
    says: str
    faults: tuple[str, ...]
    rests: tuple[str, ...]
    mend: str
    applies: bool = True

    @property
    def verdict(self) -> str:
        """In words."""
        return BROKEN if self.faults else HELD if self.applies else NOTHING


def data_gates(shelf: Shelf) -> Check:
    """Every gate on the data was passed, or waived with a reason."""
    gates: list[dict[str, Any]] = shelf.json("quality", "gates.json") or []
    faults = tuple(
        f"{gate['gate']} is {gate['value']:.4g} against {gate['limit']:.4g} and is not waived"
        for gate in gates
        if not gate["passed"] and not gate["waiver"]
    )
    says = "Every gate on the data is passed, or waived with a reason"
    return Check("gates on the data", says, faults, _rests(shelf, "quality", "gates.json"), "see docs/quality.md", bool(gates))


def disjoint_splits(shelf: Shelf) -> Check:
    """No sample stands in two of train, validation and test, and neither train nor test is empty."""
    parts = shelf.json("split", "split.json") or {}
    sides = {name: set(parts.get(name, ())) for name in ("train", "val", "test")}
    faults = [
        f"{len(sides[one] & sides[other])} samples stand in {one} and in {other}"
        for one, other in combinations(sides, 2)
        if sides[one] & sides[other]
    ]
    faults += [f"the split {name} is empty" for name in ("train", "test") if not sides[name]]
    rests, mend = _rests(shelf, "split", "split.json"), "split again:  dvc repro --force split"
    return Check("disjoint splits", "No sample stands in two splits", tuple(faults), rests, mend)


def one_model(shelf: Shelf) -> Check:
    """Every artifact was made from those that were handed over: one set of samples, one split, one model."""
    faults = []
    for stage, directory in shelf.directories.items():
        inputs = artifact.read_json(directory / artifact.MANIFEST)["inputs"]
        for name, digest in inputs.items():
            if name in shelf.directories and digest != artifact.digest(shelf.directories[name]):
                faults.append(f"{stage} was made from another {name} ({digest[:12]}) than the one at hand")
    says = "All evidence was made from the same samples, split and model"
    return Check("one chain of evidence", says, tuple(faults), (), DAMAGE)


def named_bytes(shelf: Shelf) -> Check:
    """Every certificate names, by SHA-256, files that are the ones at hand."""
    faults, rests = [], list(_rests(shelf, *CERTIFICATES))
    for name, certificate in _certificates(shelf).items():
        for place, declared in certificate["sha256"].items():
            stage, _, file = place.partition("/")
            if not shelf.has(stage, file):
                faults.append(f"the certificate of the {name} model speaks of {place}, which is not there")
                continue
            rests.append(shelf.source(stage, file).place)
            if shelf.source(stage, file).sha256 != declared:
                faults.append(f"the certificate of the {name} model speaks of another {place} ({declared[:12]})")
    says = "Each certificate carries the SHA-256 of the very files that ship"
    mend = "certify again:  dvc repro --force certify"
    return Check("certified bytes", says, tuple(faults), tuple(rests), mend, bool(_certificates(shelf)))


def sandwich(shelf: Shelf) -> Check:
    """Certified <= attacked <= clean accuracy at every radius, and none of them rises with the radius."""
    faults = []
    for name, certificate in _certificates(shelf).items():
        rows = [(entry["certified"]["value"], entry["attacked"]["value"]) for entry in certificate["curve"]]
        clean, radii = certificate["clean"]["value"], [entry["eps"] for entry in certificate["curve"]]
        for eps, (proven, standing) in zip(radii, rows, strict=True):
            if not proven <= standing <= clean:
                numbers = f"certified {proven:.4g}, attacked {standing:.4g}, clean {clean:.4g}"
                faults.append(f"{name} model at eps {eps:.4g}: {numbers}")
        if any(late > soon for pair in pairwise(rows) for soon, late in zip(*pair, strict=True)):
            faults.append(f"{name} model: accuracy rises with eps")
    says = "Certified accuracy is at most that under attack, which is at most the clean one"
    mend = "a bound or an attack is wrong: tell those who maintain it"
    rests, applies = _rests(shelf, *CERTIFICATES), bool(_certificates(shelf))
    return Check("certified <= attacked <= clean", says, tuple(faults), rests, mend, applies)


def whole_files(shelf: Shelf) -> Check:
    """Every file that was read has the SHA-256 that its artifact declared when it was published."""
    used = shelf.used()
    faults = tuple(
        f"{source.place} was changed after it was published" if source.declared else f"{source.place} is not in its manifest"
        for source in used
        if source.sha256 != source.declared
    )
    return Check("whole evidence", "Every file of evidence is as its stage published it", faults, (), DAMAGE)


CHECKS: tuple[Callable[[Shelf], Check], ...] = (data_gates, disjoint_splits, one_model, named_bytes, sandwich, whole_files)


def check(shelf: Shelf) -> list[Check]:
    """All of them; files are held to their manifests last, when it is known which were read."""
    return [one(shelf) for one in CHECKS]


def _certificates(shelf: Shelf) -> dict[str, Any]:
    found: dict[str, Any] = (shelf.json(*CERTIFICATES) or {}).get("artifacts", {})
    return found


def _rests(shelf: Shelf, stage: str, file: str) -> tuple[str, ...]:
    return (shelf.source(stage, file).place,) if shelf.has(stage, file) else ()
