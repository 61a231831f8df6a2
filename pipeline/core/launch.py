"""The environment of a stage process: threads, seed, rank and switches that third parties read when they are imported.

Topology is not identity: rank, world size, devices and workers come from the environment that a launcher (Lightning,
torchrun, srun) sets; only `threads` and `seed`, which change bits, are configuration.
"""

import ctypes
import os
import random
import signal
import sys
from pathlib import Path

MARK = "PIPELINE_STAGE"
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
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
WORLD_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "PIPELINE_DEVICES")


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


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when DVC or Snakemake is killed, so that no orphan keeps writing."""
    if sys.platform == "linux":
        death_signal_option = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(death_signal_option, signal.SIGKILL)


def rank() -> int:
    """This process's rank over all nodes; 0 where nothing was launched."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def world() -> int:
    """Number of processes over all nodes; 1 where nothing was launched."""
    return next((int(os.environ[name]) for name in WORLD_VARIABLES if os.environ.get(name, "").isdigit()), 1)


def workers() -> int:
    """Data-loading processes, from `PIPELINE_WORKERS`: a matter of the machine, which never changes a result."""
    return int(os.environ.get("PIPELINE_WORKERS", "0"))


def seed_everything(seed: int) -> None:
    """Seed Python, and numpy and torch where the stage has imported them already."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
