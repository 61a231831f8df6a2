"""A person's own folder of photos, where it lies: mixed formats and sizes, one corrupt file, then one photo more."""

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
OWN = """# @package _global_
defaults:
  - small
  - override /dataset: image_folder
  - _self_
ingest: {height: 16, width: 16, channels: 3, fit: crop, max_bad_fraction: 0.05}
generator: {resolution: 16, minimum: 4, batch_size: 16}
train: {batch_size: 16}
"""
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "grey": (128, 128, 128), "red": (200, 50, 40), "yellow": (220, 210, 50)}


def photo(path, colour, rng, size):
    noise = rng.normal(0, 25, (size[1], size[0], 3))
    Image.fromarray(np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("person") / "my photos"
    rng = np.random.default_rng(5)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(16):
            size = [(40, 30), (64, 64), (25, 70)][number % 3]
            photo(folder / name / f"{number:02d}.{'jpg' if number % 2 else 'png'}", colour, rng, size)
    (folder / "red" / "broken.jpg").write_bytes((folder / "red" / "01.jpg").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def repository(clone, photos):
    repository = clone("own")
    (repository.root / "conf/experiment/own.yaml").write_text(OWN)
    repository.commit("own")
    return repository


def card(repository):
    return json.loads((repository.root / "data/ingest/card.json").read_text())


def test_the_whole_dag_runs_on_it(repository, photos):
    done = repository.call("pipeline", "exp", "experiment=own", f"source={photos}")
    assert "Running stage 'report'" in done.stdout + done.stderr
    assert card(repository)["classes"] == sorted(COLOURS)
    assert card(repository)["samples"] == 80
    assert card(repository)["quarantined"] == 1
    assert "broken.jpg" in (repository.root / "data/ingest/quarantine.csv").read_text()
    metrics = json.loads((repository.root / "data/evaluate/metrics.json").read_text())
    assert metrics["accuracy"]["value"] > 0.4  # five colours; chance is 0.2
    repository.assert_whole()
    assert repository.repro().run == []


def test_one_photo_more_runs_what_it_must(repository, photos):
    photo(photos / "blue" / "99.png", COLOURS["blue"], np.random.default_rng(6), (50, 50))
    ran = repository.repro()
    assert "compose" not in ran.run
    assert {"ingest", "embed", "split", "train", "evaluate", "report"} <= set(ran.run)
    assert card(repository)["samples"] == 81
    (photos / "blue" / "99.png").unlink()
    assert repository.repro().run == []  # the run-cache knows that state


def test_a_link_inside_and_an_empty_folder_are_one_line(repository, photos, tmp_path):
    (photos / "blue" / "link.png").symlink_to(photos / "blue" / "00.png")
    done = repository.call("dvc", "repro", check=False)
    (photos / "blue" / "link.png").unlink()
    assert done.returncode != 0
    assert "link" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    (tmp_path / "empty").mkdir()
    repository.params(source=str(tmp_path / "empty"))
    done = repository.call("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    repository.params(source=str(photos))
    assert repository.repro().run == []


def test_add_brings_the_folder_under_data_raw_and_its_experiment_runs(repository, photos):
    done = repository.call("pipeline", "add", str(photos), "--name", "parts")
    assert "python -m pipeline exp experiment=parts source=data/raw/parts" in done.stdout
    assert (repository.root / "data/raw/parts.dvc").is_file()
    repository.commit("parts")
    repository.params(experiment="own", source="data/raw/parts")
    ran = repository.repro("ingest")  # equal content: what is stored is equal
    assert card(repository)["samples"] == 80
    assert ran.text
