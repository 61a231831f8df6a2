"""When a training ends and what it ships, from the history alone."""

import math

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.stopping import Rule, load_best, rule_of, save_best, shipped_row, verdict
from tests import toy

CARD = {"classes": ["a", "b"], "target": {"name": "level", "unit": "", "low": 0.0, "high": 2.0}, "name": "toy"}
RULE = Rule(column="val_accuracy", higher=True, patience=3, keep="best")


def rows(*values):
    """Validations every ten steps, with rows of the loss between them."""
    found = []
    for number, value in enumerate(values, start=1):
        found += [{"step": 10 * number - 5, "loss": 1.0}, {"step": 10 * number, "loss": 1.0, "val_loss": 1 - value, "val_accuracy": value}]
    return found


def test_it_stops_after_as_many_validations_without_a_new_best():
    values = [0.5, 0.7, 0.6, 0.7, 0.65, 0.9]
    stops = [verdict(rows(*values[:count]), RULE).stop for count in range(len(values) + 1)]
    assert stops == [False, False, False, False, False, True, False]
    found = verdict(rows(*values[:5]), RULE)
    assert (found.best, found.since) == (20, 3)  # an equal value is no new best


def test_less_may_be_better_and_no_patience_waits_for_ever():
    falling = Rule(column="val_loss", higher=False, patience=2, keep="last")
    assert verdict(rows(0.1, 0.2, 0.1, 0.1), falling).stop
    assert not verdict(rows(0.1, 0.2, 0.1, 0.3), falling).stop
    assert not verdict(rows(*[0.5] * 50), Rule("val_accuracy", higher=True, patience=0, keep="best")).stop
    assert verdict([], RULE) == verdict([{"step": 5, "loss": 1.0}], RULE)


def test_what_is_not_a_number_is_an_error_and_not_a_comparison():
    with pytest.raises(PersonError, match=r"val_accuracy is not a number at step 20.*train.monitor=loss"):
        verdict(rows(0.5, math.nan), RULE)


def test_the_rule_follows_recipe_and_task():
    classify = build({**toy.option("task", "classification"), "headline": "ece"}, card=CARD)
    assert rule_of({"patience": 4}, classify) == Rule("val_ece", higher=False, patience=4, keep="last")
    assert rule_of({"monitor": "loss", "keep": "best"}, classify) == Rule("val_loss", higher=False, patience=0, keep="best")
    regress = build({**toy.option("task", "regression"), "headline": "r2"}, card=CARD)
    assert rule_of({}, regress) == Rule("val_r2", higher=True, patience=0, keep="last")
    assert not rule_of({}, regress).active


def test_the_shipped_row_is_the_best_or_the_last():
    history = rows(0.5, 0.9, 0.7)
    assert shipped_row(history, RULE)["step"] == 20
    assert shipped_row(history, Rule("val_accuracy", higher=True, patience=3, keep="last"))["step"] == 30


@pytest.fixture
def folder(tmp_path):
    import json

    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(0.5, 0.9, 0.7)))
    return tmp_path


def test_the_best_weights_come_back(folder):
    best, last = nn.Linear(2, 2), nn.Linear(2, 2)
    save_best(folder, nn.Linear(2, 2), 10)
    save_best(folder, best, 20)
    assert [path.name[:14] for path in folder.glob("best=*")] == ["best=000000020"]
    assert load_best(folder, last, RULE) == 20
    assert torch.equal(last.weight, best.weight)
    assert not list(folder.glob(".*"))


def test_a_damaged_or_missing_file_is_said(folder):
    save_best(folder, nn.Linear(2, 2), 20)
    path = next(folder.glob("best=*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PersonError, match="of step 20, are missing or damaged"):
        load_best(folder, nn.Linear(2, 2), RULE)
    path.unlink()
    with pytest.raises(PersonError, match="missing or damaged"):
        load_best(folder, nn.Linear(2, 2), RULE)
