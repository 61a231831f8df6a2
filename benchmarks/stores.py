"""Which format should a store of samples have? Seven candidates side by side; the table stands in docs/store.md.

    python3.11 -m venv peers
    peers/bin/pip install numpy pyarrow pillow torch datasets pylance litdata==0.2.76 webdataset==1.0.2
    peers/bin/python -m benchmarks.stores          (in the folder of the project)

What cannot be imported is named and left out. Times are CPU seconds of this process (its threads included), every candidate in
turn, REPEATS times after a warm-up: the median of the ratios to ours, and their range. Sizes and changed files are counts, and
memory is the peak above what the imports take, in a process of its own.
"""

import hashlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.store_formats import BATCH, Format, Record, formats

SETS = {"20,000 of 28 x 28": (20_000, 28, 512), "1,000 of 300 x 300": (1_000, 300, 32)}  # samples, pixels a side, samples a file
REPEATS = 5
ROOT = Path(__file__).resolve().parents[1]
TIMED = ("write", "open", "gather", "epoch")


@dataclass
class Found:
    """What one format showed: seconds of each repetition by operation, and counts."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def records(count: int, side: int, *, seed: int = 0) -> list[Record]:
    """Grey pictures with structure and noise, so that a format that compresses can, as it could on photographs."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] / side
    made = []
    for _ in range(count):
        centre, width, noise = rng.random(2), 0.1 + 0.3 * rng.random(), rng.normal(0, 6, (side, side))
        blob = 200 * np.exp(-((row - centre[0]) ** 2 + (column - centre[1]) ** 2) / width**2)
        pixels = np.clip(blob + noise, 0, 255).astype(np.uint8)
        made.append(Record(hashlib.sha256(pixels.tobytes()).hexdigest()[:20], int(rng.integers(10)), pixels))
    return made


def files(folder: Path) -> dict[str, int]:
    """MD5 of each file -> its bytes: what a cache of files, as DVC's, would hold of it."""
    read = (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return {hashlib.md5(data, usedforsecurity=False).hexdigest(): len(data) for data in read}


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it gave."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def measure_times(chosen: Sequence[Format], data: list[Record], per_file: int, folder: Path) -> dict[str, Found]:
    """Time every format in turn; the first round warms up."""
    found = {each.name: Found({name: [] for name in TIMED}) for each in chosen}
    rng = np.random.default_rng(1)
    expected = sum(int(r.pixels.sum()) for r in data)
    for turn in range(REPEATS + 1):
        positions = rng.choice(len(data), BATCH, replace=False)
        truth = np.stack([data[int(place)].pixels for place in positions])
        for each in chosen:
            place = folder / f"{chosen.index(each)}-{turn}"
            took = {"write": spent(lambda e=each, p=place: e.write(p, data, per_file))[0]}
            took["open"], reader = spent(lambda e=each, p=place: e.load(p))
            took["epoch"], total = spent(lambda e=each, r=reader: sum(int(batch.sum()) for batch in e.epoch(r)))
            assert total == expected, f"{each.name} lost pixels"
            if each.gather is not None:
                reader = each.load(place)
                took["gather"], got = spent(lambda e=each, r=reader, at=positions: e.gather(r, at))
                assert np.array_equal(got, truth), f"{each.name} gathered something else"
            for name, seconds in took.items():
                if turn:
                    found[each.name].seconds[name].append(seconds)
    return found


def measure_changes(each: Format, data: list[Record], per_file: int, folder: Path) -> dict[str, Any]:
    """Files and bytes that a cache of files would send again after insertions; of one sample, the mean of five places."""
    more = records(max(1, len(data) // 100), data[0].pixels.shape[0], seed=9)
    each.write(folder / "before", data, per_file)
    before = files(folder / "before")
    facts: dict[str, Any] = {"files": len(before), "bytes": sum(before.values()), "plain": each.plain(folder / "before")}
    cases = {f"one {place}": [(place * len(data) // 6, more[:1])] for place in range(1, 6)}
    cases["block"] = [(len(data) // 2, more)]
    chosen = np.sort(np.random.default_rng(2).choice(len(data), len(more), replace=False))
    cases["scattered"] = [(int(place), [record]) for place, record in zip(chosen, more, strict=True)]
    cases["end"] = [(len(data), more)]
    sent = {}
    for name, insertions in cases.items():
        changed = list(data)
        for place, added in reversed(insertions):
            changed[place:place] = added
        each.write(folder / name, changed, per_file)
        sent[name] = _new(folder / name, before)
        shutil.rmtree(folder / name)
    facts["one"] = tuple(statistics.mean(sent[f"one {place}"][part] for place in range(1, 6)) for part in (0, 1))
    facts |= {name: sent[name] for name in ("block", "scattered", "end")}
    if each.append is not None:
        each.append(folder / "before", more, per_file)
        facts["append"] = _new(folder / "before", before)
    return facts


def _new(folder: Path, before: dict[str, int]) -> tuple[int, int]:
    """How many files, and bytes, are not in the cache."""
    after = files(folder)
    fresh = set(after) - set(before)
    return len(fresh), sum(after[key] for key in fresh)


def measure_memory(name: str, side: int, folder: Path) -> float:
    """MiB that opening, gathering and reading an epoch take above the imports, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.stores", "memory", name, str(side), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _peak(name: str, side: int, folder: Path) -> float:
    each = next(each for each in formats(side) if each.name == name)
    importlib.import_module(each.package)
    each.load(folder)  # what opening imports
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, proc(5)
    start = _status("VmRSS")
    reader = each.load(folder)
    if each.gather is not None:
        each.gather(reader, np.arange(BATCH))
    for batch in each.epoch(each.load(folder)):
        batch.sum()
    return (_status("VmHWM") - start) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def tell(title: str, chosen: Sequence[Format], found: dict[str, Found], raw: int) -> None:
    """Print two Markdown tables: times, then sizes and what is sent again."""
    ours = found[chosen[0].name]
    print(f"\n### {title} ({raw / 2**20:.1f} MiB of pixels)\n")
    head = ["store", "write", "open", "gather 256", "epoch", "peak memory, MiB"]
    rows = []
    for each in chosen:
        mine = each is chosen[0]
        times = [_ratio(found[each.name].seconds[name], ours.seconds[name], mine=mine) for name in TIMED]
        rows.append([each.name, *times, f"{found[each.name].facts['peak']:.0f}"])
    _print(head, rows)
    head = ["store", "size / pixels", "files", "one inserted", "+1 % in one place", "+1 % scattered", "+1 % at the end",
            "the library's own append"]  # fmt: skip
    rows = []
    for each in chosen:
        facts = found[each.name].facts
        sent = [_sent(facts.get(name)) for name in ("one", "block", "scattered", "end", "append")]
        rows.append([each.name, f"{facts['bytes'] / raw:.2f}", str(facts["files"]), *sent])
    print()
    _print(head, rows)


def _print(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _sent(what: tuple[float, float] | None) -> str:
    return "not measured" if what is None else f"{what[0]:.3g} files, {what[1] / 2**20:.2f} MiB"


def _ratio(seconds: list[float], ours: list[float], *, mine: bool) -> str:
    if not seconds:
        return "not offered"
    if mine:
        return f"{1000 * statistics.median(seconds):.1f} ms"
    ratios = [value / base for value, base in zip(seconds, ours, strict=True)]
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def main(words: list[str]) -> None:
    """Measure, or answer for one format's memory (`memory NAME SIDE FOLDER`)."""
    warnings.simplefilter("ignore")
    if words[:1] == ["memory"]:
        print(_peak(words[1], int(words[2]), Path(words[3])))
        return
    for title, (count, side, per_file) in SETS.items():
        every = formats(side)
        missing = sorted({each.package for each in every if importlib.util.find_spec(each.package) is None})
        if missing:
            print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
        chosen = [each for each in every if each.package not in missing]
        data = records(count, side)
        with tempfile.TemporaryDirectory(prefix="stores-") as name:
            folder = Path(name)
            found = measure_times(chosen, data, per_file, folder)
            for number, each in enumerate(chosen):
                found[each.name].facts = measure_changes(each, data, per_file, folder / f"changes-{number}")
                found[each.name].facts["peak"] = measure_memory(each.name, side, folder / f"{number}-0")
                assert found[each.name].facts["plain"] == count, f"{each.name} lost samples"
            tell(title, chosen, found, count * side * side)


if __name__ == "__main__":
    main(sys.argv[1:])
