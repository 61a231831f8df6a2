"""The journal: what is written is there after any kill, and a cut line takes nothing along."""

import pytest

from pipeline.core.errors import PersonError
from pipeline.search.alone import alone
from pipeline.search.halving import COMPLETE, FAILED, OPEN, STOPPED
from pipeline.search.journal import NAME, Journal, mend
from pipeline.search.space import read_space

DIMENSIONS = read_space({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "model": ["mlp", "resnet"]})


def opened(folder, **changes):
    return Journal(folder, **{"identity": "a", "dimensions": DIMENSIONS, "maximise": True, **changes})


def filled(folder):
    journal = opened(folder)
    trials = [journal.ask({"lr": 0.1 / (n + 1), "model": "mlp"}, bracket=n % 2, facts={"overrides": [str(n)]}) for n in range(4)]
    for trial in trials[:3]:
        journal.report(trial, 0, 0.5 + trial.number / 10)
    journal.report(trials[0], 1, 0.9)
    journal.finish(trials[0], 0.9)
    journal.stop(trials[1])
    journal.fail(trials[2], "no memory")
    journal.note(trials[3], steps=5)
    return trials


def test_everything_is_there_again(tmp_path):
    before = filled(tmp_path)
    after = opened(tmp_path).trials()
    assert [trial.state for trial in after] == [COMPLETE, STOPPED, FAILED, OPEN]
    for one, other in zip(before, after, strict=True):
        assert (one.number, one.params, one.bracket, one.values) == (other.number, other.params, other.bracket, other.values)
        assert one.facts == other.facts


def test_any_cut_loses_at_most_the_last_event(tmp_path):
    filled(tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    lines = whole.count(b"\n")
    for cut in range(whole.index(b"\n") + 200, len(whole), 37):
        (tmp_path / NAME).write_bytes(whole[:cut])
        mend(tmp_path / NAME)
        kept = (tmp_path / NAME).read_bytes()
        assert kept == whole[: whole.rfind(b"\n", 0, cut) + 1]
    (tmp_path / NAME).write_bytes(whole[:-9])
    journal = opened(tmp_path)
    trial = journal.trials()[-1]
    assert "steps" not in trial.facts
    journal.note(trial, steps=7)
    assert opened(tmp_path).trials()[-1].facts["steps"] == 7
    assert (tmp_path / NAME).read_bytes().count(b"\n") >= lines


def test_another_study_and_another_file_are_refused(tmp_path):
    filled(tmp_path)
    with pytest.raises(PersonError, match="another space"):
        opened(tmp_path, identity="b")
    (tmp_path / NAME).write_text('{"some": "json"}\n')
    with pytest.raises(PersonError, match="is not a journal"):
        opened(tmp_path)


def test_one_process_at_a_time(tmp_path):
    with alone(tmp_path), pytest.raises(PersonError, match="another process runs the study"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
