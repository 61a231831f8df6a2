"""`python -m pipeline simulate`: a shipped model in a plant, the exit code, and what is said of a mistake."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.core import ledger
from pipeline.core.artifact import digest
from pipeline.core.config import compose
from tests import shipped, trained

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["parts=40", "cycle_ms=8", "latency_ms=5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project folder whose stages up to ship have run on toy data."""
    directory = tmp_path_factory.mktemp("simulated")
    return directory, shipped.folder(directory, "onnx", timed=[1], repeats=1)


def made_from(root, **inputs):
    """Let the shipped model be made from other inputs."""
    path = root / "data/ship/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "inputs": inputs}))


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    directory, ship = made
    (tmp_path / "data" / "compose").mkdir(parents=True)
    for name in ("ingest", "split"):
        shutil.copytree(directory / name, tmp_path / "data" / name)
        (tmp_path / "data" / name / "manifest.json").write_text(json.dumps({"stage": name}))
    shutil.copytree(ship, tmp_path / "data" / "ship")
    made_from(tmp_path, ingest=digest(tmp_path / "data/ingest"), split=digest(tmp_path / "data/split"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    config = {**compose(ROOT / "conf", experiment="digits", overrides=[]), "intervals": {"resamples": 50, "coverage": 0.95}}
    (tmp_path / "data/compose/config.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_model_is_asked_and_what_it_does_decides_the_exit_code(project, capsys):
    loose = ["max_escape=1", "max_false_reject=1", "max_late=0.9", "min_rate=0.1", "parts=420"]
    assert main(["simulate", "conveyor", f"reject=[{trained.CLASSES[1]}]", *QUICK, *loose]) == 0
    assert main(["simulate", "conveyor", f"reject=[{trained.CLASSES[1]}]", *QUICK, *loose, "extra_ms=3000", "max_late=0.01"]) == 4
    said = capsys.readouterr().out
    assert "missed    parts without an answer in time" in said
    facts = json.loads((project / ".run/simulate/outcome.json").read_text())
    assert not facts["held"]
    assert facts["requirements"]["max_late"]["value"] > 0.5
    assert (project / ".run/simulate/report.html").is_file()
    assert len(ledger.read(project).entries) == 2, "the test split was opened"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["conveyer"], "did you mean 'conveyor'"),
        (["conveyor", "rejct=[bar]"], "did you mean 'reject'"),
        (["conveyor", "fast"], "not of the form"),
        (["conveyor", *QUICK], "name the classes"),
        (["conveyor", "reject=[bar]", "fast=-1"], "plant.fast is out of range"),
        (["drive"], "experiment=motor"),
        (["conveyor", "reject=[bar]", "--model", "nowhere"], "ships no model"),
    ],
)
def test_a_mistake_is_one_line(project, capsys, words, said):
    assert main(["simulate", *words]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_without_data_it_says_what_to_run(project, capsys):
    shutil.rmtree(project / "data/split")
    assert main(["simulate", "conveyor", "reject=[bar]"]) == 1
    assert "dvc repro ship" in capsys.readouterr().err


@pytest.mark.parametrize("changed", ["ingest", "split"])
def test_a_model_of_another_split_is_not_simulated_and_nothing_is_looked_at(project, capsys, changed):
    manifest = project / "data" / changed / "manifest.json"
    manifest.write_text(json.dumps({"stage": changed, "seed": 1}))
    assert main(["simulate", "conveyor", f"reject=[{trained.CLASSES[1]}]", *QUICK]) == 1
    told = capsys.readouterr().err
    assert f"made with another data/{changed} than the one that is there" in told
    assert "dvc repro ship" in told
    assert len(told.strip().splitlines()) == 1
    assert not ledger.read(project).entries


def test_a_model_that_names_no_split_is_not_simulated(project, capsys):
    made_from(project)
    assert main(["simulate", "conveyor", f"reject=[{trained.CLASSES[1]}]", *QUICK]) == 1
    assert "another data/ingest and data/split" in capsys.readouterr().err
