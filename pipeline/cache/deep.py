"""Read the whole cache, put away what rotted, and say what to do about it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cache import lost, objects, runs
from pipeline.cache.hidden import cache_folder, changes
from pipeline.cache.locks import mend
from pipeline.cache.objects import Rot
from pipeline.core import listed
from pipeline.core.errors import PersonError
from pipeline.core.runner import ITEMS, SCRATCH
from pipeline.intake.items import LIST, damaged

QUARANTINE = "quarantine"
SHOWN = 10  # lines of one kind


@dataclass
class Finding:
    """What a deep look found.

    Attributes:
        lines: for a person, in the order of printing.
        faults: number of faults.
    """

    lines: list[str] = field(default_factory=list)
    faults: int = 0

    def add(self, title: str, details: list[str], advice: str) -> None:
        """Add one kind of fault, when there is any of it."""
        if details:
            self.faults += len(details)
            more = [f"  ... and {len(details) - SHOWN} more"] if len(details) > SHOWN else []
            self.lines += [f"{len(details)} {title}", *(f"  {detail}" for detail in details[:SHOWN]), *more, f"  {advice}"]


def examine(root: Path, *, leave: bool = False) -> Finding:
    """Look at the cache of the workspace at `root` and at what the workspace hides from DVC.

    Args:
        root: of the project.
        leave: move nothing.

    Raises:
        PersonError: DVC does not say where the cache is, or `dvc.lock` cannot be understood.
    """
    mend(root)
    cache = cache_folder(root)
    scan = objects.scan(cache)
    entries = len(runs.entries(cache))
    outputs = lost.named(root)
    rotten = [*scan.rotten, *runs.rotten(cache, {**lost.stated(root), **scan.sizes()})]
    finding = Finding([f"cache: {len(scan.whole)} objects ({scan.size / 1e6:.0f} MB), {entries} runs, read in {cache}"])
    said = _described(rotten, lost.users(outputs, scan))
    gone = [f"{path}  {oid}" for oid, path in lost.lost(outputs, scan)]
    unseen = [f"{path}  ({name})" for name, path in changes(root)]
    try:
        advice = _advice("" if leave else quarantine(cache, rotten))
    except PersonError as error:  # what else there is to say is said all the same
        advice = str(error)
    finding.add("rotten in the cache:", said, advice)
    finding.add("named and not in this cache:", gone, "from a remote:  dvc pull --run-cache    or make it again:  dvc repro")
    finding.add(
        "changed behind its size and time, which DVC goes by and does not see:", unseen,
        "take the change:  find PATH -type f -exec touch {} + && dvc repro    or undo it: remove PATH and  dvc checkout",
    )  # fmt: skip
    _remembered(root, finding, leave=leave)
    if not finding.faults:
        finding.lines.append("cache: whole; the workspace hides nothing from DVC")
    return finding


def quarantine(cache: Path, rotten: list[Rot]) -> str:
    """Move what rotted to `<cache>/quarantine`, where DVC looks for nothing; return the folder, "" when nothing was moved.

    Raises:
        PersonError: the cache cannot be written.
    """
    folder = cache / QUARANTINE
    moved = 0
    for rot in rotten:
        name = "_".join(rot.path.parts)
        try:
            if not rot.movable:
                continue
            folder.mkdir(exist_ok=True)
            place, number = folder / name, 1
            while os.path.lexists(place):
                place, number = folder / f"{name}.{number}", number + 1
            (cache / rot.path).rename(place)
            moved += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PersonError(
                f"{len(rotten) - moved} of {len(rotten)} rotten files stay in {cache}, where DVC will serve them "
                f"({error.strerror}); "
                f"the first is {rot.path}: mend the access, or have the owner of the cache run  python -m pipeline verify --deep"
            ) from error
    return str(folder) if moved else ""


def _remembered(root: Path, finding: Finding, *, leave: bool) -> None:
    """What stages take over from their last run; without its list a stage makes everything anew."""
    for items in sorted((root / SCRATCH).glob(f"*/{ITEMS}")):
        stage = items.parent.name
        bad = [f"{items.relative_to(root)}/{name}" for name in damaged(items)]
        lists = [items / LIST] if bad else []
        for folder, names in listed.rotten(items):
            bad += [f"{folder.relative_to(root)}/{name}" for name in names]
            lists.append(folder / listed.SUMS)
        advice = f"forgotten: the next {stage} makes all of it anew"
        if leave:
            advice = f"run again without --leave, or remove {items.relative_to(root)}: the next {stage} then makes all of it anew"
        else:
            for path in lists:
                path.unlink(missing_ok=True)
        finding.add(f"rotten in what {stage} takes over from its last run:", bad, advice)


def _described(rotten: list[Rot], users: dict[str, list[lost.Named]]) -> list[str]:
    lines = []
    for rot in rotten:
        whose = sorted({output.path for output in users.get(rot.oid, [])})
        what = ", ".join(whose[:3]) + (", ..." if len(whose) > 3 else "")
        lines.append(f"{rot.path}: {rot.why}" + (f"; it is {what}" if what else ""))
    return lines


def _advice(away: str) -> str:
    if not away:
        return "nothing was moved, so DVC will serve what it can read of this: run again without --leave"
    return (
        f"moved to {away}, so that DVC cannot serve it. Whole copies come  from a remote: dvc pull --run-cache    "
        "or from a stage that is whole above: dvc commit --force STAGE    or by another run: dvc repro"
    )
