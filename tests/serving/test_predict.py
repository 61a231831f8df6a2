"""`python -m pipeline predict`: every kind of input, what is left out, and the time budget."""

import csv
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.images.decode import Decoder
from pipeline.shipping.shipped import open_shipped
from tests import shipped


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shipped.folder(tmp_path_factory.mktemp("predicted"), "onnx", timed=[1], repeats=1)


@pytest.fixture
def images(tmp_path):
    place = tmp_path / "new"
    place.mkdir()
    for seed in range(6):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)).save(place / f"{seed}.png")
    return place


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_a_table_and_pictures(folder, images, tmp_path, capsys):
    out, seen = tmp_path / "table.csv", tmp_path / "seen"
    assert main(["predict", str(images), "--model", str(folder), "--out", str(out), "--pictures", str(seen)]) == 0
    rows = table(out)
    opened = open_shipped(folder)
    pixels = np.stack([Decoder(**opened.decoder).decode(path.read_bytes()) for path in sorted(images.iterdir())])
    for row, answer in zip(rows, opened.answer(pixels), strict=True):
        assert row["label"] == answer.label
        assert abs(float(row["probability"]) - answer.probability) < 1e-6
        assert row["unknown"] == str(int(answer.unknown))
    assert len(list(seen.glob("*.png"))) == 6
    assert "median" in capsys.readouterr().out


def test_archives_and_videos_are_read_too(folder, images, tmp_path):
    archive = tmp_path / "batch.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in images.iterdir():
            file.write(path, path.name)
    video = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for level in range(10):
        writer.write(np.full((32, 32, 3), 20 * level, np.uint8))
    writer.release()
    out = tmp_path / "table.csv"
    assert main(["predict", str(archive), str(video), "--every", "3", "--batch", "4", "--model", str(folder), "--out", str(out)]) == 0
    names = [row["name"] for row in table(out)]
    assert names[:6] == [f"{archive}/{seed}.png" for seed in range(6)]
    assert names[6:] == [f"{video}#{number}" for number in (0, 3, 6, 9)]


def test_what_cannot_be_read_is_listed_and_the_exit_code_says_so(folder, images, tmp_path, capsys):
    (images / "9.png").write_bytes(b"no image")
    (images / "8.png").write_bytes(b"")
    assert main(["predict", str(images), "--model", str(folder), "--out", str(tmp_path / "t.csv")]) == 3
    said = capsys.readouterr().err
    assert "8.png: empty file" in said
    assert "9.png: " in said
    assert len(table(tmp_path / "t.csv")) == 6


def test_nothing_answered_is_a_failure(folder, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert main(["predict", str(tmp_path / "a.png"), "--model", str(folder), "--out", str(tmp_path / "t.csv")]) == 1


@pytest.mark.parametrize(("budget", "code"), [("10000", 0), ("0.000001", 4)])
def test_a_missed_budget_has_an_exit_code(folder, images, tmp_path, budget, code):
    assert main(["predict", str(images), "--model", str(folder), "--out", str(tmp_path / "t.csv"), "--budget-ms", budget]) == code


@pytest.mark.parametrize(
    ("word", "said"),
    [("nowhere.png", "is not there"), ("camera:x", "camera:0 for the first"), ("empty", "holds no image")],
)
def test_what_is_not_there_is_said(folder, tmp_path, capsys, monkeypatch, word, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["predict", word, "--model", str(folder)]) == 1
    assert said in capsys.readouterr().err


def test_an_unknown_target_names_the_near_one(folder, images, capsys):
    assert main(["predict", str(images), "--model", str(folder), "--target", "onn"]) == 1
    assert "onnx" in capsys.readouterr().err
