"""`python -m pipeline serve` before it serves: what it refuses, in one line."""

import json

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
