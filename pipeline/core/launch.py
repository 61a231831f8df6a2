"""The environment of a stage process: threads, seed and switches that third parties read when they are imported.

Topology is not identity: where a process stands among others, and how many workers it has, come from the environment
(`pipeline.core.ranks`); only `threads` and `seed`, which change bits, are configuration.
"""

import ctypes
import gc
import os
import random
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import get_temp_dir
from pathlib import Path

from pipeline.core.errors import PersonError
from pipeline.core.ranks import Place, place

MARK = "PIPELINE_STAGE"
LAUNCHED = "PIPELINE_LAUNCHED"  # set for what PIPELINE_LAUNCH started
ORPHAN_SECONDS = 60.0  # how long a stage whose parent died may take to end by itself
QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "MPLBACKEND": "Agg",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
RARELY = (100_000, 50, 1000)  # objects more than before, collections of the youngest, of the middle generation
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def environment(*, threads: int, scratch: Path) -> dict[str, str]:
    """Variables that must stand before numpy, torch or OpenCV are imported; TMPDIR lies beside what it will replace."""
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**QUIET, **counts, "TMPDIR": str(scratch)}


def enter(stage: str, *, threads: int, scratch: Path) -> None:
    """Replace this process by one with the stage's environment; returns when it stands already.

    The hash seed of Python can only be set before its start, and thread pools read their size at import.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    wanted = environment(threads=threads, scratch=scratch)
    if os.environ.get(MARK) != stage or any(os.environ.get(name) != value for name, value in wanted.items()):
        changed = {**os.environ, **wanted, MARK: stage}
        if os.environ.get(MARK) == stage:
            raise RuntimeError(f"the environment of stage {stage} does not hold after a restart")
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [*sys.orig_argv[:1], *sys.orig_argv[1:]], changed)
    die_with_parent()


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel (Linux) to send this process a signal when DVC or Snakemake is killed, so that no orphan keeps writing."""
    if sys.platform == "linux":
        death_signal_option = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(death_signal_option, number)


def end_with_parent() -> None:
    """As `die_with_parent`, for a stage that can keep what it has: it is asked to end first, and killed a minute later."""
    parent = os.getppid()
    die_with_parent(signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(ORPHAN_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="orphan-watch", daemon=True).start()


def by_launcher(here: Place) -> None:
    """Replace this process by `PIPELINE_LAUNCH` (srun, torchrun ... --no-python) with this process's own words behind it.

    Returns where there is no such variable, or the launcher has started this process already.

    Raises:
        PersonError: the launcher is not installed.
    """
    words = shlex.split(os.environ.get("PIPELINE_LAUNCH", ""))
    if not words or here.launcher or os.environ.get(LAUNCHED):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(words[0], [*words, sys.executable, *sys.orig_argv[1:]], {**os.environ, LAUNCHED: "1"})
    except FileNotFoundError as error:
        raise PersonError(f"PIPELINE_LAUNCH names {words[0]!r}, which is not installed here") from error


def rank() -> int:
    """This process's rank over all nodes; 0 where nothing was launched."""
    return place().rank


def world() -> int:
    """Number of processes of a training over all nodes; 1 where the environment asks for no more."""
    return place().world


def short_sockets() -> None:
    """Give multiprocessing a folder of the system for its sockets: a socket's path may have 107 bytes.

    A stage's TMPDIR lies in the workspace, whose path may be longer, and is removed before this process ends. The folder is
    made once, before processes are started that inherit it, and goes with this one. Without it a worker of a loader that cannot
    make its socket says so on standard error, sends nothing, and the training waits for ever.
    """
    variable, folder = os.environ.pop("TMPDIR", None), tempfile.tempdir
    tempfile.tempdir = None
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = folder
        if variable is not None:
            os.environ["TMPDIR"] = variable


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Inside, Python looks for cycles of references rarely; a context, or a decorator.

    For a stage that holds some records for each sample and makes no cycles: looking through them again and again is a tenth of
    its time (20,000 samples).
    """
    before = gc.get_threshold()
    gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def workers() -> int:
    """Data-loading processes, from `PIPELINE_WORKERS`: a matter of the machine, which never changes a result."""
    wanted = os.environ.get("PIPELINE_WORKERS", "").strip() or "0"
    if not wanted.isdigit():
        raise PersonError(f"PIPELINE_WORKERS must be a whole number, 0 or more: received {wanted!r}")
    return int(wanted)


def seed_everything(seed: int) -> None:
    """Seed Python, and numpy and torch where the stage has imported them already."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.manual_seed(seed)
        torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms, which imports the compiler too: 1.4 s
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
