"""SIGTERM, SIGUSR1 and SIGUSR2: a checkpoint of the step, exit code 75, and the same command continues to the same bytes."""

import json
import os
import signal
import time

import pytest

from pipeline.training.checkpoint import newest
from tests.training.commands import Repository
from tests.training.trainee import Run

pytestmark = pytest.mark.multi
SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2")


def steps(folder, rank=0):
    return [json.loads(line)[0] for line in (folder / f"seen-{rank}.jsonl").read_text().splitlines()]


def signalled(folder, name, *, to=None, **named):
    """Run until a signal comes in the midst, see it end, and continue it; returns the final hash."""
    run = Run(folder, pause=0.01, every=1000, **named)
    assert run.under_way()
    run.send(getattr(signal, name), ranks=to)
    then = len(steps(folder))
    codes = run.codes(timeout=30)
    assert codes == [75] * len(codes), run.said()
    assert f"interrupted by {name}: the checkpoint of step" in run.said()
    assert "nothing was published; the same command continues" in run.said()
    taken = steps(folder)
    assert newest(folder)[1] == taken[-1] + 1
    assert taken[-1] + 1 - then <= 2
    return Run(folder, every=1000, **named).final()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    found = {}

    def make(**named):
        key = tuple(sorted(named.items()))
        if key not in found:
            found[key] = Run(tmp_path_factory.mktemp("whole") / "run", **named).final()
        return found[key]

    return make


@pytest.mark.parametrize(("name", "named", "to"), [
    pytest.param("SIGTERM", {"workers": 2}, None, marks=pytest.mark.slow),
    ("SIGUSR1", {}, None),
    pytest.param("SIGUSR1", {"ranks": 2}, [1], marks=pytest.mark.slow),  # one process is told, and both end
    pytest.param("SIGUSR2", {"kind": "gan"}, None, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_signal_keeps_the_step_and_ends_with_75(tmp_path, whole, name, named, to):
    assert signalled(tmp_path / "run", name, to=to, **named) == whole(**named)


@pytest.mark.slow
@pytest.mark.parametrize("named", [{}, {"workers": 2}, {"ranks": 2}], ids=["alone", "workers", "ranks"])
@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_in_each_setting(tmp_path, whole, name, named):
    assert signalled(tmp_path / "run", name, **named) == whole(**named)


@pytest.mark.slow
@pytest.mark.parametrize("to", [[0], [1]])
def test_a_signal_to_one_of_two_processes_ends_both_at_the_same_step(tmp_path, whole, to):
    assert signalled(tmp_path / "run", "SIGTERM", to=to, ranks=2) == whole(ranks=2)
    assert steps(tmp_path / "run", 0) == steps(tmp_path / "run", 1)


@pytest.mark.slow
def test_a_second_signal_and_one_of_another_name_change_nothing(tmp_path, whole):
    folder = tmp_path / "run"
    run = Run(folder, pause=0.05, every=1000)
    assert run.under_way()
    for name in ("SIGUSR1", "SIGUSR1", "SIGTERM"):
        run.send(getattr(signal, name))
        time.sleep(0.002)
    assert run.codes(timeout=30) == [75]
    assert "interrupted by SIGUSR1" in run.said()
    assert Run(folder).final() == whole()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repository") / "toy")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("environment", [{}, {"PIPELINE_WORKERS": "2"}, {"PIPELINE_DEVICES": "2"}], ids=["alone", "workers", "two ranks"])
def test_the_real_command_ends_with_75_and_continues(tmp_path, repository, environment, request):
    """Each signal in turn to the whole group, as Slurm sends it; nothing is published before the last start."""
    whole = repository.copy(tmp_path / "whole").finish("train", **environment)
    folder = repository.copy(tmp_path / "run")
    for name in SIGNALS:
        started = folder.start("train", **environment)
        assert started.under_way()
        began = time.monotonic()
        os.killpg(started.process.pid, getattr(signal, name))
        then = folder.steps("train")
        code = started.code(60)
        step = folder.checkpoints("train")[-1]
        print(f"SIGNAL {request.node.callspec.id} {name}: exit {code} after {time.monotonic() - began:.1f} s, checkpoint of step {step}")
        assert code == 75, started.said()
        assert f"interrupted by {name}: the checkpoint of step {step} is kept, nothing was published" in started.said()
        assert step - then <= 2
        assert [path.name for path in (folder.root / "data").glob("train*")] == []
    assert folder.finish("train", **environment) == whole


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_signal_while_the_gan_trains_and_one_before_anything_was_trained(tmp_path, repository):
    folder = repository.copy(tmp_path / "run")
    started = folder.start("synthesize")
    assert started.under_way()
    started.process.send_signal(signal.SIGTERM)
    assert started.code(60) == 75, started.said()
    assert "interrupted by SIGTERM: the checkpoint of step" in started.said()
    early = folder.start("synthesize")
    while not (folder.root / ".run/synthesize/lock").is_file():
        time.sleep(0.01)
    time.sleep(1)
    early.process.send_signal(signal.SIGUSR1)
    assert early.code(60) == 75, early.said()
    assert folder.finish("synthesize") == repository.copy(tmp_path / "whole").finish("synthesize")
