"""The stage ship: what it publishes, independence of the order of the targets, and what it refuses."""

import json
import sys

import numpy as np
import onnx
import pytest

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.shipping import trial as trying
from pipeline.shipping.judge import Judged, choose, judge
from pipeline.shipping.trial import RAN, Trial
from pipeline.stages import ship
from pipeline.stages.report import timed
from tests import shipped, toy


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return shipped.before(tmp_path_factory.mktemp("ship"))


def config(folders, *targets, **changes):
    cfg = shipped.config(folders, *targets, **{"repeats": 1, "timed": [1], **changes})
    cfg["detector"] = {"energy": toy.option("detector", "energy")}
    return cfg


def test_it_publishes_every_target_a_bill_and_a_table_whatever_the_order(world, tmp_path):
    folders, inputs = world
    said, files = {}, {}
    for name, order in {"a": ("onnx", "onnx_int8", "torch_export"), "b": ("torch_export", "onnx_int8", "onnx")}.items():
        (tmp_path / name).mkdir()
        said[name] = ship.run(config(folders, *order), tmp_path / name, **inputs)
        files[name] = {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
    assert set(files["a"]) == {
        "onnx/model.onnx", "onnx_int8/model.onnx", "torch_export/model.pt2", "targets.csv", "targets.json", "model.json",
        "bom.cdx.json", "timings.json", "section.json",
    }  # fmt: skip
    for name in ("onnx/model.onnx", "onnx_int8/model.onnx", "targets.json", "model.json"):
        assert files["a"][name] == files["b"][name], name
    assert files["a"]["onnx/model.onnx"] == (inputs["export"] / "model.onnx").read_bytes()
    assert files["a"]["onnx_int8/model.onnx"] == (inputs["compress"] / "model.onnx").read_bytes()
    facts = read_json(tmp_path / "a" / "targets.json")
    assert facts["onnx"]["flips"] == facts["torch_export"]["flips"] == 0
    assert facts["onnx"]["agreement"] == 1.0
    assert facts["onnx_int8"]["precision"] == "int8"
    assert facts["onnx_int8"]["detector"], "what is shipped in 8 bits flags unknown inputs too"
    for name in ("onnx", "onnx_int8"):
        told = {entry.key: entry.value for entry in onnx.load(tmp_path / "a" / name / "model.onnx").metadata_props}
        assert facts[name]["unknown"] == json.loads(told["unknown"]), "each file's detector has a threshold of its own"
    assert said["a"].startswith("3 of 3 targets ran here and were compared on 64 samples; 2 in fp32 with 0 other classes")
    described = read_json(tmp_path / "a" / "model.json")
    assert described["labels"] == ["bar", "disc"]
    assert described["decoder"]["height"] == 16


def test_the_report_shows_the_times_that_lie_beside_the_content(world, tmp_path):
    folders, inputs = world
    ship.run(config(folders, "onnx"), tmp_path, **inputs)
    section = timed(read_section(tmp_path), tmp_path)
    assert [table.columns[0] for table in section.tables] == ["target", "target"]
    assert section.tables[1].rows[0][0] in {"onnx", "onnx (ships)"}
    (tmp_path / "timings.json").unlink()
    assert len(timed(read_section(tmp_path), tmp_path).tables) == 1


def test_without_onnx_the_targets_that_read_the_network_ship(world, tmp_path):
    """What `export` advises where ONNX lacks an operator: exporter=none compressor=none target=[torch_export]."""
    folders, inputs = world
    inputs = {**inputs, "export": tmp_path / "nothing", "compress": tmp_path / "nothing"}
    (tmp_path / "out").mkdir()
    ship.run({**config(folders, "torch_export", "onnx"), "exporter": {"_target_": None}}, tmp_path / "out", **inputs)
    facts = read_json(tmp_path / "out/targets.json")
    assert (facts["torch_export"]["state"], facts["torch_export"]["flips"]) == ("ran here", 0)
    assert facts["onnx"]["why"] == "nothing was exported: choose exporter=onnx"
    assert read_json(tmp_path / "out/model.json")["labels"] == ["bar", "disc"]
    assert "This network was taken by torch_export." in read_section(tmp_path / "out").text


def test_a_target_that_fails_while_it_answers_disturbs_no_other(world, tmp_path, monkeypatch):
    folders, inputs = world
    words = trying._words
    fails = "import sys; print('{}', flush=True); sys.stdin.readline(); sys.exit('Fatal: illegal instruction')"

    def planted(verb, folder):
        failing = verb == "run" and "torch_export" in read_json(folder / "job.json")["target"]["_target_"]
        return [sys.executable, "-c", fails] if failing else words(verb, folder)

    monkeypatch.setattr(trying, "_words", planted)
    ship.run(config(folders, "torch_export", "onnx"), tmp_path, **inputs)
    facts = read_json(tmp_path / "targets.json")
    assert (facts["torch_export"]["state"], facts["torch_export"]["agreement"]) == ("cannot", None)
    assert facts["torch_export"]["why"] == "its process ended with 1: Fatal: illegal instruction"
    assert not (tmp_path / "torch_export").exists()
    assert (facts["onnx"]["state"], facts["onnx"]["flips"]) == ("ran here", 0)
    assert "torch_export: its process ended with 1: Fatal: illegal instruction." in read_section(tmp_path).text


@pytest.mark.parametrize(("compressor", "precision"), [
    pytest.param("fp16", "fp16", marks=pytest.mark.slow), pytest.param("bf16", "bf16", marks=pytest.mark.slow), ("int8", "int8"),
])  # fmt: skip
def test_a_compressed_file_is_called_and_built_as_what_it_is(world, tmp_path, compressor, precision):
    folders, inputs = world
    (tmp_path / "compress").mkdir()
    (tmp_path / "out").mkdir()
    rows = np.zeros((4, 16, 16, 1), np.uint8)
    build(toy.option("compressor", compressor))(inputs["export"] / "model.onnx", [rows], tmp_path / "compress")
    cfg = config(folders, "onnx", "onnx_int8", "tensorrt", max_drop=1.0)
    cfg["target"]["tensorrt"]["source"] = "compress"
    ship.run(cfg, tmp_path / "out", **{**inputs, "compress": tmp_path / "compress"})
    facts = read_json(tmp_path / "out/targets.json")
    assert {name: entry["precision"] for name, entry in facts.items()} == {"onnx": "fp32", "onnx_int8": precision, "tensorrt": precision}
    assert facts["onnx_int8"]["state"] == "ran here", "what is lost in fewer bits is measured, and not refused"
    assert (" --int8" in (tmp_path / "out/tensorrt/build.sh").read_text()) == (precision == "int8")


def test_nothing_to_ship_is_an_empty_valid_artifact(world, tmp_path):
    folders, inputs = world
    assert "no target" in ship.run({**config(folders, "onnx"), "target": {"none": {"_target_": None}}}, tmp_path, **inputs)
    assert json.loads((tmp_path / "targets.json").read_text()) == {}


def test_a_file_in_fp32_that_is_not_the_model_stops_the_run_with_the_numbers(world, tmp_path, monkeypatch):
    folders, inputs = world
    trained = ship.predict

    def other(*args, **kwargs):
        return np.roll(trained(*args, **kwargs), 1, axis=1)

    monkeypatch.setattr(ship, "predict", other)
    with pytest.raises(PersonError, match=r"onnx: its outputs differ by 0\.\d+ \(allowed: 0\.0001\), \d+ other classes .*target=\[none\]"):
        ship.run(config(folders, "onnx"), tmp_path, **inputs)


def trial(name, precision, answers, seconds):
    return Trial(name, RAN, precision, answers={1: {"prediction": np.asarray(answers, np.float32)}}, seconds={1: [(seconds, 1.0)]})


LIMITS = {"tolerance": 1e-4, "drop": 0.01, "sign": 1}
TRUTH = np.array([0, 1, 0, 1])
TRAINED = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], np.float32)


def accuracy(found_NK):
    value = float((found_NK.argmax(axis=1) == TRUTH).mean())
    return {"value": value, "low": value, "high": value}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_answer_that_is_no_number_in_one_batch_size_alone_is_seen(precision):
    """A regression: one output has no other class, and the metric looks at the last batch size."""
    right = TRAINED[:, :1]
    one = Trial("nan", RAN, precision, answers={size: {"prediction": right} for size in (1, 2, 7)}, seconds={1: [(0.1, 1.0)]})
    one.answers[2] = {"prediction": np.full_like(right, np.nan)}
    judged = judge(one, right, lambda found: {"value": 0.5, "low": 0.4, "high": 0.6}, LIMITS)
    assert judged.refused or judged.unfit
    assert choose([judged], 1) == ""


def test_a_metric_without_a_value_is_said_so():
    judged = judge(trial("few", "int8", TRAINED, 0.1), TRAINED, lambda found: {}, LIMITS)
    assert judged.unfit == "the headline metric has no value on these samples: raise  ship.samples"


def test_what_loses_too_much_or_is_slower_does_not_ship():
    worse = TRAINED.copy()
    worse[0] = [0.4, 0.6]
    same = judge(trial("same", "fp32", TRAINED, 0.9), TRAINED, accuracy, LIMITS)
    fast = judge(trial("fast", "int8", TRAINED + 0.01, 0.2), TRAINED, accuracy, LIMITS)
    bad = judge(trial("bad", "int8", worse, 0.1), TRAINED, accuracy, LIMITS)
    slow = judge(trial("slow", "fp32", TRAINED, 3.0), TRAINED, accuracy, LIMITS)
    assert (same.refused, same.unfit, fast.unfit, bad.lost) == ("", "", "", 0.25)
    assert bad.unfit == "it loses 0.2500 of the headline metric (allowed: 0.01)"
    assert choose([same, fast, bad, slow], 1) == "fast"
    assert choose([same, bad], 1) == "same"
    assert choose([slow], 1) == "slow", "where nothing is faster than the trained model, the file in fp32 ships"
    assert choose([bad], 1) == ""
    assert choose([Judged(Trial("none", "cannot", "fp32"))], 1) == ""
