"""What a stage asks of a cluster: `meta:` of dvc.yaml, more of it at each further attempt, on as many nodes as were wished.

A stage that failed for want of memory or time is tried again by Snakemake (`retries` of a profile) with twice, three times ... of
both, up to the largest job that the cluster takes (`most` of the profile's limits.yaml).
"""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.core.dag import Stage
from pipeline.core.errors import PersonError

GROWING = ("mem_mb", "runtime")  # what a further attempt gets more of
SIZES = ("nodes", "tasks_per_node")


def layout(stage: Stage, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Nodes of a stage, and its processes on each: `settings` for a stage that may run on several, before its own `meta:`.

    Raises:
        PersonError: a size is no whole number from 1.
    """
    meta = stage.resources.get("resources", {})
    wished = settings if stage.resources.get("processes") == "many" else {}
    found = []
    for name in SIZES:
        value = wished.get(name, meta.get(name, 1))
        if isinstance(value, bool) or not str(value).isdigit() or int(value) < 1:
            raise PersonError(f"{name} must be a whole number, 1 or more: received {value!r}; say it as  --config {name}=2")
        found.append(int(value))
    return found[0], found[1]


def asked(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `resources` of the stage's Snakemake rule.

    Args:
        stage: what dvc.yaml says of it.
        settings: Snakemake's configuration: `nodes`, `tasks_per_node`, `most`, the largest mem_mb and runtime of a job, and
            `warn_seconds`, how long before its time limit a stage that resumes is told.

    Returns:
        Numbers, and for what grows with the attempt a function of Snakemake's `attempt`.
    """
    found = {name: value for name, value in stage.resources.get("resources", {}).items() if name not in SIZES}
    most = settings.get("most") or {}
    for name in GROWING:
        if name in found:
            found[name] = _growing(int(found[name]), most.get(name))
    if settings.get("warn_seconds") and stage.resources.get("resumes"):
        found["slurm_extra"] = f"--signal=USR1@{int(settings['warn_seconds'])}"
    nodes, tasks = layout(stage, settings)
    if nodes * tasks > 1:
        found |= {"nodes": nodes, "tasks": nodes * tasks, "mpi": "srun"}  # `mpi`: srun is the stage's own affair
    return found


def _growing(base: int, most: Any) -> Callable[..., int]:
    def size(wildcards: Any, attempt: int) -> int:  # noqa: ARG001 - Snakemake looks at the names
        return base * attempt if most is None else max(base, min(base * attempt, int(most)))

    return size


def words(stage: Stage, settings: Mapping[str, Any], *, threads: int) -> str:
    """What follows `python -m pipeline job`: the stage, and the launcher of its processes where there are several."""
    nodes, tasks = layout(stage, settings)
    return stage.name if nodes * tasks == 1 else f"{stage.name} --nodes {nodes} --tasks-per-node {tasks} --threads {threads}"
