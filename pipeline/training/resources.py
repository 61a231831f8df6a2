"""What a training takes of its machine, and what is free: read from the kernel and from torch, changing nothing.

Sources: proc(5) for the process and the machine, cgroups(7) for the limit of a container or a Slurm job.
"""

import math
import resource
from pathlib import Path

import torch

STATUS, MEMORY = Path("/proc/self/status"), Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
UNLIMITED = 2**60  # a cgroup of version 1 without a limit states about 2 ** 63 bytes


def resident_bytes() -> int:
    """Memory of this process now."""
    return _line(STATUS, "VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process has held so far; workers of the loader are processes of their own."""
    return _line(STATUS, "VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_peak_bytes() -> int | None:
    """The most memory that torch has held of the GPU; None without one."""
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def free_bytes() -> int | None:
    """Memory that this process may still take: the least of the machine's, the container's and the process's own limit.

    None where nothing says so (not Linux).
    """
    known = [bound for bound in (_line(MEMORY, "MemAvailable"), *_container(), *_own()) if bound is not None]
    return max(0, min(known)) if known else None


def device_free_bytes() -> int | None:
    """Memory of the GPU that is free; None without one."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def _line(path: Path, key: str) -> int | None:
    """The value of a line `key:  123 kB`, in bytes."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{key}:"):
                return 1024 * int(line.split()[1])
    except OSError:
        return None
    return None


def _container() -> list[int | None]:
    """What the control group leaves, of version 2 and of version 1."""
    pairs = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    return [_left(CGROUP / limit, CGROUP / used) for limit, used in pairs]


def _left(limit: Path, used: Path) -> int | None:
    try:
        most = int(limit.read_text(encoding="utf-8"))
        return most - int(used.read_text(encoding="utf-8")) if most < UNLIMITED else None
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _own() -> list[int | None]:
    """What RLIMIT_AS and RLIMIT_DATA leave."""
    pairs = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))
    limits = [(resource.getrlimit(kind)[0], key) for kind, key in pairs]
    return [None if most in {resource.RLIM_INFINITY, math.inf} else most - (_line(STATUS, key) or 0) for most, key in limits]
