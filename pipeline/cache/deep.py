"""Read the whole cache, put away what rotted, and say what to do about it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cache import lost, objects, runs
from pipeline.cache.hidden import cache_folder, changes
from pipeline.cache.locks import mend
from pipeline.cache.objects import Rot
from pipeline.core.errors import PersonError
from pipeline.intake.items import LIST, damaged

QUARANTINE = "quarantine"
REMEMBERED = Path(".run/ingest/items")  # what ingest takes over from run to run, by size and time
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
    taken = damaged(root / REMEMBERED)
    advice = _forget(root / REMEMBERED, leave=leave or not taken)
    finding.add("rotten in what ingest takes over from its last run:", taken, advice)
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


def _forget(folder: Path, *, leave: bool) -> str:
    """Without its list, ingest decodes everything again."""
    if leave:
        return "run again without --leave, or remove .run/ingest/items: the next ingest then decodes everything"
    (folder / LIST).unlink()
    return "forgotten: the next ingest decodes everything"


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
