"""Errors, corruption errors and their intervals: against plain loops, and where nothing can be divided."""

import numpy as np
import pytest

from pipeline.core.parts import build
from pipeline.corruption import measure
from pipeline.corruption.catalogue import PAPER
from tests import toy

DRAWN = {"resamples": 60, "coverage": 0.95, "seed": 0}
CARD = {"name": "toy", "classes": ["bar", "disc", "ring"], "target": {"name": "y", "unit": "", "low": 0.0, "high": 1.0}}


def wrong(count, cells, share, seed=0):
    return (np.random.default_rng(seed).random((count, len(cells))) < share).astype(float)


def test_cells_come_once_and_in_order():
    assert measure.cells_of(["fog", "snow"], [3, 1, 3]) == [("clean", 0), ("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)]
    assert measure.places_of(measure.cells_of(["fog", "snow"], [3, 1])) == {"fog": [1, 2], "snow": [3, 4]}
    assert measure.cells_of([], [1]) == [measure.CLEAN]


def test_errors_and_the_mean_corruption_error_are_those_of_the_paper():
    names, severities = [*PAPER, "darkness"], [1, 2, 3, 4, 5]
    cells = measure.cells_of(names, severities)
    model, reference = wrong(40, cells, 0.4), wrong(40, cells, 0.6, seed=1)
    found = measure.errors(cells, model, reference, groups=[""] * 40, **DRAWN)
    ratios = []
    for name in names:
        mine, other = 0.0, 0.0
        for severity in severities:
            column = cells.index((name, severity))
            mine += model[:, column].mean()
            other += reference[:, column].mean()
            assert found[f"{name}_{severity}_error"]["value"] == pytest.approx(model[:, column].mean())
        assert found[f"{name}_ce"]["value"] == pytest.approx(mine / other)
        assert found[f"{name}_error"]["value"] == pytest.approx(mine / 5)
        assert found[f"reference_{name}_error"]["value"] == pytest.approx(other / 5)
        ratios.append(mine / other)
    assert found["mce"]["value"] == pytest.approx(np.mean(ratios[:15]))  # darkness is not of the fifteen
    assert found["corrupted_error"]["value"] == pytest.approx(model[:, 1:].mean())
    assert found["mce"]["low"] < found["mce"]["value"] < found["mce"]["high"]


def test_both_models_are_resampled_together():
    """A model against itself errs exactly as much in every resample."""
    cells = measure.cells_of(["fog", "snow"], [1, 5])
    same = wrong(30, cells, 0.5)
    found = measure.errors(cells, same, same, groups=[f"g{n // 3}" for n in range(30)], **DRAWN)
    assert found["mce"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["corrupted_error"]["high"] - found["corrupted_error"]["low"] > 0.1


def test_groups_widen_the_interval():
    cells = measure.cells_of(["fog"], [1])
    alike = np.repeat(wrong(12, cells, 0.5), 10, axis=0)
    single, grouped = (measure.errors(cells, alike, None, groups=names, **DRAWN)["fog_error"] for names in ([""] * 120, [f"g{n // 10}" for n in range(120)]))
    assert grouped["high"] - grouped["low"] > 2 * (single["high"] - single["low"])


def test_a_reference_without_error_leaves_no_ratio_and_none_leaves_no_column():
    cells = measure.cells_of(["fog", "snow"], [1])
    model, perfect = wrong(30, cells, 0.5), np.zeros((30, 3))
    found = measure.errors(cells, model, perfect, groups=[""] * 30, **DRAWN)
    assert not {"mce", "fog_ce"} & set(found)
    alone = measure.errors(cells, model, None, groups=[""] * 30, **DRAWN)
    assert not [name for name in alone if name.startswith("reference_") or name.endswith("_ce")]
    assert "mce" not in measure.errors(measure.cells_of(["darkness"], [1]), model[:, :2], model[:, :2], groups=[""] * 30, **DRAWN)


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_sample_errors_and_headlines_are_those_of_the_task(name):
    task = build(toy.option("task", name), card=CARD)
    rng = np.random.default_rng(0)
    prediction, truth = task.toy(24, rng)
    weight = np.ones(24)
    assert measure.sample_errors(task, prediction, truth).sum() == 0
    worse = np.roll(prediction, 5, axis=0)
    cells = measure.cells_of(["fog"], [1, 2])
    stacked = np.stack([prediction, prediction, worse], axis=1)
    found = measure.headlines(task, cells, stacked, (truth, weight), groups=[""] * 24, **DRAWN)
    perfect, bad = (task.metrics(rows, truth, weight)[task.headline] for rows in (prediction, worse))
    assert found[f"clean_{task.headline}"]["value"] == pytest.approx(perfect)
    assert found[f"fog_2_{task.headline}"]["value"] == pytest.approx(bad)
    assert found[f"fog_{task.headline}"]["value"] == found[f"corrupted_{task.headline}"]["value"] == pytest.approx((perfect + bad) / 2)
    assert {f"clean_{metric}" for metric in task.metrics(prediction, truth, weight)} >= {key for key in found if key.startswith("clean_")}
    error = measure.sample_errors(task, worse, truth)
    assert np.allclose(error, worse.argmax(1) != truth if task.categories else np.abs(worse[:, 0] - truth))
