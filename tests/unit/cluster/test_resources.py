"""What a stage asks of a cluster: its meta, more at each attempt, never more than the largest, and on several nodes where wished."""

import ast

import pytest

from pipeline.cluster.resources import asked, layout, words
from pipeline.core.dag import Stage, read_stages
from pipeline.core.errors import PersonError


def stage(name="train", **meta):
    return Stage(name=name, desc="", keys=(), params=(), inputs={}, out=f"data/{name}", resources=meta)


TRAIN = stage(threads=2, resources={"mem_mb": 4000, "runtime": 240, "gpu": 1}, processes="many")


@pytest.mark.parametrize(("attempt", "most", "expected"), [
    (1, None, 4000), (2, None, 8000), (3, None, 12000),
    (2, 6000, 6000), (3, 6000, 6000),
    (1, 2000, 4000),  # what was declared is asked for; the cluster says no, not we
])  # fmt: skip
def test_memory_grows_with_the_attempt_up_to_the_largest_job(attempt, most, expected):
    assert asked(TRAIN, {"most": {"mem_mb": most} if most else None})["mem_mb"](None, attempt=attempt) == expected


def test_time_grows_and_gpus_do_not():
    found = asked(TRAIN, {})
    assert found["runtime"](None, attempt=3) == 720
    assert found["gpu"] == 1
    assert "nodes" not in found


def test_several_nodes_are_for_the_stage_that_may_run_on_several():
    wished = {"nodes": 2, "tasks_per_node": 3}
    found = asked(TRAIN, wished)
    assert (found["nodes"], found["tasks"], found["mpi"]) == (2, 6, "srun")
    assert words(TRAIN, wished, threads=2) == "train --nodes 2 --tasks-per-node 3 --threads 2"
    other = stage("embed", resources={"mem_mb": 1000, "runtime": 5})
    assert layout(other, wished) == (1, 1)
    assert words(other, wished, threads=2) == "embed"


def test_meta_can_say_it_and_the_command_line_goes_before():
    declared = stage(resources={"mem_mb": 1, "runtime": 1, "nodes": 4}, processes="many")
    assert layout(declared, {}) == (4, 1)
    assert layout(declared, {"nodes": "2"}) == (2, 1)


@pytest.mark.parametrize("value", [0, -1, "two", True, 1.5])
def test_a_size_that_is_none_is_named(value):
    with pytest.raises(PersonError, match="nodes must be a whole number, 1 or more: received"):
        layout(TRAIN, {"nodes": value})


def test_every_stage_of_the_dag_says_what_it_needs(project):
    for one in read_stages(project).values():
        found = asked(one, {})
        assert found["mem_mb"](None, attempt=1) > 0, one.name
        assert found["runtime"](None, attempt=1) > 0, one.name


def test_only_what_resumes_is_warned_and_meta_says_which(project):
    """A stage resumes that cannot do without a `scratch`; for any other a warning would only shorten its time."""
    warned = {one.name for one in read_stages(project).values() if asked(one, {"warn_seconds": 90}).get("slurm_extra") == "--signal=USR1@90"}
    takes = set()
    for path in (project / "pipeline/stages").glob("*.py"):
        runs = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "run"]
        for node in runs:
            needed = {one.arg for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value is None}
            takes |= {path.stem} if "scratch" in needed else set()
    assert warned == takes == {"train", "synthesize"}
    assert "slurm_extra" not in asked(TRAIN, {})
