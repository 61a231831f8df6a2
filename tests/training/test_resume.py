"""kill -9 at random moments: the training ends with the bytes of the uninterrupted one, and no checkpoint is ever unreadable."""

import re
import signal
import time

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.training import checkpoint
from pipeline.training.checkpoint import DurableIO, check_room, newest
from tests.training.commands import Repository
from tests.training.commands import killed as command_killed
from tests.training.trainee import Run, chance, killed

SETTINGS = {
    "plain": {"pause": 0.01},
    "workers": {"pause": 0.01, "workers": 2},
    "ranks": {"pause": 0.01, "ranks": 2},
    "gan": {"pause": 0.01, "kind": "gan"},
}


def refused(folder):
    return [path.name for path in folder.glob("refused-*")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of each setting, made once."""
    found = {}

    def make(name, **more):
        key = (name, *sorted(more.items()))
        if key not in found:
            found[key] = Run(tmp_path_factory.mktemp("whole") / name, **{**SETTINGS[name], "pause": 0.0, **more}).final()
        return found[key]

    return make


@pytest.mark.multi
@pytest.mark.parametrize("name", ["plain", "ranks", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "workers"))])
def test_killed_twice_and_the_weights_are_the_same(tmp_path, whole, name):
    """Dropout, moving average, bf16 (the classifier), noise keyed by epoch; with data workers; on two processes; the GAN."""
    run, kills = killed(tmp_path / name, 2, chance(), **SETTINGS[name])
    assert run.final() == whole(name)
    assert kills >= 1
    assert refused(tmp_path / name) == []


@pytest.mark.multi
def test_workers_change_no_bit_and_a_seed_of_the_order_does(whole):
    assert whole("workers") == whole("plain")
    assert whole("plain", precision="32-true") != whole("plain")


@pytest.mark.multi
def test_a_sampler_that_starts_its_epoch_anew_turns_it_red(tmp_path, whole):
    run, kills = killed(tmp_path / "epoch", 1, chance(), least=7, sampler="epoch", **SETTINGS["plain"])  # a checkpoint every 3 steps
    assert kills == 1
    assert run.final() != whole("plain")


@pytest.mark.multi
def test_a_finished_training_is_not_trained_again(tmp_path, whole):
    folder = tmp_path / "done"
    assert Run(folder, steps=10).final() == Run(folder, steps=10).final()  # 10 is no multiple of the checkpoints' 3
    assert len((folder / "seen-0.jsonl").read_text().splitlines()) == 10
    assert newest(folder)[1] == 10


@pytest.mark.multi
def test_a_checkpoint_of_another_model_is_set_aside_and_said(tmp_path, whole):
    other, folder = tmp_path / "other", tmp_path / "plain"
    Run(other, width=8, steps=30).final()
    first, _ = killed(folder, 1, chance(), **SETTINGS["plain"])
    began = time.monotonic()
    while not list(folder.glob("step=*.ckpt")) and time.monotonic() - began < 60:
        time.sleep(0.01)
    first.send(signal.SIGKILL)
    first.codes()
    kept = {path.name for path in folder.glob("step=*.ckpt")}
    for path in other.glob("step=*.ckpt"):
        path.rename(folder / path.name.replace("step=0000000", "step=0000009"))
    run = Run(folder)
    assert run.final() == whole("plain")
    assert "is of another model" in run.said()
    assert len(refused(folder)) == 2
    assert kept


def test_a_scratch_that_cannot_be_written_is_named_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PersonError, match=r"checkpoints cannot be written to .*file/scratch \(Not a directory\)"):
        check_room(tmp_path / "file" / "scratch", torch.nn.Linear(2, 2))


def test_a_full_disk_is_named_before_the_first_step(tmp_path, monkeypatch):
    class Full:
        f_bavail, f_frsize = 10, 10

    monkeypatch.setattr(checkpoint.os, "statvfs", lambda folder: Full)
    with pytest.raises(PersonError, match=r"checkpoints need up to 0 MB .* and the disk has 0 MB left"):
        check_room(tmp_path, torch.nn.Linear(2, 2))


def test_an_error_of_the_writer_is_raised_at_the_next_step_and_once(tmp_path, monkeypatch):
    io = DurableIO()
    io.save_checkpoint({"global_step": 1}, tmp_path / "checkpoint")
    io.wait()
    monkeypatch.setattr(checkpoint.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    io.save_checkpoint({"global_step": 2}, tmp_path / "checkpoint")
    with pytest.raises(OSError, match="No space left"):
        io.wait()
    io.check()
    monkeypatch.undo()
    assert newest(tmp_path)[1] == 1
    assert list(tmp_path.glob(".*.part")) == []
    io.teardown()


def test_what_is_saved_is_the_state_at_the_call_and_not_at_the_write(tmp_path):
    """The planted fault is a writer that is handed the live tensors."""
    weight = torch.zeros(3, 2).t()
    io = DurableIO()
    io._writer.submit(lambda: __import__("time").sleep(0.2))
    io.save_checkpoint({"global_step": 1, "weight": weight, "tied": weight, "list": [weight]}, tmp_path / "checkpoint")
    weight += 1
    io.wait()
    io.teardown()
    held = torch.load(newest(tmp_path)[0], weights_only=True)
    assert held["weight"].sum() == 0
    assert held["weight"].stride() == weight.stride()
    assert held["tied"].data_ptr() == held["weight"].data_ptr() == held["list"][0].data_ptr()


def test_new_checkpoints_are_kept_although_an_old_and_bad_one_has_a_higher_step(tmp_path):
    io = DurableIO()
    for step in (8, 9):
        io.save_checkpoint({"global_step": step}, tmp_path / "checkpoint")
    io.wait()
    for path in tmp_path.glob("step=*.ckpt"):
        path.write_bytes(b"broken")
    assert newest(tmp_path) == (None, 0)
    for step in (1, 2, 3):
        io.save_checkpoint({"global_step": step}, tmp_path / "checkpoint")
    io.teardown()
    assert newest(tmp_path)[1] == 3
    assert len(list(tmp_path.glob("step=*.ckpt"))) == 2


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository") / "toy")


REAL = {
    "plain": ("train", {}), "with workers": ("train", {"PIPELINE_WORKERS": "2"}), "two ranks": ("train", {"PIPELINE_DEVICES": "2"}),
    "GAN": ("synthesize", {}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.multi
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", REAL)
def test_the_real_command_killed_five_times(tmp_path, repository, name):
    """`python -m pipeline` with runner, publication and all; twenty kills over the four runs."""
    stage, environment = REAL[name]
    whole = repository.copy(tmp_path / "whole").finish(stage, **environment)
    victim = repository.copy(tmp_path / "victim")
    found, kills = command_killed(victim, stage, 5, chance(), **environment)
    bad = len(re.findall("checkpoint .* is damaged", (victim.root / "log.txt").read_text())) + len(victim.refused(stage))
    print(f"KILLED {name}: {kills} kills, final bytes {'equal' if found == whole else 'DIFFERENT'}, {bad} unreadable checkpoints")
    assert found == whole
    assert kills == 5
    assert bad == 0


@pytest.mark.slow
@pytest.mark.multi
@pytest.mark.timeout(900)
def test_the_real_command_with_a_sampler_that_starts_its_epoch_anew_turns_it_red(tmp_path, repository):
    planted = repository.copy(tmp_path / "planted")
    path = planted.root / "pipeline/training/stream.py"
    text = path.read_text()
    assert text.count("position = self.start_step * self.batch_size") == 1
    path.write_text(text.replace("position = self.start_step * self.batch_size", "position = 0"))
    whole = planted.copy(tmp_path / "whole").finish("train")
    found, kills = command_killed(planted, "train", 2, chance())
    print(f"PLANTED sampler keyed by epoch alone: {kills} kills, final bytes {'EQUAL' if found == whole else 'different'}")
    assert kills == 2
    assert found != whole
