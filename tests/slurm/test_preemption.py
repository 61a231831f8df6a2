"""A training that Slurm takes the machine from keeps its step, goes back into the queue, and ends with the bytes of one that ran through."""

import time

import pytest

from tests.slurm.cluster import said, wait
from tests.slurm.conftest import LONG, Submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3000)]
RUN = "srun python -m pipeline job train"
TWO = "python -m pipeline job train --nodes 2"


def through(repository, **environment):
    """The same training without a cluster."""
    repository.call("dvc", "repro", "--single-item", "train", **environment)
    return repository.outputs()["train"]


def preempted(job, urgent):
    restarts = int(job.facts()["Restarts"])
    urgent()
    wait(lambda: int(job.facts().get("Restarts", 0)) > restarts, 300, f"not preempted\n{job.said()}")
    job.begin_again()


def test_preempted_three_times_it_ends_with_the_same_bytes(cluster, prepared, urgent):
    """By a partition that goes first; the training has a minute, and takes a second."""
    longer = [*LONG, "train.max_steps=600"]
    repository = prepared("preempted", longer)
    job = Submitted(repository, "--time=60", "--signal=USR1@30", wrap=RUN)
    for _ in range(3):
        job.wait_for_steps(more=8)
        preempted(job, urgent)
    assert job.wait_for_end() == "COMPLETED", job.said()
    text = job.log.read_text()
    assert text.count("interrupted by SIGUSR1: the checkpoint of step") == 3
    assert text.count("was preempted: it is back in the queue and continues from the checkpoint of step") == 3
    assert int(job.facts()["Restarts"]) == 3
    whole = through(prepared("whole", longer))
    print(f"PREEMPTED 3 times: {repository.outputs()['train']}, through: {whole}")
    assert repository.outputs()["train"] == whole


def test_a_planted_change_of_the_seed_is_seen(prepared):
    """The comparison above can fail."""
    assert through(prepared("one", [*LONG, "train.max_steps=20"])) != through(prepared("other", [*LONG, "train.max_steps=20", "seed=1"]))


def test_two_nodes_are_preempted_and_end_with_the_same_bytes(cluster, prepared, urgent):
    repository = prepared("two", LONG)
    job = Submitted(repository, "--nodes=2", "--ntasks-per-node=1", "--time=60", "--signal=USR1@30", wrap=TWO)
    job.wait_for_steps(more=8)
    preempted(job, urgent)
    assert job.wait_for_end(900) == "COMPLETED", job.said()
    assert "process 1 of 2 is done" in job.log.read_text()
    assert repository.outputs()["train"] == through(prepared("two-through", LONG), PIPELINE_DEVICES="2")


def test_the_time_limit_is_no_end(cluster, prepared):
    """The signal before the limit keeps the step; the next job goes on. (Slurm may send it a minute early.)"""
    repository = prepared("limit", [*LONG, "train.max_steps=100000"])
    job = Submitted(repository, "--time=4", "--signal=USR1@30", wrap=RUN)
    wait(lambda: "told to end: it is back in the queue" in job.said(), 400, "not requeued")
    job.begin_again()
    job.wait_for_steps(more=2)
    said("scancel", job.number)
    assert job.wait_for_end(120) == "CANCELLED"
    assert int(job.facts()["Restarts"]) == 1, "who cancels a job does not want it back"


def test_a_killed_node_loses_nothing(cluster, prepared):
    """The node's daemon and all that ran there are killed: Slurm runs the job again elsewhere, which continues."""
    repository = prepared("node", LONG)
    job = Submitted(repository, "--time=60", "--signal=USR1@30", wrap=RUN)
    job.wait_for_steps(more=8)
    node = job.facts()["NodeList"]
    cluster.kill(f"slurmd-{node}")
    try:
        wait(lambda: int(job.facts().get("Restarts", 0)) == 1, 300, f"not requeued\n{job.said()}")
        job.begin_again(200)
        assert job.facts()["NodeList"] != node
        assert job.wait_for_end() == "COMPLETED", job.said()
    finally:
        cluster.start_node(int(node.removeprefix("node")))
        cluster.wait_for_nodes()
    assert repository.outputs()["train"] == through(prepared("node-through", LONG))


def test_a_killed_controller_loses_nothing(cluster, prepared):
    repository = prepared("controller", LONG)
    job = Submitted(repository, "--time=60", "--signal=USR1@30", wrap=RUN)
    job.wait_for_steps(more=8)
    cluster.kill("slurmctld")
    time.sleep(5)
    cluster.start_controller()
    cluster.wait_for_nodes()
    assert job.wait_for_end() == "COMPLETED", job.said()
    assert int(job.facts()["Restarts"]) == 0
