"""`python -m pipeline simulate`: a shipped model in a plant, the exit code, and what is said of a mistake."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.core import ledger
from pipeline.core.config import compose
from tests import shipped, trained

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["parts=40", "cycle_ms=8", "latency_ms=5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project folder whose stages up to ship have run on toy data."""
    directory = tmp_path_factory.mktemp("simulated")
    return directory, shipped.folder(directory, "onnx", timed=[1], repeats=1)


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    directory, ship = made
    (tmp_path / "data" / "compose").mkdir(parents=True)
    for name in ("ingest", "split"):
        shutil.copytree(directory / name, tmp_path / "data" / name)
        (tmp_path / "data" / name / "manifest.json").touch()
    shutil.copytree(ship, tmp_path / "data" / "ship")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    config = {**compose(ROOT / "conf", experiment="digits", overrides=[]), "intervals": {"resamples": 50, "coverage": 0.95}}
    (tmp_path / "data/compose/config.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_model_is_asked_and_what_it_does_decides_the_exit_code(project, capsys):
    loose = ["max_escape=1", "max_false_reject=1", "max_late=0.9", "min_rate=0.1"]
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
