"""The lines of the scale list that need a Slurm: the tests of tests/slurm, on a fresh clone, and the figures that they print."""

import re

from tests.acceptance.commands import run_tests

FIGURES = re.compile(r"^\W*((?:STUDY|PREEMPTED|MEMORY) .*)$", re.MULTILINE)


def on_slurm(folder, *words, timeout=6000):
    """Run tests of tests/slurm in a folder; returns how many passed and the figures."""
    done, passed = run_tests(folder, "-m", "slurm", "-s", f"--timeout={timeout}", *words)
    return passed, FIGURES.findall(done.text)
