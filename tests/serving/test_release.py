"""`release`, and what refuses a folder that was changed: predict, serve and verify alike."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.command import release
from pipeline.core.artifact import begin, digest, publish
from pipeline.core.errors import PersonError
from pipeline.shipping.shipped import open_shipped
from tests import shipped


def report(place, of):
    """A card about what ships under this digest."""
    shutil.rmtree(place / "data/report", ignore_errors=True)
    partial = begin(place / "data/report")
    (partial / "MODEL_CARD.md").write_text("# A card\n")
    publish(partial, place / "data/report", {"stage": "report", "inputs": {"ship": of}})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A project with something to ship, and two pairs of keys."""
    place = tmp_path_factory.mktemp("released")
    (place / "data").mkdir()
    shipped.folder(place / "data", "onnx", "torch_export", timed=[1], repeats=1)
    report(place, digest(place / "data/ship"))
    for name in ("maker", "other"):
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(place / f"{name}.pem")], check=True)
        subprocess.run(["openssl", "ec", "-in", str(place / f"{name}.pem"), "-pubout", "-out", str(place / f"{name}.pub")], check=True, capture_output=True)
    return place


@pytest.fixture
def released(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    out = tmp_path / "cells-1.0"
    assert main(["release", str(out), "--key", "maker.pem"]) == 0
    return out


def test_a_signed_release_opens_with_its_makers_key_alone(world, released, capsys):
    assert {path.name for path in released.iterdir()} >= {"onnx", "bom.cdx.json", "MODEL_CARD.md", "model.json", "manifest.json", "model.sig"}
    assert open_shipped(released, key=world / "maker.pub").target == "onnx"
    assert main(["verify", "--release", str(released), "--public-key", "maker.pub"]) == 0
    assert "signed with that key" in capsys.readouterr().out
    with pytest.raises(PersonError, match="is signed: give its maker's key"):
        open_shipped(released)
    assert open_shipped(released, unsigned=True).target == "onnx"
    with pytest.raises(PersonError, match=r"none of .*other\.pub"):
        open_shipped(released, key=world / "other.pub")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def reseal(folder: Path) -> None:
    """What a clever thief does: make the manifest true again."""
    from pipeline.core.artifact import sha256

    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=2) + "\n")


def reseal_all(folder: Path) -> None:
    """And where a file went, forget it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if (folder / name).is_file()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    reseal(folder)


def rebill(folder: Path) -> None:
    """And the bill of materials."""
    from pipeline.core.artifact import sha256

    bill = json.loads((folder / "bom.cdx.json").read_text())
    for part in bill["components"]:
        if part["type"] == "file":
            part["hashes"][0]["content"] = sha256(folder / part["name"])
    (folder / "bom.cdx.json").write_text(json.dumps(bill))


THEFTS = {
    "model": lambda f: flip(f / "onnx/model.onnx"),
    "model, manifest": lambda f: (flip(f / "onnx/model.onnx"), reseal(f)),
    "model, bill, manifest": lambda f: (flip(f / "onnx/model.onnx"), rebill(f), reseal(f)),
    "labels": lambda f: flip(f / "model.json"),
    "bill": lambda f: flip(f / "bom.cdx.json"),
    "bill, manifest": lambda f: ((f / "bom.cdx.json").write_text('{"components": []}'), reseal(f)),
    "signature": lambda f: (f / "model.sig").write_text("{}"),
    "no signature": lambda f: (f / "model.sig").unlink(),
    "file added": lambda f: (f / "onnx/extra.onnx").write_bytes(b"x"),
    "file gone": lambda f: (f / "MODEL_CARD.md").unlink(),
    "manifest": lambda f: (f / "manifest.json").write_text("{"),
}


@pytest.mark.parametrize("verb", ["predict", "serve", "verify"])
@pytest.mark.parametrize("theft", THEFTS)
def test_a_changed_folder_is_refused(world, released, tmp_path, capsys, verb, theft):
    copy = tmp_path / "copy"
    shutil.copytree(released, copy)
    THEFTS[theft](copy)
    words = {
        "predict": ["predict", str(world / "data/report"), "--model", str(copy), "--public-key", "maker.pub"],
        "serve": ["serve", "--model", str(copy), "--public-key", "maker.pub", "--port", "1"],
        "verify": ["verify", "--release", str(copy), "--public-key", "maker.pub"],
    }[verb]
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert str(copy) in said


def test_what_runs_code_is_opened_with_its_makers_key_alone_and_never_unasked(world, released, monkeypatch):
    assert open_shipped(released, unsigned=True).target == "onnx"
    with pytest.raises(PersonError, match="is to run code of whoever made it"):
        open_shipped(released, target="torch_export", unsigned=True)
    assert open_shipped(released, target="torch_export", key=world / "maker.pub").target == "torch_export"
    assert open_shipped(Path("data/ship"), target="torch_export").target == "torch_export"


def test_a_name_that_leads_out_of_the_folder_is_refused(released, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(released, copy)
    (copy / "model.sig").unlink()
    targets = json.loads((copy / "targets.json").read_text())
    targets["onnx"]["file"] = "../../secret.onnx"
    (tmp_path / "secret.onnx").write_bytes(b"x")
    (copy / "targets.json").write_text(json.dumps(targets))
    reseal(copy)
    with pytest.raises(PersonError, match="lies elsewhere"):
        open_shipped(copy)


def unsigned_copy(released: Path, place: Path) -> Path:
    """What a stranger sends: unsigned, and whole by its own manifest."""
    copy = place / "copy"
    shutil.copytree(released, copy)
    (copy / "model.sig").unlink()
    return copy


def rewrite(path: Path, change) -> None:
    """A JSON file otherwise: where the change returns something that is the whole file."""
    said = json.loads(path.read_text())
    new = change(said)
    path.write_text(json.dumps(said if new is None else new))


FOREIGN = {
    "a model from the network": {"_target_": "pipeline.model.timm.Timm", "weights": "hub"},
    "a library's class": {"_target_": "torch.optim.SGD", "params": []},
    "another class of a target's file": {"_target_": "pipeline.target.fmu.Opened", "path": "/tmp/any.fmu"},
    "no such file": {"_target_": "pipeline.target.nothing.Nothing"},
    "no such class": {"_target_": "pipeline.target.onnx.Nothing"},
    "an unknown argument": {"_target_": "pipeline.target.onnx.OnnxRuntime", "weights": "hub"},
    "an argument of another type": {"_target_": "pipeline.target.onnx.OnnxRuntime", "source": 3},
    "a class inside": {"_target_": "pipeline.target.onnx.OnnxRuntime", "source": {"_target_": "pipeline.model.timm.Timm"}},
    "no class": {"source": "export"},
    "a class that is a number": {"_target_": 3},
    "a list": ["pipeline.target.onnx.OnnxRuntime"],
    "nothing": None,
}


@pytest.mark.parametrize("which", ["onnx", "torch_export"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_no_class_but_a_target_is_built_whichever_is_asked(released, tmp_path, monkeypatch, kind, which):
    copy = unsigned_copy(released, tmp_path)
    rewrite(copy / "targets.json", lambda said: said[which].update(target=FOREIGN[kind]))
    (copy / "bom.cdx.json").unlink()
    reseal_all(copy)
    built = []
    monkeypatch.setattr("pipeline.shipping.shipped.build", built.append)
    with pytest.raises(PersonError, match="nothing of the folder is used"):
        open_shipped(copy, target="onnx")
    assert FOREIGN[kind] not in built


WORDS = {
    "targets are a list": ("targets.json", lambda said: []),
    "a target is a word": ("targets.json", lambda said: said.update(onnx="model.onnx")),
    "a target without a file": ("targets.json", lambda said: said["onnx"].pop("file") and None),
    "a file that is a number": ("targets.json", lambda said: said["onnx"].update(file=3)),
    "a target elsewhere": ("targets.json", lambda said: said.update({"../secret": said.pop("onnx")})),
    "a model that is a list": ("model.json", lambda said: []),
    "a model without labels": ("model.json", lambda said: said.pop("labels") and None),
    "labels that are a number": ("model.json", lambda said: said.update(labels=3)),
    "columns that are a word": ("model.json", lambda said: said["output"].update(columns="ab")),
    "a decoder of other words": ("model.json", lambda said: said.update(decoder={"side": 3})),
    "a decoder of no channels": ("model.json", lambda said: said["decoder"].update(channels=0)),
}


@pytest.mark.parametrize("kind", WORDS)
def test_words_that_ship_does_not_write_are_one_line(released, tmp_path, kind):
    copy = unsigned_copy(released, tmp_path)
    shutil.copytree(copy / "onnx", tmp_path / "secret")  # a folder that the file may not lead to
    name, change = WORDS[kind]
    rewrite(copy / name, change)
    (copy / "bom.cdx.json").unlink()
    reseal_all(copy)
    with pytest.raises(PersonError, match="nothing of the folder is used"):
        open_shipped(copy)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{", '{"ships": ["onnx"], "budget_ms": "soon"}'])
def test_times_that_are_none_are_left_out(released, tmp_path, text):
    from argparse import Namespace

    from pipeline.command.predict import _budget

    copy = unsigned_copy(released, tmp_path)
    (copy / "timings.json").write_text(text)
    assert open_shipped(copy).target == "onnx"
    assert _budget(Namespace(model=copy, budget_ms=None)) is None


def test_the_bill_of_materials_is_valid_cyclonedx(released):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (released / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    kinds = [part["type"] for part in bill["components"]]
    assert {"data", "file", "library"} <= set(kinds)
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"


def test_a_folder_that_is_there_is_not_overwritten(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    assert main(["release", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_key_that_is_none_leaves_nothing_behind(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    (tmp_path / "bad.pem").write_text("no key")
    assert main(["release", str(tmp_path / "out"), "--key", str(tmp_path / "bad.pem")]) == 1
    assert "openssl ecparam" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_card_of_another_model_or_a_changed_one_is_not_released(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    try:
        report(world, "0" * 64)
        with pytest.raises(PersonError, match="tells of another model than data/ship: run  dvc repro report"):
            release.main([str(tmp_path / "other")])
        report(world, digest(world / "data/ship"))
        (world / "data/report/MODEL_CARD.md").write_text("# Better\n")
        with pytest.raises(PersonError, match="is not as it was published"):
            release.main([str(tmp_path / "changed")])
    finally:
        report(world, digest(world / "data/ship"))
    assert release.main([str(tmp_path / "right")]) == 0


@pytest.mark.parametrize("words", [["--public-key", "maker.pub"], ["--unsigned"], ["--release", "x", "ship"]])
def test_words_that_would_check_nothing_are_refused(world, words, monkeypatch):
    monkeypatch.chdir(world)
    with pytest.raises(SystemExit) as found:
        main(["verify", *words])
    assert found.value.code == 2
