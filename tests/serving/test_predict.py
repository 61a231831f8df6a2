"""`python -m pipeline predict`: every kind of input, what is left out, and the time budget."""

import csv
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    return shipped.folder(tmp_path_factory.mktemp("predicted"), "onnx", "onnx_int8", timed=[1], repeats=1)


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


def test_the_compressed_model_flags_unknown_inputs_by_a_threshold_of_its_own(folder, images, tmp_path):
    out = tmp_path / "table.csv"
    assert main(["predict", str(images), "--model", str(folder), "--target", "onnx_int8", "--out", str(out)]) == 0
    limits = {name: open_shipped(folder, target=name).facts["unknown"]["threshold"] for name in ("onnx", "onnx_int8")}
    assert limits["onnx"] != limits["onnx_int8"]
    for row in table(out):
        assert row["unknown"] == str(int(float(row["unknown_score"]) > limits["onnx_int8"]))


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
    assert (
        main(["predict", str(archive), str(video), "--every", "3", "--batch", "4", "--model", str(folder), "--out", str(out)])
        == 0
    )
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


@pytest.mark.parametrize("fails", [False, True])
def test_what_the_runtime_has_started_is_ended(folder, images, tmp_path, monkeypatch, fails):
    from pipeline.runtime.ort import Opened

    ended = []
    monkeypatch.setattr(Opened, "close", lambda _: ended.append(1), raising=False)
    words = ["predict", str(images / "nowhere.png" if fails else images), "--model", str(folder), "--out", str(tmp_path / "t.csv")]
    assert main(words) == int(fails)
    assert len(ended) == 1


def test_an_unknown_target_names_the_near_one(folder, images, capsys):
    assert main(["predict", str(images), "--model", str(folder), "--target", "onn"]) == 1
    assert "onnx" in capsys.readouterr().err


class Camera(ThreadingHTTPServer):
    """A network camera: `count` frames at `rate` a second, as Motion JPEG over HTTP."""

    daemon_threads = True

    def __init__(self, count, rate):
        self.count, self.pause, self.asked = count, 1 / rate, []
        super().__init__(("127.0.0.1", 0), Frames)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Frames(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.server.count):
            data = cv2.imencode(".jpg", np.full((32, 32, 3), 2 * number, np.uint8))[1].tobytes()
            try:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(data), data))
            except OSError:  # nobody looks any more
                return
            time.sleep(self.server.pause)


@pytest.fixture
def slow(monkeypatch):
    """A model that takes its time."""
    from pipeline.shipping.shipped import Shipped

    taken = Shipped.answer
    return lambda seconds: monkeypatch.setattr(Shipped, "answer", lambda it, pixels: (time.sleep(seconds), taken(it, pixels))[1])


def test_a_stream_is_answered_frame_by_frame_and_its_password_is_not_shown(folder, tmp_path, capsys):
    with Camera(30, 60) as camera:
        word = f"http://me:secret@127.0.0.1:{camera.server_port}/line.mjpg?token=abc"
        assert main(["predict", word, "--model", str(folder), "--out", str(tmp_path / "t.csv"), "--budget-ms", "5000"]) == 0
    names = [row["name"] for row in table(tmp_path / "t.csv")]
    numbers = [int(name.rpartition("#")[2]) for name in names]
    assert numbers == sorted(set(numbers))
    said = capsys.readouterr()
    assert "from the arrival of a frame to its answer" in said.out
    missed = int(re.search(r"(\d+) frames came while", said.out).group(1))
    assert missed + len(names) == 30
    assert camera.asked == ["/line.mjpg?token=abc"]
    assert not re.search("secret|token", said.out + said.err + (tmp_path / "t.csv").read_text())


def test_a_model_slower_than_its_camera_answers_new_frames_and_misses_the_budget(folder, tmp_path, capsys, slow):
    slow(0.06)
    with Camera(60, 50) as camera:
        words = [f"http://127.0.0.1:{camera.server_port}/line.mjpg", "--model", str(folder), "--out", str(tmp_path / "t.csv")]
        assert main(["predict", *words, "--budget-ms", "40"]) == 4
    said = capsys.readouterr().out
    assert int(re.search(r"(\d+) frames came while", said).group(1)) > 20
    age = float(re.search(r"to its answer: median ([\d.]+) ms", said).group(1))
    assert 60 < age < 600, "in a queue of frames the median would be over a second"


def test_a_camera_without_an_end_stops_after_its_seconds(folder, tmp_path):
    began = time.monotonic()
    with Camera(10_000, 50) as camera:
        words = [
            f"http://127.0.0.1:{camera.server_port}/",
            "--seconds",
            "0.5",
            "--model",
            str(folder),
            "--out",
            str(tmp_path / "t.csv"),
        ]
        assert main(["predict", *words]) == 0
    assert time.monotonic() - began < 30
    assert table(tmp_path / "t.csv")


@pytest.mark.parametrize("word", ["file:///etc/passwd", "ftp://host/a.mjpg", "http:///a.mjpg", "concat://a|b"])
def test_other_addresses_are_refused(folder, tmp_path, capsys, word):
    assert main(["predict", word, "--model", str(folder), "--out", str(tmp_path / "t.csv")]) == 1
    assert "rtsp://camera/stream" in capsys.readouterr().err


def test_a_stream_that_nobody_sends_is_listed(folder, tmp_path, capsys):
    with Camera(0, 1) as camera:
        port = camera.server_port
    assert main(["predict", f"http://127.0.0.1:{port}/a.mjpg", "--model", str(folder), "--out", str(tmp_path / "t.csv")]) == 1
    assert "no such camera or stream" in capsys.readouterr().err
