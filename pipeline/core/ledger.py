"""How often the test split was opened: one line a look in `.run/looks.jsonl`, in a chain of hashes.

A figure on the test split says what it says only while nobody chose by it, so looks are counted. The ledger lies outside the
artifacts, which stay byte-stable, and belongs to this workspace: what DVC restores from its cache is no new look, and a look that
another clone made is not here (`strangers` names what was published without one).

A line holds `stage`, `identity` (of configuration and inputs), `model` (digest of train; of the inputs where there is none),
`time` (UTC) and `chain`: the SHA-256 of the chain before and of the line itself. `.run/looks.seal` repeats number and last
chain, so that a line taken from the end is seen as well. Both guard against accidents, not against a forger.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifact import MANIFEST, read_json
from pipeline.core.dag import Stage
from pipeline.core.errors import PersonError

LEDGER = Path(".run") / "looks.jsonl"
SEAL = Path(".run") / "looks.seal"
OPENS = "opens"  # key under `meta:` of a stage of dvc.yaml; its only value is `test`
START = "0" * 64


@dataclass(frozen=True)
class Looks:
    """What the ledger says.

    Attributes:
        entries: a mapping a look, oldest first; up to the first broken line.
        faults: what is wrong with the ledger, a line each.
    """

    entries: list[dict[str, Any]]
    faults: list[str]

    @property
    def models(self) -> int:
        """Number of different models that were looked at."""
        return len({entry["model"] for entry in self.entries})

    def sentence(self) -> str:
        """The count for people."""
        times, models = len(self.entries), self.models
        said = f"the test split was opened {times} time{'s' * (times != 1)}, by {models} different model{'s' * (models != 1)}"
        return said + (f" (at least: {self.faults[0]})" if self.faults else "")


def opens_test(stage: Stage) -> bool:
    """Whether dvc.yaml says that a stage opens the test split.

    Raises:
        PersonError: `meta: {opens: ...}` has another value.
    """
    value = stage.resources.get(OPENS)
    if value not in {None, "test"}:
        raise PersonError(f"dvc.yaml, stage {stage.name}: meta.opens must be `test` or left out: received {value!r}")
    return value == "test"


def record(root: Path, *, stage: str, identity: str, digests: Mapping[str, str]) -> None:
    """Append one look, before the stage runs: one that fails has looked as well.

    Args:
        root: the repository.
        stage: its name.
        identity: hash of its configuration and inputs.
        digests: input -> digest.
    """
    facts = {"stage": stage, "identity": identity, "model": digests.get("train", identity),
             "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # fmt: skip
    path = root / LEDGER
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # Snakemake runs several of these stages at once
        file.seek(0)
        lines, sealed = file.read().splitlines(), _sealed(root / SEAL)
        removed = sealed is not None and sealed[0] > len(lines)
        chain = _chain(sealed[1] if sealed and removed else _last(lines), facts)  # so that the gap is seen for good
        if lines and not _ends_whole(path):
            file.write(b"\n")  # what a full disk cut off stays where it is, and is named
        file.write(json.dumps({**facts, "chain": chain}, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        partial = root / f"{SEAL}.partial"
        looks = 1 + (sealed[0] if sealed and removed else len(lines))
        partial.write_text(json.dumps({"looks": looks, "chain": chain}) + "\n", encoding="utf-8")
        partial.replace(root / SEAL)


def read(root: Path) -> Looks:
    """Read the ledger and check its chain; without one there were no looks."""
    path, seal = root / LEDGER, root / SEAL
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries: list[dict[str, Any]] = []
    faults = []
    chain = START
    chains = [chain]
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            faults.append(f"{LEDGER}, line {number} cannot be read")
            chain = ""
            chains.append(chain)
            continue
        facts = {name: value for name, value in entry.items() if name != "chain"}
        if entry["chain"] != _chain(chain, facts):
            faults.append(f"{LEDGER}, line {number} does not follow the one before it: a line was removed, added or changed")
        entries.append(entry)
        chain = entry["chain"]
        chains.append(chain)
    sealed = _sealed(seal)
    if sealed is None and (lines or seal.is_file()):
        faults.append(f"{SEAL} is missing or cannot be read")
    elif sealed is not None and sealed[0] > len(lines):
        faults.append(f"{LEDGER} holds {len(lines)} looks where {SEAL} counts {sealed[0]}: lines were removed")
    elif sealed is not None and chains[sealed[0]] != sealed[1]:  # a kill between the two files leaves a line more: no fault
        faults.append(f"{LEDGER} is not the one that {SEAL} was made for: lines were removed, added or changed")
    return Looks(entries, faults)


def strangers(root: Path, stages: Mapping[str, Stage], looks: Looks) -> list[str]:
    """Published artifacts of stages that open the test split, for whose model this workspace made no look."""
    known = {(entry["stage"], entry["model"]) for entry in looks.entries}
    found = []
    for stage in stages.values():
        manifest = root / stage.out / MANIFEST
        if opens_test(stage) and "train" in stage.inputs and manifest.is_file():
            try:
                model = read_json(manifest)["inputs"]["train"]
            except (ValueError, KeyError, TypeError):
                continue  # `verify` names a broken manifest itself
            if (stage.name, model) not in known:
                found.append(stage.out)
    return found


def _chain(before: str, facts: Mapping[str, Any]) -> str:
    return hashlib.sha256((before + json.dumps(facts, sort_keys=True)).encode()).hexdigest()


def _last(lines: list[bytes]) -> str:
    """The chain that the next line follows; "" after one that cannot be read, which `read` then goes on from too."""
    if not lines:
        return START
    entry = _parse(lines[-1])
    return entry["chain"] if entry else ""


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    names = ("stage", "identity", "model", "time", "chain")
    return entry if isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in names) else None


def _sealed(seal: Path) -> tuple[int, str] | None:
    try:
        found = read_json(seal)
        return max(0, int(found["looks"])), str(found["chain"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
