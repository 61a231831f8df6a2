import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.command import exp
from pipeline.core.errors import PersonError

PARAMS = {"experiment": "digits", "overrides": ["seed=3"], "source": "data/raw"}


def planned(root, *words, keep=False):
    return exp.plan(list(words), params=PARAMS, keep=keep, root=root)


@pytest.mark.parametrize(("word", "several"), [
    ("model=resnet", ["model=resnet"]),
    ("model=resnet,mlp", ["model=resnet", "model=mlp"]),
    ("train.lr=1e-3,1e-2", ["train.lr=0.001", "train.lr=0.01"]),
    ("seed=range(1,4)", ["seed=1", "seed=2", "seed=3"]),
    ("model=choice(resnet,mlp)", ["model=resnet", "model=mlp"]),
    ("baseline=[majority,linear]", ["baseline=[majority,linear]"]),
    ("baseline=[majority],[linear,svm]", ["baseline=[majority]", "baseline=[linear,svm]"]),
    ("report.title='a, b'", ["report.title='a, b'"]),
    ("+train={a:1,b:2}", ["+train={a:1,b:2}"]),
    ("~logger", ["~logger"]),
])  # fmt: skip
def test_a_comma_outside_brackets_and_quotes_is_a_sweep(word, several):
    assert exp.sweep(word) == several


def test_runs_are_the_cross_product_and_replace_the_old_overrides(tmp_path):
    runs = planned(tmp_path, "model=resnet,mlp", "seed=1,2,3", "train.lr=3e-4")
    assert len(runs) == 6
    assert runs[0] == exp.Run("digits", None, ("model=resnet", "seed=1", "train.lr=3e-4"))
    assert len(set(runs)) == 6


def test_keep_puts_the_new_ones_behind_the_old(tmp_path):
    assert planned(tmp_path, "model=mlp", keep=True)[0].overrides == ("seed=3", "model=mlp")


def test_experiment_and_source_set_keys_of_params(tmp_path):
    (tmp_path / "my photos, all").mkdir()
    runs = planned(tmp_path, "experiment=own_images,digits", f"source={tmp_path}/my photos, all")
    assert [run.experiment for run in runs] == ["own_images", "digits"]
    assert runs[0].source == f"{tmp_path}/my photos, all"
    assert runs[0].overrides == ()


def test_a_source_under_dvc_stays_relative_and_any_other_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw/parts").mkdir(parents=True)
    assert planned(tmp_path, "source=data/raw/parts")[0].source == f"{tmp_path}/data/raw/parts"
    (tmp_path / "data/raw/parts.dvc").write_text("outs: []\n")
    assert planned(tmp_path, "source=data/raw/parts")[0].source == "data/raw/parts"


@pytest.mark.parametrize(("word", "said"), [
    ("model", "is not of the form key=value"),
    ("sourc", "did you mean 'source'"),
    ("source=/nowhere/at all", "there is no /nowhere/at all; give the path of the folder that holds your data"),
    ("source=/hom", "did you mean /home?"),
    ("source=", "must be the path of a folder"),
    ("source=${HOME}", "must be the path of a folder"),
    ("overrides=[a=1]", "each override as a word of its own"),
    ("model=[resnet", "not an override in Hydra's grammar"),
    ("model=glob(*)", "a sweep must name its values"),
    ("seed=interval(0,1)", "a sweep must name its values"),
    ("model=a\nb", "control character"),
])  # fmt: skip
def test_a_mistake_is_one_line(tmp_path, word, said):
    with pytest.raises(PersonError) as error:
        planned(tmp_path, word)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_near_folder_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(PersonError, match=r"did you mean .*/photos\?"):
        planned(tmp_path, f"source={tmp_path}/photo")


@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=20), max_size=3))
@settings(max_examples=200, deadline=None)
def test_quoting_survives_the_grammar_that_dvc_reads_it_with(texts):
    texts = [text.replace("${", "$") for text in texts]
    word = exp.settings(exp.Run("digits", None, tuple(texts)))[3]
    value = OverridesParser.create().parse_override(word).value()
    assert [getattr(item, "text", item) for item in value] == texts


def test_a_typo_runs_nothing(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(exp, "_dvc", lambda *words: pytest.fail("DVC was started"))
    with pytest.raises(PersonError, match="did you mean 'max_steps'"):
        exp.main(["experiment=digits", "train.max_stps=3"])
    with pytest.raises(PersonError, match="did you mean 'digits'"):
        exp.main(["experiment=digit"])
    with pytest.raises(PersonError, match="did you mean 'resnet'"):
        exp.main(["experiment=digits", "model=mlp,resnett"])


def test_one_run_and_a_sweep_start_dvc_with_these_words(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    calls = []
    monkeypatch.setattr(exp, "_dvc", lambda *words: calls.append(words) or 0)
    monkeypatch.setattr(exp, "_committed", lambda root: None)
    assert exp.main(["experiment=digits", "train.lr=3e-4", "--name", "n"]) == 0
    assert calls == [("exp", "run", "-S", 'experiment="digits"', "-S", 'overrides=["train.lr=3e-4"]', "--name", "n")]
    calls.clear()
    assert exp.main(["experiment=digits", "seed=1,2", "-j", "2", "--name", "n"]) == 0
    assert [words[-1] for words in calls[:2]] == ["n-1", "n-2"]
    assert calls[2] == ("exp", "run", "--run-all", "--jobs", "2")
    assert capsys.readouterr().out.startswith("2 runs:\n  digits seed=1\n")
    calls.clear()
    assert exp.main(["experiment=digits", "seed=1,2", "--queue"]) == 0
    assert all("--queue" in words for words in calls)
    assert len(calls) == 2


def test_a_failing_queue_stops(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(exp, "_committed", lambda root: None)
    monkeypatch.setattr(exp, "_dvc", lambda *words: 255)
    assert exp.main(["experiment=digits", "seed=1,2"]) == 255


def test_without_a_commit_or_outside_the_project_the_remedy_is_named(tmp_path, project, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PersonError, match=r"there is no dvc\.yaml"):
        exp.main(["model=mlp"])
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(PersonError, match="git add -A && git commit"):
        exp._committed(tmp_path)


def test_help_has_examples(project):
    done = subprocess.run([sys.executable, "-m", "pipeline", "exp", "--help"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0
    assert "python -m pipeline exp model=resnet train.lr=3e-4" in done.stdout
