"""`python -m pipeline serve` before it serves: what it refuses, in one line."""

import json
import os
import socket

import pytest

from pipeline.__main__ import main
from pipeline.core import artifact
from tests import shipped


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shipped.folder(tmp_path_factory.mktemp("served"), "onnx", timed=[1], repeats=1)


@pytest.mark.parametrize("name", ["web", "page"])
def test_a_page_is_not_asked_by_a_server(folder, tmp_path, monkeypatch, capsys, name):
    """Its browser takes calls of one thread alone; the target may bear any name, and no browser is started."""
    partial = artifact.begin(tmp_path / "ship")
    (partial / name).mkdir()
    (partial / name / "index.html").write_text("<!doctype html>")
    (partial / "model.json").write_text((folder / "model.json").read_text())
    entry = json.loads((folder / "targets.json").read_text())["onnx"]
    said = {name: {**entry, "file": "index.html", "target": {"_target_": "pipeline.target.web.Web"}}}
    (partial / "targets.json").write_text(json.dumps(said))
    artifact.publish(partial, tmp_path / "ship", {"stage": "ship"})
    monkeypatch.setattr("pipeline.shipping.shipped.OWN", tmp_path / "ship")
    monkeypatch.setattr("pipeline.target.web.Web.load", lambda *_: pytest.fail("the page was opened"))
    assert main(["serve", "--model", str(tmp_path / "ship"), "--target", name, "--port", "1"]) == 1
    error = capsys.readouterr().err
    assert f"python -m http.server -d {tmp_path / 'ship' / name} , or choose another --target" in error


@pytest.mark.parametrize("verb", ["serve", "predict"])
@pytest.mark.parametrize(
    ("there", "asked", "wanted"), [("1", ["--threads", "3"], "3"), ("2", [], "2"), (None, [], "1"), (None, ["--threads", "4"], "4")]
)
def test_threads_that_are_asked_for_are_taken(tmp_path, monkeypatch, verb, there, asked, wanted):
    """Our container sets OMP_NUM_THREADS, and whoever starts it may still ask for more."""
    monkeypatch.setenv("OMP_NUM_THREADS", there or "")
    if there is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    found = []
    monkeypatch.setattr("pipeline.shipping.shipped.open_shipped", lambda *_, **__: found.append(os.environ["OMP_NUM_THREADS"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([verb, *(["new.png"] if verb == "predict" else []), "--model", str(tmp_path), *asked])
    assert found == [wanted]


@pytest.mark.parametrize("verb", ["serve", "predict"])
def test_no_threads_are_refused(tmp_path, capsys, verb):
    assert main([verb, *(["new.png"] if verb == "predict" else []), "--model", str(tmp_path), "--threads", "0"]) == 1
    assert "--threads must be above 0: received 0" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--model", str(folder), "--port", port]) == 1
    assert f"error: port {port} of 127.0.0.1 cannot be opened: choose another with --port" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "99999"], ["--port", "-1"], ["--host", "a..b"]])
def test_an_address_that_is_none_is_one_line(folder, capsys, words):
    assert main(["serve", "--model", str(folder), *words]) == 1
    assert "cannot be opened: choose another with --port" in capsys.readouterr().err


def test_an_application_that_does_not_start_is_no_fault_of_the_port(folder, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.serving.batcher.Batcher.__enter__", lambda _: 1 / 0)
    with pytest.raises(SystemExit):
        main(["serve", "--model", str(folder), "--port", "0"])
    assert "cannot be opened" not in capsys.readouterr().err
