"""When a job goes back into the queue, and when it does not; `scontrol` is a script that answers as Slurm's does."""

import pytest

from pipeline.cluster import requeue

RUNNING = "JobId=7 JobName=x JobState=RUNNING Reason=None TimeLimit=00:01:00 PreemptTime=None Restarts=0"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`slurm(facts, code)` says what scontrol answers; returns the list of what it was asked."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    asked = []

    def answer(facts, code=0):
        def scontrol(*words):
            asked.append(words[0])
            return (code, "Access denied" if code else "") if words[0] == "requeue" else (0, facts)

        monkeypatch.setattr(requeue, "_scontrol", scontrol)
        return asked

    return answer


MINE = "0123456789abcdef"


def checkpoint(root, step, folder=MINE):
    folder = root / ".run/train" / folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"step={step:09d}-{'0' * 8}.ckpt").touch()


def test_new_steps_are_worth_going_back_for(slurm, tmp_path):
    asked = slurm(RUNNING)
    checkpoint(tmp_path, 40)
    checkpoint(tmp_path, 30)
    assert requeue.newest_steps(tmp_path, "train") == {MINE: 40}
    said = requeue.go_back(tmp_path, "train", before={MINE: 20})
    assert said == "job 7 was told to end: it is back in the queue and continues from the checkpoint of step 40"
    assert asked == ["-o", "requeue"]


def test_no_new_step_before_the_time_limit_would_go_round_for_ever(slurm, tmp_path):
    asked = slurm(RUNNING)
    checkpoint(tmp_path, 40)
    assert "it needs more time; raise runtime of train under meta in dvc.yaml" in requeue.go_back(tmp_path, "train", before={MINE: 40})
    assert "nothing new to continue from" in requeue.go_back(tmp_path, "embed", before={})
    assert "requeue" not in asked


def test_a_checkpoint_that_another_configuration_left_hides_no_new_step(slurm, tmp_path):
    asked = slurm(RUNNING)
    checkpoint(tmp_path, 5000, "of a configuration that was given up")
    before = requeue.newest_steps(tmp_path, "train")
    assert "nothing new to continue from" in requeue.go_back(tmp_path, "train", before=before)
    checkpoint(tmp_path, 3000)
    assert "continues from the checkpoint of step 3000" in requeue.go_back(tmp_path, "train", before=before)
    assert asked.count("requeue") == 1


def test_a_preempted_job_goes_back_whatever_it_has(slurm, tmp_path):
    slurm(RUNNING.replace("PreemptTime=None", "PreemptTime=2026-01-01T00:00:00"))
    assert "was preempted: it is back in the queue and continues from the start" in requeue.go_back(tmp_path, "train", before={})
    checkpoint(tmp_path, 40)
    assert "continues from the checkpoint of step 40" in requeue.go_back(tmp_path, "train", before={MINE: 40})
    checkpoint(tmp_path, 5000, "of a configuration that was given up")
    assert "continues from its newest checkpoint, if it has one" in requeue.go_back(
        tmp_path, "train", before=requeue.newest_steps(tmp_path, "train"))  # fmt: skip


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_what_was_ended_from_outside_stays_where_it_is(slurm, tmp_path, state):
    asked = slurm(RUNNING.replace("RUNNING", state))
    checkpoint(tmp_path, 40)
    assert "decides what follows" in requeue.go_back(tmp_path, "train", before={})
    assert "requeue" not in asked


def test_a_cluster_that_refuses_is_quoted(slurm, tmp_path):
    slurm(RUNNING, code=1)
    checkpoint(tmp_path, 1)
    assert "cannot be requeued (Access denied): submit it again, it continues" in requeue.go_back(tmp_path, "train", before={})


def test_without_slurm_the_same_command_continues(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "the same command continues" in requeue.go_back(tmp_path, "train", before={})
