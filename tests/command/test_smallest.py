"""The command smallest: real candidates of a small trained network, measured; a second run takes what is there."""

import csv
import html
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import onnx
import pytest
import yaml
from onnx.checker import ValidationError
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from pipeline.command import exp, smallest
from pipeline.compression import measuring, search
from pipeline.compression.candidates import Candidate
from pipeline.core import config, fingerprint
from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.outlier.watch import Chosen, save_watch
from tests import shipped, trained
from tests.made_files import Made

WORDS = [
    "smallest.prune=[0.0,0.5]", "smallest.project=[1.0]", "smallest.compressor=[int8]", "smallest.repeats=5", "smallest.max_drop=0.5",
    "compress.tune_steps=4", "compress.calibration=16", "compress.looked_at=32", "intervals.resamples=50",
]  # fmt: skip
pytestmark = pytest.mark.timeout(900)  # processes of their own, on a machine that may be busy


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What ingest, split, train and ood publish."""
    data = tmp_path_factory.mktemp("published")
    trained.folders(data, count=200)
    shipped.unwatched(data)
    for name in ("train", "ood"):
        (data / name / "manifest.json").write_text(json.dumps({"files": {}}))
    return data


@pytest.fixture(scope="module")
def composed():
    """What Hydra made, by its folder and words."""
    return {}


@pytest.fixture(autouse=True)
def hydra_once(composed, monkeypatch):
    """Hydra takes a quarter of a second for each composition, and these tests ask for the same ones over and over."""
    made = config._hydra

    def once(conf, chosen, *, overrides):
        key = (str(conf.resolve()), *chosen, *overrides)
        if key not in composed:
            composed[key] = made(conf, chosen, overrides=overrides)
        return composed[key]

    monkeypatch.setattr(config, "_hydra", once)


@pytest.fixture
def root(tmp_path, project, published, monkeypatch):
    """A project whose data/ holds a trained network, as the digits' configuration would have made it."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("conf", "pipeline"):
        (root / name).symlink_to(project / name)
    shutil.copy(project / "dvc.yaml", root / "dvc.yaml")
    (root / "params.yaml").write_text("experiment: digits\noverrides: [logger=none]\nsource: conf/no_source\n")
    shutil.copytree(published, root / "data")
    (root / "data/compose").mkdir()
    composed = compose(project / "conf", experiment="digits", overrides=["logger=none"])
    (root / "data/compose/config.yaml").write_text(yaml.safe_dump(composed))
    monkeypatch.chdir(root)
    return root


def run(capsys, *words):
    code = smallest.main([*WORDS, *words, "--no-browser"])
    return code, capsys.readouterr().out


@pytest.fixture
def made(monkeypatch):
    """Files that take no time to make and to measure."""
    return Made(monkeypatch)


def folders(root):
    return {path.name for path in (root / ".run/smallest").iterdir() if path.is_dir()}


PAIR = ["smallest.prune=[0.0]", "smallest.compressor=[int8,fp16]"]


def test_it_measures_names_the_smallest_and_takes_up_what_is_there(root, capsys, monkeypatch):
    code, said = run(capsys)
    assert code == 0, said
    assert "2 candidates on" in said
    table = list(csv.DictReader((root / ".run/smallest/pareto.csv").read_text(encoding="utf-8").splitlines()))
    assert next(row["candidate"] for row in table) == "original"
    sizes = {row["candidate"]: int(row["size_bytes"]) for row in table}
    assert sizes["int8"] < sizes["original"]
    chosen = min((row for row in table[1:] if not row["misses"]), key=lambda row: int(row["size_bytes"]))
    assert chosen["candidate"].startswith("prune 0.5"), "fewer channels, a smaller file"
    assert f"smallest: {chosen['candidate']}\nto take it: python -m pipeline exp {chosen['overrides']}\n" in said
    for row in table:
        for size in ("1", "32"):
            assert float(row[f"ms_{size}"]) > 0
            assert float(row[f"cpu_ms_a_sample_{size}"]) > 0
            assert float(row[f"memory_bytes_{size}"]) > 1e6
    assert f"<b>{chosen['candidate']}</b>" in (root / ".run/smallest/report.html").read_text(encoding="utf-8")

    def never(*_, **__):
        raise AssertionError("what was measured is made again")

    monkeypatch.setattr(search, "compressed", never)
    monkeypatch.setattr(search.Stand, "measure", never)
    code, said = run(capsys, "smallest.max_size_mb=0.000001")
    assert code == 1
    assert "no candidate keeps that" in said


def test_the_test_split_is_never_read(root, capsys, monkeypatch):
    from pipeline.core.store import Samples, open_samples

    stored = open_samples(root / "data/ingest")
    closed = set(stored.positions(json.loads((root / "data/split/split.json").read_text())["test"]).tolist())
    read, seen = Samples.pixels, set()
    monkeypatch.setattr(Samples, "pixels", lambda self, position: (seen.add(int(position)), read(self, position))[1])
    code, _ = run(capsys, "smallest.prune=[0.5]", "smallest.compressor=[fp16]")
    assert code == 0
    assert len(seen) > 100
    assert not seen & closed


def test_the_detector_that_travels_is_inside_what_is_measured(root, capsys):
    save_watch(root / "data/ood", Chosen("energy", 0.0, 0.05, 20), {})
    code, said = run(capsys, "smallest.prune=[0.5]", "smallest.compressor=[int8]")
    assert code == 0, said
    files = sorted((root / ".run/smallest").glob("*/model.onnx"))
    assert len(files) == 2, "the original and the candidate"
    limits = set()
    for path in files:
        proto = onnx.load(path)
        assert [output.name for output in proto.graph.output] == ["prediction", "unknown_score", "unknown"]
        limits.add(json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "unknown"))["threshold"])
    assert len(limits) == 2, "the candidate's threshold is its own"


def test_a_candidate_that_cannot_be_made_is_a_line_and_the_others_go_on(root, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e", None)
    code, said = run(capsys, "smallest.prune=[0.0]", "smallest.compressor=[int8_aware,fp16]")
    assert code == 0, said
    assert re.search(r"1 of 2  int8_aware: .*pip install torchao", said)
    assert "smallest: fp16" in said


def test_the_plan_runs_nothing(root, capsys):
    code, said = run(capsys, "--plan")
    assert code == 0
    assert "prune 0.5: 1" in said
    assert not (root / ".run").exists()


@pytest.mark.parametrize(("words", "told"), [
    (["smallest.compressor=[int4]"], "unknown option compressor=int4"), (["smallest.compressor=[none]"], "none makes no smaller file"),
    (["smallest.prune=[1.5]"], "smallest.prune"), (["model=mlp"], "model is not what data/train was made with"),
    (["exporter=none"], "exporter=onnx"), (["smallest.max_dorp=1"], "max_drop"), (["compressor.stpes=3"], "no setting of any candidate"),
])  # fmt: skip
def test_what_cannot_be_asked_is_said_before_anything_runs(root, capsys, words, told):
    with pytest.raises(PersonError, match=told):
        run(capsys, *words)


def test_without_a_trained_network_it_says_what_to_run(root, capsys):
    shutil.rmtree(root / "data/train")
    with pytest.raises(PersonError, match="dvc repro ood"):
        run(capsys)


def test_two_at_once_are_refused(root, capsys):
    from pipeline.search.alone import alone

    with alone(Path(".run/smallest")), pytest.raises(PersonError, match="another process"):
        run(capsys)


def test_what_it_says_to_take_makes_that_very_model(root, capsys, made):
    (root / "params.yaml").write_text("experiment: digits\noverrides: [logger=none, compressor.calibration=percentile]\nsource: conf/no_source\n")
    code, said = run(capsys, "smallest.prune=[0.0]", "compressor.per_channel=false", "exporter.optimize=false")
    assert code == 0, said
    line = re.search("^to take it: (.*)$", said, re.MULTILINE).group(1)
    start, words = shlex.split(line)[:4], shlex.split(line)[4:]
    assert start == ["python", "-m", "pipeline", "exp"]
    assert not any("smallest" in word for word in words)
    (taken,) = exp.plan(words, params={"experiment": "digits"}, keep=False, root=root)
    found = compose(root / "conf", experiment=taken.experiment, overrides=taken.overrides)
    assert (found["compress"]["tune_steps"], found["compress"]["calibration"], found["compress"]["looked_at"]) == (4, 16, 32)
    assert found["compressor"] | {"per_channel": False, "calibration": "percentile"} == found["compressor"]
    assert found["exporter"]["optimize"] is False
    assert found["logger"] == {"_target_": None}
    page = html.unescape((root / ".run/smallest/report.html").read_text(encoding="utf-8"))
    assert f"<pre>{line}</pre>" in page
    table = list(csv.DictReader((root / ".run/smallest/pareto.csv").read_text(encoding="utf-8").splitlines()))
    assert shlex.split(table[1]["overrides"]) == words


def test_a_candidate_whose_process_ends_is_a_line_and_the_others_go_on(root, capsys, made):
    made.plant({"Int8": "ends"})
    code, said = run(capsys, *PAIR)
    assert code == 0, said
    assert "1 of 2  int8: failed: its process ended with 1: RuntimeError: no such kernel\n" in said
    assert "smallest: fp16" in said
    made.plant({})
    made.taken()
    run(capsys, *PAIR)
    assert made.taken() == ([], ["Int8"]), "its file is there and is measured; the others are known"


@pytest.mark.timeout(100)
def test_a_candidate_that_hangs_is_a_line(root, capsys, made, monkeypatch):
    monkeypatch.setattr(measuring, "PATIENCE", 3.0)
    made.plant({"Half": "hangs", "Int8": "slow"})
    code, said = run(capsys, *PAIR)
    assert code == 0, said
    assert "2 of 2  fp16: failed: it took longer than 3 s\n" in said
    assert "smallest: int8" in said, "the answers to all samples may take as long as its calls foretell"


def test_a_candidate_is_not_blamed_for_the_end_of_the_originals_process(root, capsys, made):
    made.plant({"original": "ends once"})
    code, said = run(capsys, *PAIR)
    assert code == 0, said
    assert "failed" not in said


def test_an_original_that_cannot_be_measured_is_one_line(root, capsys, made):
    made.plant({"original": "ends"})
    with pytest.raises(PersonError, match=r"the trained network's file cannot be measured: .*kernel"):
        run(capsys, *PAIR)


def test_what_decides_a_measurement_decides_whether_it_is_taken_again(root, capsys, made, monkeypatch):
    everything = ["original", "Int8", "Half"]
    run(capsys, *PAIR)
    assert made.taken() == (everything, everything)
    run(capsys, *PAIR, "smallest.max_drop=0.1")
    assert made.taken() == ([], [])
    run(capsys, *PAIR, "smallest.repeats=6")
    assert made.taken() == ([], everything), "the same files, other calls"


def test_the_key_of_a_file_holds_all_that_makes_and_measures_it(root, monkeypatch):
    def keys(*words, composed={}):  # noqa: B006 - composed once
        if words not in composed:
            asked = smallest.Asked(root, [*WORDS, *words])
            composed[words] = asked.plain(), asked
        world = smallest._world(root, *composed[words])
        seen = search.Search(world, repeats=5, say=print)
        cfg = world.settings(Candidate(0.5, 1.0, "int8"))
        return {seen._place({"original": True, **world.shared}), seen._place({key: cfg[key] for key in search.SETTINGS})}

    before = keys()
    assert keys("smallest.max_drop=0.1") == before
    assert not keys("exporter.opset=19") & before
    versions, hashed = fingerprint.versions, fingerprint.module_hash
    for name in ("onnx", "onnxruntime", "torch"):
        assert name in versions(fingerprint.closure(root / "pipeline", [*smallest.CODE, "pipeline.target.onnx"])[1])
        monkeypatch.setattr(fingerprint, "versions", lambda names, name=name: {**versions(names), name: "99"})
        assert not keys() & before, name
    monkeypatch.setattr(fingerprint, "versions", versions)
    for name in ("compression/measuring.py", "shipping/attempt.py", "shipping/trial.py", "target/onnx.py", "runtime/ort.py"):
        monkeypatch.setattr(fingerprint, "module_hash", lambda path, name=name: f"{hashed(path)}{str(path).endswith(name)}")
        assert not keys() & before, name
    monkeypatch.setattr(fingerprint, "module_hash", hashed)
    assert keys() == before


def test_another_configuration_of_the_runtime_is_measured_anew(root, capsys, made, project):
    (root / "conf").unlink()
    shutil.copytree(project / "conf", root / "conf")
    run(capsys, *PAIR)
    made.taken()
    path = root / "conf/target/onnx.yaml"
    path.write_text(path.read_text().replace("source: export", "source: compress"))
    run(capsys, *PAIR)
    assert made.taken() == ([], ["original", "Int8", "Half"])


def test_folders_of_other_data_or_code_are_removed_and_those_of_a_wider_search_stay(root, capsys, made, monkeypatch):
    run(capsys, *PAIR)
    before = folders(root)
    for name in ("0123456789abcdef.partial", "0123456789abcdef", "notes"):
        (root / ".run/smallest" / name).mkdir()
    run(capsys, *PAIR, "smallest.compressor=[fp16]")
    assert folders(root) == before | {"notes"}, "the folder of a person stays too"
    made.taken()
    run(capsys, *PAIR)
    assert made.taken() == ([], [])
    hashed = fingerprint.module_hash
    monkeypatch.setattr(fingerprint, "module_hash", lambda path: f"{hashed(path)}{str(path).endswith('compressor/int8.py')}")
    run(capsys, *PAIR, "smallest.compressor=[fp16]")
    assert len(folders(root)) == 3, "int8's code is another now"
    (root / "data/train/manifest.json").write_text(json.dumps({"files": {}, "seed": 1}))
    run(capsys, *PAIR, "smallest.compressor=[fp16]")
    assert len(folders(root)) == 3
    assert not folders(root) & before


@pytest.mark.parametrize("error", [ValueError("Input X contains NaN"), Fail("no kernel for Foo"), ValidationError("bad node")], ids=repr)
def test_whatever_a_library_raises_while_a_candidate_is_made_is_a_line(root, capsys, made, monkeypatch, error):
    def fail(network, files, compressor, calibration, out):
        if type(compressor).__name__ == "Int8":
            raise error
        return made.file(out, "Half")

    monkeypatch.setattr(search, "compressed", fail)
    code, said = run(capsys, *PAIR)
    assert code == 0, said
    assert f"1 of 2  int8: failed: {error}\n" in said
    assert "smallest: fp16" in said


@pytest.mark.parametrize("stale", ["split", "train", "ood"])
def test_what_was_made_from_older_versions_of_each_other_is_refused(root, capsys, stale):
    used = {"split": "ingest", "train": "split", "ood": "train"}[stale]
    path = root / "data" / stale / "manifest.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "inputs": {used: "0" * 64}}))
    with pytest.raises(PersonError, match=f"data/{stale} was made from another data/{used} than what is there: run  dvc repro ood"):
        run(capsys, *PAIR)
