"""What a thousand cells, a million files, a terabyte and sixty-four machines cost, worked out from what this machine measures.

    python -m benchmarks.scale_cost

Each constant is the slope between two sizes, in CPU seconds of the command and its children, so that a busy machine changes it
little; rates of disks and networks that are not here are named as assumptions. docs/scale.md shows the result.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = (500, 3000)
BYTES = 4096
STAGES = (20, 120)
BIG = 192 << 20
DISK, NETWORK, TRIP = 500e6, 1.25e9, 1e-3  # assumed: bytes a second of a disk and of 10 Gbit/s, seconds of a round trip
CELLS, MANY, TERA, NODES = 1000, 1_000_000, 1e12, 64
PARAMETERS = {"head on frozen features": 1281, "EfficientNet-Lite0": 3_412_657, "a network of 100 M": 100_000_000}
STEP = 0.2  # seconds of a step that the exchange is held against


@dataclass
class Measured:
    """Slopes, in CPU seconds; `start` is a no-op stage under DVC."""

    add: float = 0
    status: float = 0
    checkout: float = 0
    push: float = 0
    listing: float = 0
    memory: float = 0
    verify: float = 0
    md5: float = 0
    start: float = 0
    job: float = 0
    cell: float = 0
    reduce: float = 0


def main() -> int:
    """Measure, calculate, print."""
    found = Measured()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        _files(found, Path(folder))
        _stages(found, Path(folder))
        _bytes(found, Path(folder))
    _cells(found)
    found.reduce = _reduce()
    _print(found)
    return 0


def _files(found: Measured, folder: Path) -> None:
    """DVC's own work a file, and ours to read the cache again."""
    from pipeline.cache.objects import scan

    rows = []
    for count in FILES:
        root = _repository(folder / f"files{count}")
        for number in range(count):
            path = root / "many" / f"{number % 100:02d}" / f"{number:07d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(number).randbytes(BYTES))
        (root / "remote").mkdir()
        row = {"add": _cpu(root, "add", "many"), "status": _cpu(root, "status")}
        _run("rm", "-rf", "many", cwd=root)
        row["checkout"] = _cpu(root, "checkout")
        _run(sys.executable, "-m", "dvc", "remote", "add", "-d", "here", str(root / "remote"), cwd=root)
        row["push"] = _cpu(root, "push")
        began = time.process_time()
        scan(root / ".dvc" / "cache")
        row["verify"] = time.process_time() - began
        row["listing"] = next((root / ".dvc/cache/files/md5").glob("*/*.dir")).stat().st_size
        row["memory"] = _peak(root, "status")
        rows.append(row)
    for name in rows[0]:
        setattr(found, name, (rows[1][name] - rows[0][name]) / (FILES[1] - FILES[0]))


def _stages(found: Measured, folder: Path) -> None:
    """What a stage costs where nothing is to be done: DVC's start and look; and a job in Snakemake's plan."""
    planned = []
    for count in STAGES:
        root = _repository(folder / f"stages{count}")
        before = ["in.txt", *(f"s{number}.txt" for number in range(count))]
        blocks = [f"  s{number}: {{cmd: 'true', deps: [{before[number]}], outs: [s{number}.txt]}}" for number in range(count)]
        (root / "in.txt").write_text("in\n")
        (root / "params.yaml").write_text("source: in.txt\n")
        (root / "dvc.yaml").write_text("stages:\n" + "\n".join(blocks) + "\n")
        (root / "Snakefile").write_text((ROOT / "Snakefile").read_text(encoding="utf-8"))
        planned.append(_seconds([sys.executable, "-m", "snakemake", "-n", "--quiet", "all"], root))
        if count == STAGES[0]:
            found.start = min(_cpu(root, "status", "s0") for _ in range(3))
    found.job = (planned[1] - planned[0]) / (STAGES[1] - STAGES[0])


def _bytes(found: Measured, folder: Path) -> None:
    """CPU seconds to hash a byte."""
    from pipeline.cache.objects import scan

    place = folder / "bytes" / "files" / "md5" / "aa"
    place.mkdir(parents=True)
    (place / ("b" * 30)).write_bytes(random.Random(0).randbytes(1 << 20) * (BIG >> 20))
    began = time.process_time()
    scan(folder / "bytes")
    found.md5 = (time.process_time() - began) / BIG


def _cells(found: Measured) -> None:
    """Composing, fingerprinting and digesting one more cell of a study."""
    from pipeline.search.planning import Planner

    planner = Planner(ROOT, "digits", target="report", test=True)
    planner.cell([], {"seed": 0})
    began = time.process_time()
    for seed in range(1, 21):
        planner.cell(["model=mlp" if seed % 2 else "model=resnet_small"], {"seed": seed})
    found.cell = (time.process_time() - began) / 20


def _reduce() -> float:
    """CPU seconds a byte of gloo's sum over two processes of this machine, both counted."""
    code = (
        "import os, sys, time, torch, torch.distributed as d; torch.set_num_threads(1); d.init_process_group('gloo');"
        "x = torch.ones(1 << 20); d.all_reduce(x); t = time.process_time();"
        "[d.all_reduce(x) for _ in range(20)]; print((time.process_time() - t) / 20 / 4 / (1 << 20)); d.destroy_process_group()"
    )
    words = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(random.Random(os.getpid()).randint(20000, 30000)), "WORLD_SIZE": "2"}
    both = []
    for rank in range(2):
        env = {**os.environ, **words, "RANK": str(rank)}
        both.append(subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True))
    return sum(float(one.communicate()[0]) for one in both)


def _repository(root: Path) -> Path:
    root.mkdir()
    _run("git", "init", "-q", ".", cwd=root)
    _run(sys.executable, "-m", "dvc", "init", "-q", cwd=root)
    return root


def _run(*words: str, cwd: Path) -> None:
    memory = {"DVC_SITE_CACHE_DIR": str(cwd / ".dvc" / "tmp" / "site"), "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **memory}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr[-2000:]}")


def _seconds(words: list[str], cwd: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(*words, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cpu(root: Path, *words: str) -> float:
    return _seconds([sys.executable, "-m", "dvc", *words], root)


def _peak(root: Path, *words: str) -> float:
    """Peak resident bytes of a DVC command."""
    code = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, '-m', 'dvc', *sys.argv[1:]], capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    return float(
        subprocess.run([sys.executable, "-c", code, *words], cwd=root, capture_output=True, text=True, check=True).stdout
    )


def _print(found: Measured) -> None:
    print("| measured here | figure |\n|---|---|")
    for name, value in (
        ("DVC, a file of 4 KB: add; status, nothing changed; checkout; push to a folder",
         "; ".join(f"{1e3 * value:.2f} CPU-ms" for value in (found.add, found.status, found.checkout, found.push))),
        ("a file in DVC's list of a folder; in DVC's memory", f"{found.listing:.0f} bytes; {found.memory / 1e3:.1f} KB"),
        ("`verify --deep`, a file of 4 KB; a byte", f"{1e3 * found.verify:.2f} CPU-ms; {1e-6 / found.md5:.0f} MB a CPU-second"),
        ("DVC's start and look at a stage; a job in Snakemake's plan", f"{found.start:.2f} CPU-s; {1e3 * found.job:.1f} CPU-ms"),
        ("a cell of a study planned", f"{1e3 * found.cell:.0f} CPU-ms"),
        ("gloo, two processes, a byte", f"{1 / found.reduce / 1e6:.0f} MB a CPU-second"),
    ):  # fmt: skip
        print(f"| {name} | {value} |")
    print("\n| asked | what it takes | worked out as |\n|---|---|---|")
    for row in (*_rows_of_cells(found), *_rows_of_files(found), *_rows_of_machines()):
        print(f"| {' | '.join(row)} |")


def _rows_of_cells(found: Measured) -> list[tuple[str, str, str]]:
    jobs = CELLS * STAGES[0]
    return [
        (f"{CELLS:,} cells planned", _time(CELLS * found.cell), "cells x a cell"),
        (f"{jobs:,} jobs in one Snakemake plan", _time(jobs * found.job), "jobs x a job, where it stays linear"),
        (f"DVC's start for {jobs:,} stages that share nothing", _time(jobs * found.start), "stages x start"),
    ]


def _rows_of_files(found: Measured) -> list[tuple[str, str, str]]:
    sent = max(found.push, 3 * TRIP / 16)
    memory = f"{MANY * found.listing / 1e6:.0f} MB; {MANY * found.memory / 1e9:.1f} GB"
    return [
        (f"{MANY:,} files: first `dvc add`", _time(MANY * found.add), "files x add"),
        (
            f"{MANY:,} files: `dvc status`, nothing changed",
            _time(MANY * found.status),
            "files x status, for each stage that reads them",
        ),
        (f"{MANY:,} files: `dvc checkout`", _time(MANY * found.checkout), "files x checkout"),
        (f"{MANY:,} files: `verify --deep`", _time(MANY * found.verify), "files x verify"),
        (f"{MANY:,} files: DVC's list; its memory", memory, "files x entry"),
        (
            f"{MANY:,} files: push, {1e3 * TRIP:.0f} ms away, 16 at once",
            _time(MANY * sent),
            "the larger of push and three trips / 16",
        ),
        ("1 TB: hashed once, one core", _time(TERA * found.md5), "bytes x hash"),
        (
            f"1 TB: read at {DISK / 1e6:.0f} MB/s; sent at 10 Gbit/s",
            f"{_time(TERA / DISK)}; {_time(TERA / NETWORK)}",
            "bytes / rate",
        ),
    ]


def _rows_of_machines() -> list[tuple[str, str, str]]:
    exchange = []
    for name, count in PARAMETERS.items():
        share = f"{1e3 * _ring(count):.0f} ms: {_ring(count) / (STEP + _ring(count)):.0%} beside {STEP} s of work"
        exchange.append((f"{NODES} machines, {name}: exchange of a step", share, "2 (n-1)/n bytes / rate + 2 (n-1) trips / 10"))
    handed = _time((NODES - 1) * 12 * PARAMETERS["a network of 100 M"] / NETWORK)
    return [*exchange, (f"{NODES} machines, no shared disk: 1.2 GB of checkpoint to all", handed, "process 0 sends to each")]


def _ring(parameters: int) -> float:
    """Seconds of a ring's sum of fp32 gradients over the machines; a trip inside a rack is taken as a tenth of `TRIP`."""
    return 2 * (NODES - 1) / NODES * 4 * parameters / NETWORK + 2 * (NODES - 1) * TRIP / 10


def _time(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "minutes", 60), (172800, "hours", 3600)):
        if seconds < limit:
            return f"{seconds / size:.{1 if seconds / size < 10 else 0}f} {unit}"
    return f"{seconds / 86400:.1f} days"


if __name__ == "__main__":
    sys.exit(main())
