"""The sorting line around answers that are known: a worse and a slower model turn it red, and say why."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.loop import page
from pipeline.loop.contract import Material, Said
from pipeline.plant.conveyor import blurred

CONF = Path(__file__).resolve().parents[3] / "conf/plant/conveyor.yaml"
COUNT = 200  # test images: the upper half of those that are bad is bright
ENOUGH = 420  # parts, for an upper end of the 99th percentile


def plant(**changes):
    return build(
        {
            **yaml.safe_load(CONF.read_text()),
            "reject": ["bad"],
            "parts": 60,
            "latency_ms": 20.0,
            "cycle_ms": 8.0,
            "max_late": 0.3,
            **changes,
        }
    )


def material(*, wrong=0.0, groups=None, classes=("good", "bad"), seconds=0.02):
    """A model that sees whether the image is bright, and says the opposite of a share of them."""
    truth_N = (np.arange(COUNT) % 4 == 0).astype(np.int64)
    fooled = np.random.default_rng(1).random(COUNT) < wrong
    images = np.where(truth_N[:, None, None, None] == 1, 200, 50).astype(np.uint8) * np.ones((1, 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNT)

    def ask(pixels_HWC):
        bad = bool(pixels_HWC[4, 4, 0] > 100) != fooled[int(pixels_HWC[0, 0, 0])]
        return Said(np.array([1.0 - bad, float(bad)]), False, seconds)

    return Material(ask=ask, classes=list(classes), truth_N=truth_N, ids=[f"id{n}" for n in range(COUNT)],
                    groups=groups or [""] * COUNT, pixels=lambda n: images[n], dataset=None, coverage=0.95, resamples=50, seed=0)  # fmt: skip


def states(outcome):
    return {one.name: one.state for one in outcome.requirements}


def test_a_good_model_meets_everything_and_the_page_says_so(tmp_path):
    outcome = plant(parts=ENOUGH, max_escape=0.25, max_false_reject=0.15).run(material())
    assert set(states(outcome).values()) == {"met"}
    assert outcome.held
    shown = page.write(outcome, tmp_path, {"model": "it"})
    text, facts = shown.read_text(), json.loads((tmp_path / "outcome.json").read_text())
    assert "Everything that is asked is met" in text
    assert 'src="data:image' in text
    assert "http" not in text.replace("http-equiv", "")
    assert facts["held"]
    assert (tmp_path / "events.csv").read_text().count("\n") == ENOUGH + 1
    again = tmp_path / "again"
    page.write(plant(parts=ENOUGH, max_escape=0.25, max_false_reject=0.15).run(material()), again, {"model": "it"})
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == {
        path.name: path.read_bytes() for path in again.glob("*.*")
    }


def test_a_worse_model_is_missed_and_named_as_the_cause(tmp_path):
    outcome = plant().run(material(wrong=0.4))
    assert states(outcome)["max_escape"] == states(outcome)["max_false_reject"] == "missed"
    assert not outcome.held
    (_, rows), *_ = outcome.tables.values()
    assert {cause for cause, _ in rows} <= {"faulty, passed: the model was wrong", "good, rejected: the model was wrong"}
    assert "Not everything" in page.write(outcome, tmp_path, {}).read_text()
    assert (tmp_path / "escaped.png").is_file()


def test_a_slower_model_is_missed_and_named_as_the_cause():
    outcome = plant(extra_ms=2500.0).run(material())
    found = states(outcome)
    assert found["max_late"] == found["budget_ms"] == found["min_rate"] == found["max_false_reject"] == "missed"
    (_, rows), *_ = outcome.tables.values()
    assert any(cause == "good, rejected: no answer in time" for cause, _ in rows)


def test_what_too_few_answers_cannot_show_is_said(tmp_path):
    outcome = plant().run(material())
    assert states(outcome)["budget_ms"] == "not shown", "60 answers say nothing of the slowest one in a hundred"
    assert "60 of 60, of one run: too few" in outcome.facts["answers that count as independent"]
    assert "too few for an upper end" in page.write(outcome, tmp_path, {}).read_text()
    assert json.loads((tmp_path / "outcome.json").read_text())["requirements"]["budget_ms"]["high"] is None


def test_parts_that_queue_count_as_fewer_answers():
    queued = plant(latency_ms=590.0, jitter=0.25, backlog=20, parts=200).run(material())
    assert int(queued.facts["answers that count as independent"].split()[0]) < 100


def test_a_belt_that_never_moves_is_missed_and_has_a_page(tmp_path):
    stuck = plant(supply=1e-6, parts=5).run(material())
    assert states(stuck)["stuck"] == states(stuck)["min_rate"] == "missed"
    assert not stuck.held
    assert page.write(stuck, tmp_path, {}).is_file()


def test_the_measured_time_of_each_call_is_what_counts():
    assert states(plant(latency_ms=None).run(material(seconds=2.5)))["max_late"] == "missed"
    assert all(
        one.measured for one in plant(latency_ms=None).run(material()).requirements if one.name in {"max_late", "budget_ms"}
    )


def test_images_of_one_group_are_one_piece_of_evidence():
    single = plant().run(material(wrong=0.1)).requirements[1]
    grouped = plant().run(material(wrong=0.1, groups=[f"g{n // 25}" for n in range(COUNT)])).requirements[1]
    assert single.value == grouped.value
    assert grouped.high - grouped.low > single.high - single.low


def test_parts_that_the_gate_pushes_off_with_a_neighbour_are_seen():
    outcome = plant(pitch=0.07).run(material())
    (_, rows), *_ = outcome.tables.values()
    assert dict(rows)["good, rejected: pushed off with a neighbour"] > 0


@pytest.mark.parametrize(("length", "spread"), [(0.0, 0), (3.0, 3), (4.0, 5)])
def test_motion_blurs_along_the_width_alone(length, spread):
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 4] = 240
    moved = blurred(image, length)
    assert (moved > 0).any(axis=0).sum() == max(1, spread)
    assert (moved > 0).any(axis=1).sum() == 1
    assert abs(int(moved.sum()) - 240) <= 3
    assert image[4, 4] == 240


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reject": []}, "name the classes"),
        ({"reject": ["bed"]}, "did you mean 'bad'"),
        ({"reject": ["bad", "good"]}, "names every class"),
    ],
)
def test_the_classes_must_be_some_of_the_data(changes, said):
    with pytest.raises(PersonError, match=said):
        plant(**changes).run(material())
    with pytest.raises(PersonError, match="predicts a value"):
        plant().run(material(classes=()))


@pytest.mark.parametrize(
    "changes", [{"fast": 0.0}, {"threshold": 1.5}, {"slow": 1.0}, {"ahead": 0.6}, {"max_late": 2.0}, {"latency_ms": -1.0}]
)
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(PersonError, match="plant"):
        plant(**changes)
