"""assure: the matrix leads from each requirement to a file and its hash; gates stop with the numbers, pass, or are waived."""

import csv
import json
import subprocess
import sys

import pytest
import yaml

from pipeline.assurance.requirements import REQUIREMENTS
from pipeline.core import artifact
from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.stages import assure, report
from tests import toy

REASON = "the customer accepts this in writing"


def options(**changes):
    config = yaml.safe_load((toy.PROJECT / "conf/config.yaml").read_text())["gates"]
    return {"gates": {**config, **changes, "waivers": {**config["waivers"], **changes.get("waivers", {})}}}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Toy artifacts of which baseline, train and evaluate are real, with a split and gates of quality."""
    root = tmp_path_factory.mktemp("assured")
    made = toy.artifacts(root, classes=["bar", "disc"], count=160)
    out = root / "quality.partial"
    (root / "quality").rename(out)
    (out / artifact.MANIFEST).unlink()
    artifact.write_json(out / "gates.json", [{"gate": "conflicts", "value": 0, "limit": 0, "passed": True, "waiver": ""}])
    toy.publish(root, "quality")
    return {stage: made[stage] for stage in made if stage not in {"compose", "assure"}}


def run(tmp_path, shelf, *, name="out", scratch=None, **changes):
    out = tmp_path / name
    out.mkdir()
    return out, assure.run(options(**changes), out, scratch=scratch, **shelf)


def rows(out):
    with (out / "matrix.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def gate_of(out, name):
    return next(gate for gate in json.loads((out / "gates.json").read_text()) if gate["gate"] == name)


def test_without_a_limit_every_number_is_shown_with_its_interval_file_and_whole_hash(tmp_path, shelf):
    out, said = run(tmp_path, shelf)
    assert said.startswith("no gate is set; 4 of 4 checks hold; ")
    row = next(row for row in rows(out) if row["gate"] == "min_balanced_accuracy")
    entry = artifact.read_json(shelf["evaluate"] / "metrics.json")["balanced_accuracy"]
    assert [float(row[key]) for key in ("value", "low", "high")] == [entry["value"], entry["low"], entry["high"]]
    assert row["sha256"] == artifact.sha256(shelf["evaluate"] / "metrics.json")
    assert row["artifact_digest"] == artifact.digest(shelf["evaluate"])
    assert (row["artifact"], row["file"], row["key"], row["verdict"]) == ("evaluate", "metrics.json", "balanced_accuracy", "no limit")
    back = json.loads((out / "evidence.json").read_text())["evaluate/metrics.json"]
    assert {"headline", "min_balanced_accuracy", "min_gain"} <= set(back["requirements"])
    assert back["sha256"] == row["sha256"]


def test_every_requirement_has_its_line_its_duty_and_its_key_in_conf(tmp_path, shelf):
    out, _ = run(tmp_path, shelf)
    config = compose(toy.PROJECT / "conf", experiment="digits", overrides=[])["gates"]
    names = [requirement.gate for requirement in REQUIREMENTS]
    assert set(names) == set(config) - {"hold", "eps", "waivers"} == set(config["waivers"])
    assert {row["gate"] for row in rows(out) if row["duty"]} == set(names)


def test_a_gate_that_fails_says_the_numbers_and_keeps_the_page(tmp_path, shelf):
    entry = artifact.read_json(shelf["evaluate"] / "metrics.json")["balanced_accuracy"]
    with pytest.raises(PersonError) as error:
        run(tmp_path, shelf, scratch=tmp_path / "kept", min_balanced_accuracy=1.0)
    line = str(error.value)
    assert "\n" not in line
    for part in ("gate min_balanced_accuracy: ", f"{entry['value']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}]", "at least 1",
                 "gates.waivers.min_balanced_accuracy", "index.html"):  # fmt: skip
        assert part in line
    page = (tmp_path / "kept/index.html").read_text()
    assert "Assurance: a gate stopped the run" in page
    assert "min_balanced_accuracy" in page
    assert (tmp_path / "kept/matrix.csv").is_file()


def test_a_gate_that_is_met_passes_and_one_inside_the_noise_is_named(tmp_path, shelf):
    entry = artifact.read_json(shelf["evaluate"] / "metrics.json")["balanced_accuracy"]
    inside = (entry["low"] + entry["value"]) / 2
    out, said = run(tmp_path, shelf, min_balanced_accuracy=inside, headline=0.01)
    assert said.startswith("2 of 2 gates passed, 1 met inside the noise")
    assert gate_of(out, "min_balanced_accuracy")["verdict"] == "met, inside the noise"
    assert gate_of(out, "headline")["verdict"] == "met"
    warnings = json.loads((out / "section.json").read_text())["warnings"]
    assert any("min_balanced_accuracy is met by the value alone" in warning for warning in warnings)
    with pytest.raises(PersonError, match=r"gates\.hold=interval asks that all of it keep the limit"):
        run(tmp_path, shelf, name="whole", min_balanced_accuracy=inside, hold="interval")


def test_a_waiver_lets_a_gate_fail_and_stands_on_the_first_page(tmp_path, shelf):
    out, said = run(tmp_path, shelf, max_ece=0.0, waivers={"max_ece": REASON})
    assert "0 of 1 gates passed, 1 waived" in said
    assert gate_of(out, "max_ece")["waiver"] == REASON
    assert [(gate["kind"], gate["gate"], gate["waiver"]) for gate in report._waived({"assure": out})] == [("Assurance", "max_ece", REASON)]


@pytest.mark.parametrize(("waivers", "words"), [({"max_ece": "because"}, "gates.waivers.max_ece must say why the result may ship"),
                                                ({"max_ec": REASON}, "gates.waivers names the gate 'max_ec'.*did you mean 'max_ece'")])  # fmt: skip
def test_a_waiver_names_a_gate_and_a_reason(tmp_path, shelf, waivers, words):
    with pytest.raises(PersonError, match=words):
        run(tmp_path, shelf, waivers=waivers)


def test_planted_fault_a_number_changed_by_hand_stops_although_every_gate_would_pass(tmp_path, shelf):
    copy = tmp_path / "evaluate"
    subprocess.run(["cp", "-r", str(shelf["evaluate"]), str(copy)], check=True)
    found = artifact.read_json(copy / "metrics.json")
    found["balanced_accuracy"]["value"] = 1.0
    artifact.write_json(copy / "metrics.json", found)
    with pytest.raises(PersonError, match=r"assurance, whole evidence: evaluate/metrics\.json was changed after it was published"):
        run(tmp_path, {**shelf, "evaluate": copy}, min_balanced_accuracy=0.5, waivers={"min_balanced_accuracy": REASON})


def test_a_gate_on_what_was_not_measured_fails_and_says_where_it_was_sought(tmp_path, shelf):
    rest = {stage: path for stage, path in shelf.items() if stage != "baseline"}
    with pytest.raises(PersonError, match=r"was not measured \(baseline/metrics\.json: choose at least one baseline\), the limit is at least 0"):
        run(tmp_path, rest, min_gain=0.0)


def test_the_same_artifacts_give_the_same_bytes(tmp_path, shelf):
    for name in ("one", "two"):
        run(tmp_path, shelf, name=name, headline=0.2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_report_reads_assurance_first_and_keeps_subjects_together():
    assert report.reading_order(["ingest", "quality", "train", "calibrate", "evaluate", "robustness", "ood", "certify", "assure"]) == [
        "assure", "ingest", "quality", "train", "evaluate", "calibrate", "robustness", "certify", "ood",
    ]  # fmt: skip


def test_the_model_card_says_whether_unknown_inputs_are_flagged(tmp_path, shelf):
    artifact.write_json(tmp_path / "metrics.json", {"shipped": {"detector": "knn"}})
    assert report._detector({"ood": tmp_path}) == "knn"
    assert report._detector({"ood": shelf["ood"]}) == report._detector({}) == ""


def test_it_imports_no_torch():
    code = "import sys, pipeline.stages.assure; print([n for n in ('torch', 'lightning', 'scipy', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=toy.PROJECT)
    assert done.stdout.strip() == "[]"
