"""How to run the project's own commands in a fresh clone, and what to read off it."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    """What a command did.

    Attributes:
        seconds: wall clock.
        peak_gb: largest sum of resident memory over the command and its children, sampled four times a second.
        stages: CPU seconds of each stage (`python -m pipeline NAME`), sampled as often.
    """

    code: int
    text: str
    seconds: float
    peak_gb: float
    stages: dict[str, float]


def run(words, *, cwd, **environment):
    """Run a command; its standard output and error go to one text."""
    changed = {**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    changed.pop("OMP_NUM_THREADS", None)
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=cwd, env=changed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak: list[float] = [0.0]
    stages: dict[str, float] = {}
    watcher = threading.Thread(target=_watch, args=(process, peak, stages))
    watcher.start()
    text, _ = process.communicate()
    watcher.join()
    return Run(process.returncode, text, time.monotonic() - began, peak[0], stages)


def _watch(process, peak, stages):
    while process.poll() is None:
        total = 0
        try:
            parent = psutil.Process(process.pid)
            for child in [parent, *parent.children(recursive=True)]:
                try:
                    total += child.memory_info().rss
                    words, times = child.cmdline(), child.cpu_times()
                    if words[1:3] == ["-m", "pipeline"] and len(words) == 4:
                        stages[words[3]] = max(stages.get(words[3], 0.0), times.user + times.system)
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        peak[0] = max(peak[0], total / 2**30)
        time.sleep(0.25)


def run_tests(folder, *words):
    """Run some of the project's tests in a folder; returns the run and how many passed."""
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words], cwd=folder)
    assert done.code == 0, done.text[-6000:]
    return done, int(re.findall(r"(\d+) passed", done.text)[-1])


def outputs(folder):
    """Stage -> digest of its output, from dvc.lock."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {name: stage["outs"][0]["md5"] for name, stage in stages.items()}
