"""`python -m pipeline tune` on a toy project with a planted surface: real processes, real journal, real kills."""

import os
import random
import re
import signal
import time
from collections import Counter

import pytest
import yaml

from tests import searching

SPACE = {"train.lr": {"low": 1e-3, "high": 1.0, "log": True}, "train.width": {"low": 4, "high": 12}}


@pytest.fixture
def root(tmp_path, project):
    return searching.project(tmp_path / "toy", project)


@pytest.fixture(scope="module")
def toy(tmp_path_factory, project):
    """One for whatever runs nothing."""
    return searching.project(tmp_path_factory.mktemp("still") / "toy", project)


def facts(root, name="s"):
    return [(t["state"], t["params"], t["values"]) for t in searching.trials(root, name)]


def test_a_study_shares_what_does_not_vary_and_trains_each_step_once(root):
    searching.study(root)
    done = searching.run(root, "tune", "s")
    assert done.returncode == 0, done.stdout + done.stderr
    counted = Counter(line.split()[0] for line in searching.ran(root))
    assert counted["prep"] == counted["split"] == 1
    assert counted["evaluate"] == 0
    assert searching.ledger(root) == []
    trials = searching.trials(root)
    assert len(trials) == 9
    steps = [line for line in searching.ran(root) if line.startswith("step")]
    assert len(steps) == len(set(steps)) == sum(trial["steps"] for trial in trials)
    assert len(steps) <= 9 * 27 / 2
    ended = [trial for trial in trials if trial["state"] == "COMPLETE"]
    assert all(trial["steps"] == 27 for trial in ended)
    assert {trial["state"] for trial in trials} == {"COMPLETE", "PRUNED"}
    best = max(ended, key=lambda trial: trial["values"][2])
    assert f"train.lr={best['params']['train.lr']!r}" in done.stdout
    assert trials[0]["params"] == {"train.lr": 0.3, "train.width": 8}, "the first trial is the default"


@pytest.mark.slow
def test_jobs_that_run_are_the_distinct_digests_exactly(root):
    space = {"train.lr": [0.1, 0.01], "prep.amount": [1, 2, 3], "model": ["plain", "wide"]}
    searching.study(root, space=space, sampler={"name": "grid"}, pruner={"name": "none"}, trials=100)
    planned = searching.run(root, "tune", "s", "--plan")
    assert re.search(r"prep +3 of 12\n +split +3 of 12\n +train +12 of 12\n12 trials", planned.stdout), planned.stdout + planned.stderr
    assert searching.ran(root) == []
    assert searching.run(root, "tune", "s", "--workers", "2").returncode == 0
    counted = Counter(line.split()[0] for line in searching.ran(root))
    assert (counted["prep"], counted["split"], counted["train"]) == (3, 3, 12)


def test_two_kills_lose_nothing_and_change_nothing(root, tmp_path, project):
    whole = searching.project(tmp_path / "whole", project)
    for place in (root, whole):
        searching.study(place, trials=8, overrides=["train.seconds=0.03"])
    assert searching.run(whole, "tune", "s").returncode == 0
    moment, kept = random.Random(3), 0
    for _ in range(2):
        process = searching.start(root, "tune", "s", start_new_session=True)
        began = time.monotonic()
        while len(searching.ran(root)) < 12 + kept and time.monotonic() - began < 60:
            time.sleep(0.02)
        time.sleep(moment.uniform(0.1, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        with (root / ".run/studies/s/journal.log").open("a") as file:
            file.write('{"op_code": 5, "worker_id"')
        kept = len(searching.ran(root))
        finished = [trial for trial in searching.trials(whole) if trial["values"]]
        assert kept < sum(trial["steps"] for trial in finished), "killed before the end"
    done = searching.run(root, "tune", "s")
    assert done.returncode == 0, done.stderr
    assert "continues with" in done.stdout
    assert facts(root) == facts(whole)
    again = len(searching.ran(root))
    assert searching.run(root, "tune", "s").returncode == 0
    assert len(searching.ran(root)) == again, "a finished study runs nothing"


@pytest.mark.slow
def test_trials_that_fail_are_kept_with_their_reason_and_the_study_goes_on(root):
    space = {"train.width": [8, 13, 14, 15, 16, 17, 18]}
    searching.study(root, space=space, sampler={"name": "grid"}, pruner={"name": "none"}, trials=7,
                    limits={"minutes": 0.05, "memory_mb": 1500})  # fmt: skip
    done = searching.run(root, "tune", "s")
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = {trial["params"]["train.width"]: trial["reason"] for trial in searching.trials(root)}
    assert [trial["state"] for trial in searching.trials(root)] == ["COMPLETE", *["FAIL"] * 6]
    assert reasons["8"] == ""
    for width, said in {"13": "memory ran out in train", "14": "was killed (signal 9)", "15": "ZeroDivisionError: planted",
                        "16": "took longer than 0.05 minutes", "17": "memory ran out", "18": "val_accuracy is nan"}.items():  # fmt: skip
        assert said in reasons[width]
        assert said in done.stdout
    page = (root / ".run/studies/s/report.html").read_text()
    assert "ZeroDivisionError: planted" in page


@pytest.mark.parametrize(("changes", "said"), [
    ({"space": {"train.lrr": {"low": 0.1, "high": 1}}}, r"unknown key train\.lrr: did you mean 'lr'"),
    ({"space": {"modle": ["plain"]}}, r"unknown key modle: did you mean 'model'"),
    ({"space": {"model": ["plain", "wied"]}}, r"unknown option model=wied: did you mean 'wide'"),
    ({"space": {"train.lr": {"low": 0.1, "high": 1000}}}, r"train\.lr: 1000.* is greater than the maximum of 100"),
    ({"space": {"train.width": {"low": 2.5, "high": 8}}}, r"train\.width: 2\.5 is not of type 'integer'"),
    ({"space": {"train.lr": {"low": 1, "high": 0.1}}}, r"space\.train\.lr: low must lie below high"),
    ({"space": {"train.lr": {"low": 0, "high": 0.1, "log": True}}}, r"a log range needs low above 0"),
    ({"space": {"train.lr": {"low": 0.1, "hihg": 1}}}, r"unknown word 'hihg': did you mean 'high'"),
    ({"space": {"train.lr": 3}}, r"must be a list of values or a range"),
    ({"space": {"train.lr": [0.1, 0.1]}}, r"a list of different values"),
    ({"space": {"seed": [1, 2]}}, r"results scatter with the seed"),
    ({"space": {"train.lr": {"low": 0.1, "high": 1}}, "sampler": {"name": "grid"}}, r"a grid needs  values"),
    ({"space": {"train.lr": {"values": [0.1], "when": {"model": "wide"}}}}, r"when names 'model', which does not stand before it"),
    ({"objective": {"metric": "accuracy"}}, r"never on the test split"),
    ({"objective": {"metric": "test_accuracy"}}, r"never on the test split"),
    ({"objective": {"metric": "val_auroc"}}, r"task\.headline=auroc"),
    ({"objective": {"metric": "val_loss", "mode": "max"}}, r"contradicts val_loss, of which less is better"),
    ({"sampler": {"name": "bayes"}}, r"sampler\.name 'bayes' is unknown"),
    ({"pruner": {"name": "ahsa"}}, r"'ahsa' is unknown: did you mean 'asha'"),
    ({"pruner": {"rungs": 6}}, r"6 looks of the pruner need as many validations"),
    ({"trails": 4}, r"unknown key trails: did you mean 'trials'"),
    ({"trials": 0}, r"trials: 0 is less than the minimum of 1"),
    ({"experiment": "tyo"}, r"unknown option experiment=tyo: did you mean 'toy'"),
    ({"overrides": ["train.lrr=1"]}, r"unknown key train\.lrr"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_runs(toy, changes, said):
    from pipeline.core.errors import PersonError
    from pipeline.search.conduct import Conductor
    from pipeline.search.study import read_study

    searching.study(toy, **changes)
    with pytest.raises(PersonError) as error:
        Conductor(toy, read_study(toy, "s"), say=print)
    assert re.search(said, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert not (toy / ".run/studies/s").exists()


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_kill_between_a_value_and_its_end_loses_neither(toy, cut):
    """The journal up to each event of a training that came back before its last look."""
    from pipeline.search.conduct import Conductor
    from pipeline.search.study import read_study

    def opened(name):
        searching.study(toy, name)
        return Conductor(toy, read_study(toy, name), say=print)

    whole = opened("whole")
    if not whole.trials:
        trial = whole.journal.ask({"train.lr": 0.1, "train.width": 8}, bracket=0, facts={})
        whole.journal.note(trial, steps=27, ended=0.7)
        whole._end(trial, 0.7)
    lines = (toy / ".run/studies/whole/journal.log").read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if "ended" in line)
    folder = toy / f".run/studies/cut{cut}"
    folder.mkdir(parents=True)
    (folder / "journal.log").write_text("".join(lines[: first + cut]))
    found = opened(f"cut{cut}").trials
    assert [(t.state, t.values) for t in found] == [("complete", {0: 0.7, 1: 0.7, 2: 0.7})]


@pytest.mark.slow
def test_a_mistake_on_the_command_line(root):
    searching.study(root)
    for words, said in [(["s2"], "unknown study 's2': did you mean 's'"), (["x.yaml"], "there is no study x.yaml"),
                        (["s", "train.lrr=1"], "unknown key train.lrr"), (["s", "--workers", "0"], "--workers must be at least 1")]:  # fmt: skip
        done = searching.run(root, "tune", *words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert said in done.stderr
    assert searching.ran(root) == []


@pytest.mark.slow
def test_another_space_under_the_same_name_is_refused_and_more_trials_are_not(root):
    searching.study(root, trials=3)
    assert searching.run(root, "tune", "s").returncode == 0
    before = facts(root)
    more = searching.run(root, "tune", "s", "--trials", "5")
    assert more.returncode == 0
    assert facts(root)[:3] == before
    assert len(facts(root)) == 5
    searching.study(root, space={"train.lr": [0.1, 0.2]})
    other = searching.run(root, "tune", "s")
    assert other.returncode == 1
    assert "another space" in other.stderr


@pytest.mark.slow
def test_what_it_keeps_composes_to_what_it_tried(root):
    from pipeline.core.config import compose

    space = {"model": ["plain", "wide"], "train.lr": {"low": 1e-3, "high": 1.0, "log": True}, "train.width": [8, 12]}
    searching.study(root, space=space, trials=6, overrides=["prep.amount=2"], confirm={"seeds": 6, "top": 1})
    done = searching.run(root, "tune", "s", "--write")
    assert done.returncode == 0, done.stdout + done.stderr
    path = root / "conf/experiment/s_best.yaml"
    trials = searching.trials(root)
    best = max((t for t in trials if t["state"] == "COMPLETE"), key=lambda t: t["values"][2])
    composed = compose(root / "conf", experiment="s_best", overrides=[])
    assert composed["train"]["lr"] == best["params"]["train.lr"]
    assert composed["model"]["name"] == best["params"]["model"]
    assert composed["prep"]["amount"] == 2
    assert "is better than the default" in path.read_text()
    path.write_text("# @package _global_\n# by hand\n")
    refused = searching.run(root, "tune", "s", "--write")
    assert refused.returncode == 1
    assert "no study wrote it" in refused.stderr
    assert "by hand" in path.read_text()


@pytest.mark.slow
def test_no_winner_is_named_inside_the_noise(root):
    searching.study(root, space={"train.lr": [0.3, 0.3001]}, sampler={"name": "grid"}, pruner={"name": "none"}, trials=2,
                    confirm={"seeds": 6, "top": 1})  # fmt: skip
    done = searching.run(root, "tune", "s")
    assert "within the noise" in done.stdout, done.stdout + done.stderr
    few = searching.run(root, "tune", "s")
    assert "continues with 2 trials, 2 of them finished" in few.stdout


@pytest.mark.slow
def test_the_page_stands_alone_and_escapes(root):
    node = {"model": ["plain", "wide"], "train.lr": {"low": 1e-3, "high": 1.0, "log": True}}
    searching.study(root, space=node, trials=8)
    assert searching.run(root, "tune", "s").returncode == 0
    page = (root / ".run/studies/s/report.html").read_text()
    assert page.count("<img src=\"data:image/") == 4
    assert not re.search(r"https?://|<script|\ssrc=\"(?!data:)|url\(", page)
    assert "default-src 'none'" in page
    assert "No candidate was repeated" in page


@pytest.mark.slow
def test_a_second_process_on_one_study_is_refused(root):
    searching.study(root, overrides=["train.seconds=0.05"])
    first = searching.start(root, "tune", "s", start_new_session=True)
    while not searching.ran(root) and first.poll() is None:
        time.sleep(0.02)
    second = searching.run(root, "tune", "s")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode == 1
    assert "another process runs the study s" in second.stderr


@pytest.mark.slow
def test_a_cell_says_what_to_put_into_params(root):
    searching.study(root, trials=1)
    assert searching.run(root, "tune", "s").returncode == 0
    params = yaml.safe_load((root / ".run/studies/s/cells/0000/params.yaml").read_text())
    assert params == {"experiment": "toy", "overrides": ["logger=none", "train.lr=0.3", "train.width=8"], "source": "raw"}


@pytest.mark.slow
def test_a_fan_compares_in_pairs_and_counts_looks_only_where_asked(root):
    done = searching.run(root, "fan", "--seeds", "6", "model=plain,wide")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "better" in done.stdout
    assert searching.ledger(root) == []
    folds = searching.run(root, "fan", "--folds", "5", "--test")
    assert folds.returncode == 0, folds.stdout + folds.stderr
    assert "test accuracy: mean of 5 repeats" in folds.stdout
    assert "training sets overlap" in folds.stdout
    assert len(searching.ledger(root)) == 5
    counted = Counter(line.split()[0] for line in searching.ran(root))
    assert counted["evaluate"] == 5
    searching.run(root, "fan", "--folds", "5", "--test")
    assert len(searching.ledger(root)) == 5, "what is there is not looked at again"
    for words, said in [([], "nothing to repeat"), (["--seeds", "1"], "one value has no interval"), (["--folds", "2"], "folds must be 3")]:
        refused = searching.run(root, "fan", *words)
        assert refused.returncode == 1
        assert said in refused.stderr


@pytest.mark.parametrize("name", sorted(
    path.stem for path in (searching.HOME / "conf/study").glob("*.yaml") if "space" in yaml.safe_load(path.read_text())))  # fmt: skip
def test_every_study_of_the_project_is_sound(name, project):
    from pipeline.core.config import Composer
    from pipeline.search import space
    from pipeline.search.halving import rule_of, steps_of
    from pipeline.search.objective import directions, objective
    from pipeline.search.study import read_study

    study = read_study(project, name)
    composer = Composer(project / "conf", experiment=study.experiment)
    rule = rule_of(study.pruner.name, eta=study.pruner.eta, rungs=study.pruner.rungs, maximise=True)
    for params in space.probes(study.space):
        chosen, leaves = space.parted(params)
        config = composer([*study.overrides, *chosen], leaves)
        assert objective(study, directions(config)).startswith("val_")
        assert len(steps_of(config["train"]["max_steps"], config["train"]["validate_every"], rule)) == rule.rungs
