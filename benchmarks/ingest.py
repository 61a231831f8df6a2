"""Goals 4, 5 and 7: a first ingest, a run after one per cent has changed, and memory, beside their peers in one run.

    python -m benchmarks.ingest                # 20,000 photographs of about 8 KB, five pairs; some minutes on two cores
    python -m benchmarks.ingest --count 2000 --pairs 1
    python -m benchmarks.ingest --side 300 --goals 5 --pairs 6   # the size of the default experiment; four minutes a pair

Every measured thing is a process of its own below a temporary folder (`benchmarks.ingest_parts`); CPU seconds are those of the
process and of all its workers, the start of Python and of its libraries included. Ingest ends with the artifact's shards, card,
statistics and page on disk, and with what the next run needs to know. Goal 5 has three stages: ingest; validate, which is what
quality computes of each sample by itself; and augment, one copy of each training sample by `transform=photo`, without features.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.ingest_parts import ROOT

SIDE = 96  # pixels, unless told
QUALITY = 95  # of JPEG, which with the noise below makes about 8 KB
SETTLE = 2.2  # seconds until times of files are old enough to be believed
ADDED, CHANGED, DELETED = 0.01, 0.001, 0.001  # of the files: goal 5


def photograph(number: int, side: int) -> bytes:
    """A JPEG of smooth colours under noise."""
    from PIL import Image

    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(number % 16).integers(-40, 41, (side, side, 3), dtype=np.int16)
    pixels = np.clip(np.asarray(small, dtype=np.int16) + np.roll(noise, number, axis=(0, 1)), 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def make(folder: Path, numbers: range, side: int) -> None:
    """Write photographs, in two classes."""
    for number in numbers:
        path = folder / "ab"[number % 2] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(number, side))


def seconds(words: list[str], cwd: Path = ROOT) -> tuple[float, str]:
    """CPU seconds of a process and its children, and the last line that it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start of ours compiles what a user's start finds compiled
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(words)}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, (done.stdout.strip().splitlines() or [""])[-1]


def itself(*words: object) -> list[str]:
    """A part as a process."""
    return [sys.executable, "-m", "benchmarks.ingest_parts", *map(str, words)]


def dvc_add(work: Path, source: Path) -> float:
    """CPU seconds of `dvc add` of the folder in a fresh repository."""
    shutil.rmtree(work / "dvc", ignore_errors=True)
    (work / "dvc").mkdir()
    seconds([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], work / "dvc")
    shutil.copytree(source, work / "dvc/images", copy_function=os.link)
    return seconds([sys.executable, "-m", "dvc", "add", "-q", "images"], work / "dvc")[0]


def line(what: str, ratios: list[float], goal: str) -> str:
    """One figure: the median of the pairs with its range."""
    return f"{what:<64} {median(ratios):6.3f}  ({min(ratios):.3f} to {max(ratios):.3f}; {goal})"


def clear(work: Path, *names: str) -> None:
    """Remove what a run before has left, outside of what is measured."""
    for name in names:
        shutil.rmtree(work / name, ignore_errors=True)


def first(work: Path, source: Path, pairs: int, side: int) -> None:
    """Goal 4."""
    peers: dict[str, Callable[[], float]] = {
        "read + hash + decode by Pillow": lambda: seconds(itself("bare", source, "pillow"))[0],
        "read + hash + decode by simplejpeg": lambda: seconds(itself("bare", source, "simplejpeg"))[0],
        "dvc add of the folder": lambda: dvc_add(work, source),
    }
    for peer in peers.values():
        peer()
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    spent = []
    for _ in range(pairs):
        clear(work, "items", "out")
        spent.append(seconds(itself("ours", source, work / "out", work / "items", side))[0])
        for name, peer in peers.items():
            ratios[name].append(spent[-1] / peer())
    print(f"goal 4, first ingest: {median(spent):.2f} CPU-s")
    for name, found in ratios.items():
        goal = "must 1.5, stretch 1.0" if "dvc" in name else "must 1.3, stretch 1.1"
        print(line(f"  against {name}", found, goal))


def change(source: Path, count: int, side: int) -> tuple[set[str], set[str]]:
    """Add at the end, change and delete anywhere; the names of what is new or changed, and of what was changed or deleted."""
    rng = np.random.default_rng(0)
    added, changed, deleted = (max(1, round(count * share)) for share in (ADDED, CHANGED, DELETED))
    make(source, range(count, count + added), side)
    touched = rng.choice(count, changed + deleted, replace=False)
    for number in touched[:changed]:
        (source / "ab"[number % 2] / f"{number:06d}.jpg").write_bytes(photograph(10**6 + int(number), side))
    for number in touched[changed:]:
        (source / "ab"[number % 2] / f"{number:06d}.jpg").unlink()
    fresh = [*range(count, count + added), *touched[:changed]]
    return {f"{number:06d}" for number in fresh}, {f"{number:06d}" for number in touched}


def names_of(out: Path) -> dict[str, set[str]]:
    """Shard -> the names of its samples, without class and ending."""
    from pipeline.core.store import open_shards, shard_names

    stored = {name: open_shards(out, out / "shards", [name]).columns["name"] for name in shard_names(out)}
    return {name: {Path(sample).stem for sample in samples} for name, samples in stored.items()}


def needed(before: dict[str, set[str]], after: dict[str, set[str]], fresh: set[str], gone: set[str]) -> int:
    """Shards that hold a new or changed sample, or what is left of a shard that held a changed or deleted one."""
    left = set().union(*(samples for samples in before.values() if samples & gone)) - gone
    return sum(bool(samples & (fresh | left)) for samples in after.values())


def stages(work: Path, source: Path, side: int) -> dict[str, tuple[float, str]]:
    """CPU seconds of each stage, and what it printed; outputs of the run before are gone by then, as DVC has it."""
    clear(work, "out", "split", "made")
    found = {"ingest": seconds(itself("ours", source, work / "out", work / "items", side))}
    found["validate"] = seconds(itself("validate", work / "out", work / "looks"))
    seconds(itself("divide", work / "out", work / "split"))
    found["augment"] = seconds(itself("augment", work / "out", work / "split", work / "made", work / "draws"))
    return found


def again(work: Path, source: Path, count: int, pairs: int, *, side: int) -> None:
    """Goal 5."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ("ingest", "validate", "augment")}
    for number in range(pairs):
        here = work / "changing"
        clear(work, "changing", "items", "looks", "draws")
        shutil.copytree(source, here, copy_function=shutil.copyfile)
        time.sleep(SETTLE)
        full = stages(work, here, side)
        before = names_of(work / "out")
        fresh, gone = change(here, count, side)
        once = stages(work, here, side)
        for name, pair in spent.items():
            pair.append((once[name][0], full[name][0]))
        if number == 0:
            told = json.loads((work / "items/last.json").read_text(encoding="utf-8"))
            after = names_of(work / "out")
            print(f"goal 5, {len(fresh)} files new or changed, some deleted: {told['decoded']} decoded, {told['read']} read, "
                  f"{told['known']} known; shards: {told['shards']}, {needed(before, after, fresh, gone)} had to be written, "
                  f"{len(set(after) - set(before))} were")  # fmt: skip
            print(f"  validate looked at {once['validate'][1]} samples anew, augment drew from {once['augment'][1]} parents anew")
    starts = {name: seconds(itself("start", name))[0] for name in spent}
    for name, found in spent.items():
        once_s, full_s = (median(pair[place] for pair in found) for place in (0, 1))
        print(f"  {name:<10}{once_s:7.2f} of {full_s:6.2f} CPU-s; {starts[name]:.2f} of each start Python and its libraries")
    sums = [[sum(pair[place] for pair in run) for place in (0, 1)] for run in zip(*spent.values(), strict=True)]
    start = sum(starts.values())
    print(line("  CPU of ingest against its full run", [once / full for once, full in spent["ingest"]], "no goal of its own"))
    print(line("  CPU of the three stages against a full run", [once / full for once, full in sums], "must 0.05, stretch 0.03"))
    print(line("  the same without the starts", [(once - start) / (full - start) for once, full in sums], "no goal"))


def memory(work: Path, source: Path, count: int, side: int) -> None:
    """Goal 7."""
    peaks = []
    for part in (count // 8, count):
        here = work / "part"
        shutil.rmtree(here, ignore_errors=True)
        for path in sorted(source.rglob("*.jpg"), key=lambda path: path.stem)[:part]:
            (here / path.parent.name).mkdir(parents=True, exist_ok=True)
            os.link(path, here / path.parent.name / path.name)
        clear(work, "items", "out")
        peaks.append(int(seconds(itself("ours", here, work / "out", work / "items", side))[1]) / 1024)
    stored = sum(path.stat().st_size for path in (work / "out/shards").iterdir()) / 2**20
    ratio = peaks[1] / peaks[0]
    print(f"goal 7, peak memory: {peaks[0]:.0f} MB for {count // 8} images, {peaks[1]:.0f} MB for {count} "
          f"({stored:.0f} MB stored): {ratio:.3f} (must 1.10, stretch 1.03)")  # fmt: skip


def main() -> None:
    """Print goals 4, 5 and 7."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="photographs")
    parser.add_argument("--pairs", type=int, default=5, help="of each ratio; goal 5 takes half as many, at least one")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of a side, read and stored")
    parser.add_argument("--goals", type=int, nargs="+", choices=(4, 5, 7), default=(4, 5, 7), help="which to measure")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make(work / "source", range(asked.count), asked.side)
        size = sum(path.stat().st_size for path in (work / "source").rglob("*.jpg")) / asked.count
        print(
            f"{asked.count} photographs of {asked.side} x {asked.side} pixels, {size / 1000:.1f} kB each; "
            f"CPU ratios, median of {asked.pairs}"
        )
        time.sleep(SETTLE)
        if 4 in asked.goals:
            first(work, work / "source", asked.pairs, asked.side)
        if 5 in asked.goals:
            again(work, work / "source", asked.count, max(1, asked.pairs // 2), side=asked.side)
        if 7 in asked.goals:
            memory(work, work / "source", asked.count, asked.side)


if __name__ == "__main__":
    main()
