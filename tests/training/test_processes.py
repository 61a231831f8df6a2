"""Two processes train as one: the same stream of batches, nearly the same loss; one that dies ends both; mistakes are named."""

import json
import os
import signal
import socket
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.ranks import Place, Ranks
from pipeline.training import fit as fit_module
from pipeline.training.processes import check_devices
from pipeline.training.watch import read_rows
from tests.training.commands import Repository
from tests.training.trainee import BATCH, COUNT, Run, chance

pytestmark = pytest.mark.multi
EXACT = {"precision": "32-true", "dropout": 0.0, "norm": False, "weights": True, "steps": 30}
TOLERANCE = 2e-4  # of a loss: the same sums in another order, over 30 steps


def seen(folder, rank):
    return [json.loads(line) for line in (folder / f"seen-{rank}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = {}
    for ranks in (1, 2):
        folders[ranks] = tmp_path_factory.mktemp("runs") / str(ranks)
        Run(folders[ranks], ranks=ranks, **EXACT).final()
    return folders


def test_two_processes_see_the_batches_of_one(runs):
    one, first, second = seen(runs[1], 0), seen(runs[2], 0), seen(runs[2], 1)
    for (step, whole), (_, left), (_, right) in zip(one, first, second, strict=True):
        assert sorted(left + right) == sorted(whole), step
        assert len(left) == len(right) == BATCH // 2


def test_each_sample_is_seen_once_an_epoch(runs):
    per_epoch = COUNT // BATCH
    together = [left + right for (_, left), (_, right) in zip(seen(runs[2], 0), seen(runs[2], 1), strict=True)]
    for start in range(0, len(together) - per_epoch + 1, per_epoch):
        assert Counter(index for batch in together[start : start + per_epoch] for index in batch) == Counter(range(COUNT))


def test_the_loss_is_that_of_one_process(runs):
    """Weights of samples differ, so that a mean of the two processes' means would be another number."""
    one, two = (read_rows(runs[ranks] / "history.jsonl") for ranks in (1, 2))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for left, right in zip(one, two, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], abs=TOLERANCE), left["step"]
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], abs=10 * TOLERANCE), left["step"]
    assert one[-1]["val_loss"] == pytest.approx(two[-1]["val_loss"], abs=TOLERANCE)


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_dies_ends_the_other_and_the_training_continues(tmp_path, lost):
    folder = tmp_path / "run"
    run = Run(folder, ranks=2, pause=0.01, every=2)
    assert run.under_way()
    began = time.monotonic()
    run.send(signal.SIGKILL, ranks=[lost])
    codes = run.codes(timeout=60)
    assert time.monotonic() - began < 60
    assert codes[lost] == -signal.SIGKILL
    assert codes[1 - lost] == 1
    assert "was lost: nothing was published; the same command continues" in run.said()
    whole = Run(tmp_path / "whole", ranks=2).final()
    assert Run(folder, ranks=2).final() == whole


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    run = Run(tmp_path / "run", ranks=2, batch=7)
    assert run.codes() == [1, 1]
    assert "train.batch_size 7 must be a multiple of the number of processes, 2: set train.batch_size=8" in " ".join(run.said().split())


def test_more_devices_than_there_are_is_refused():
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(PersonError, match=rf"{cores + 1} processes were asked of this machine, which has {cores}.*PIPELINE_DEVICES={cores}"):
        check_devices(Place(world=cores + 1, devices=cores + 1))


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**46), lambda: np.empty(2**46), lambda: bytearray(2**46)])
def test_what_allocators_raise_names_a_smaller_batch(allocate):
    with (
        pytest.raises(PersonError, match=r"the memory does not suffice for a step: halve generator\.batch_size"),
        fit_module._explained(Ranks(Place()), "generator.batch_size"),
    ):
        allocate()


def test_a_lost_data_worker_is_named_with_the_memory_there_was():
    said = r"a data worker was lost, .*held \d+ MB, /dev/shm has \d+ MB left\): set PIPELINE_WORKERS to less, or halve train\.batch_size"
    with pytest.raises(PersonError, match=said), fit_module._explained(Ranks(Place()), "train.batch_size"):
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"), fit_module._explained(Ranks(Place()), "train.batch_size"):
        raise RuntimeError("shape mismatch")


def test_lightning_s_clean_up_does_not_hide_what_went_wrong():
    def fails():
        try:
            raise PersonError("the real one")
        finally:
            raise RuntimeError("Please call `iter(combined_loader)` first.")

    with pytest.raises(PersonError, match="the real one"), fit_module._explained(Ranks(Place()), "train.batch_size"):
        fails()


def test_an_error_of_this_process_is_not_taken_for_the_loss_of_another():
    two = Ranks(Place(world=2, devices=2, launcher="env"))
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"), fit_module._explained(two, "train.batch_size"):
        raise RuntimeError("shape mismatch")
    lost = "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:1"
    with pytest.raises(PersonError, match="another process of this training was lost"), fit_module._explained(two, "train.batch_size"):
        raise RuntimeError(lost)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository") / "toy")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_command_loses_a_process_six_times(tmp_path, repository):
    """kill -9 of rank 0 and rank 1 in turn: everything is gone within a minute, and the last start ends with the same bytes."""
    environment = {"PIPELINE_DEVICES": "2"}
    folder = repository.copy(tmp_path / "run")
    moments = chance()
    for number in range(6):
        started = folder.start("train", **environment)
        assert started.under_way(more=1), started.said()
        time.sleep(moments.uniform(0.0, 1.0))
        everything, ranks = started.processes(), started.ranks()
        assert sorted(ranks) == [0, 1]
        began = time.monotonic()
        os.kill(ranks[number % 2], signal.SIGKILL)
        code = started.code(60)
        _, left = psutil.wait_procs(everything, timeout=60 - (time.monotonic() - began))
        print(f"RANK {number % 2} killed: exit {code}, all gone after {time.monotonic() - began:.1f} s, {len(left)} left")
        assert code != 0
        assert left == []
        assert list((folder.root / "data").glob("train")) == []
    assert "was killed by SIGKILL: nothing was published; the same command continues" in (folder.root / "log.txt").read_text()
    assert folder.finish("train", **environment) == repository.copy(tmp_path / "whole").finish("train", **environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_and_our_own_start_give_the_same_bytes_and_only_the_first_publishes(tmp_path, repository):
    ours, other = repository.copy(tmp_path / "ours"), repository.copy(tmp_path / "torchrun")
    whole = ours.finish("train", PIPELINE_DEVICES="2")
    torchrun = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node=2 --no-python"
    assert other.finish("train", PIPELINE_LAUNCH=torchrun) == whole
    for folder in (ours, other):
        assert [path.name for path in (folder.root / "data").glob("train*")] == ["train"]
        assert (folder.root / "log.txt").read_text().count("data/train") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_srun_s_variables_are_understood(tmp_path, repository):
    """Slurm's own launcher is not here: two processes with the variables that it sets."""
    folder = repository.copy(tmp_path / "srun")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    started = [folder.start("train", SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), **shared) for rank in range(2)]
    assert [one.code(600) for one in started] == [0, 0], started[0].said()
    assert folder.published("train") == repository.copy(tmp_path / "ours").finish("train", PIPELINE_DEVICES="2")
