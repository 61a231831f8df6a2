"""The reference: which baseline, fitted in pieces as in one, and held against what data/baseline published."""

import numpy as np
import pytest

from pipeline.baseline.linear import Linear
from pipeline.core.parts import build
from pipeline.corruption import reference
from pipeline.corruption.reference import Reference, agreement, chosen
from tests import toy

NODES = {name: toy.option("baseline", name) for name in ("majority", "linear")}
TASK = build(toy.option("task", "classification"), card={"name": "toy", "classes": ["bar", "disc"]})


def known(count=40):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, count)
    features = rng.normal(truth[:, None], 1, (count, 3)).astype(np.float32)
    return features, truth, np.ones(count)


def test_waiting_rows_are_predicted_as_if_there_were_no_waiting(monkeypatch):
    features, truth, weight = known()
    part = build(NODES["linear"])
    assert isinstance(part, Linear)
    whole = part.fit_predict(features, truth, weight, features, categories=2)
    for limit in (1_000_000, 100):  # bytes: one fit, and one for every block
        monkeypatch.setattr(reference, "LIMIT", limit)
        made = Reference("linear", part, (features, truth, weight), TASK)
        for block in np.split(features, 4):
            made.show(block)
        assert np.allclose(made.predictions(), whole, atol=1e-6)


def test_a_part_that_looks_at_nothing_is_shown_nothing():
    _, truth, weight = known()
    made = Reference("majority", build(NODES["majority"]), (np.zeros((40, 0), np.float32), truth, weight), TASK)
    assert not made.sees
    made.show(np.zeros((5, 0), np.float32))
    assert np.allclose(made.predictions(), np.bincount(truth) / 40)


@pytest.mark.parametrize(("nodes", "wanted", "features", "said"), [
    (NODES, "", True, "names no baseline"), (NODES, "linaer", True, "did you mean 'linear'"), (None, "linear", True, "the run has none"),
    ({"none": {"_target_": None}}, "linear", True, "the run has none"), (NODES, "linear", False, "embedder=none"),
])  # fmt: skip
def test_why_there_is_no_reference_is_said(nodes, wanted, features, said):
    part, why = chosen(nodes, wanted, features=features)
    assert part is None
    assert why.startswith("There is no mean corruption error: ")
    assert said in why


def test_a_reference_at_hand_is_built():
    part, why = chosen(NODES, "linear", features=True)
    assert isinstance(part, Linear)
    assert why == ""
    assert chosen(NODES, "majority", features=False)[1] == ""


def test_another_baseline_than_the_published_one_is_noticed():
    published = {"auroc": {"value": 0.9, "low": 0.8, "high": 1.0}}
    said, same = agreement(TASK, {"auroc": 0.902}, published, slack=0.005)
    assert same
    assert "0.902" in said
    assert "0.900" in said
    assert not agreement(TASK, {"auroc": 0.8}, published, slack=0.005)[1]
    assert not agreement(TASK, {"auroc": 0.8}, None, slack=0.005)[1]
    assert agreement(TASK, {"auroc": float("nan")}, {}, slack=0.005)[1]
