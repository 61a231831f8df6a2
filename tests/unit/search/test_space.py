"""Values of a space as overrides: what is written is what Hydra reads back."""

import math

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PersonError
from pipeline.search import space

optuna.logging.set_verbosity(optuna.logging.ERROR)
PLAIN = st.one_of(
    st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
)  # fmt: skip


def read_back(text):
    return OverridesParser.create().parse_override(f"key={text}").value()


@given(st.one_of(PLAIN, st.lists(PLAIN, max_size=3)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_is_read_back(value):
    assert read_back(space.written(value)) == value


@pytest.mark.parametrize("value", [1e-4, 3e-05, 1e16, 0.1 + 0.2, 1 / 3, 5e-324])
def test_numbers_are_exact(value):
    assert read_back(space.written(value)) == value


DIMENSIONS = space.read_space({
    "model": ["mlp", "resnet"],
    "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.steps": {"low": 10, "high": 50, "step": 10},
    "model.width": {"low": 4, "high": 64, "when": {"model": "resnet"}},
})  # fmt: skip


def test_points_lie_inside_and_conditions_hold():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    points = [space.draw(DIMENSIONS, study.ask()) for _ in range(200)]
    assert {point["model"] for point in points} == {"mlp", "resnet"}
    for point in points:
        assert 1e-4 <= point["train.lr"] <= 1e-1
        assert point["train.steps"] in {10, 20, 30, 40, 50}
        assert ("model.width" in point) == (point["model"] == "resnet")
    logs = [math.log10(point["train.lr"]) for point in points]
    assert abs(sum(logs) / 200 + 2.5) < 0.2, "uniform in the logarithm"


def test_a_grid_holds_every_point_once():
    dimensions = space.read_space({"model": ["mlp", "resnet"], "n": {"low": 1, "high": 3}, "w": {"values": [1, 2], "when": {"model": "mlp"}}})
    points = space.grid(dimensions)
    assert len(points) == 2 * 3 + 3
    assert len({tuple(point.items()) for point in points}) == 9


def test_choices_are_overrides_and_ranges_are_numbers():
    overrides, leaves = space.parted({"model": "mlp", "train.betas": "[0.9,0.99]", "train.lr": 0.1})
    assert overrides == ("model=mlp", "train.betas=[0.9,0.99]")
    assert leaves == {"train.lr": 0.1}
    assert space.overrides({"flag": "true", "n": 3}) == ("flag=true", "n=3")


def test_the_default_is_a_point_only_inside_the_space():
    config = {"train": {"lr": 0.01, "steps": 20}, "model": {"width": 16}}
    found = space.standard(DIMENSIONS, config, {"model": "resnet"})
    assert found == {"model": "resnet", "train.lr": 0.01, "train.steps": 20, "model.width": 16}
    assert space.standard(DIMENSIONS, {**config, "train": {"lr": 0.5, "steps": 20}}, {"model": "resnet"}) is None
    assert space.standard(DIMENSIONS, {**config, "train": {"lr": 0.01, "steps": 25}}, {"model": "resnet"}) is None
    assert space.standard(DIMENSIONS, config, {"model": "timm"}) is None
    assert "model.width" not in space.standard(DIMENSIONS, config, {"model": "mlp"})


def test_places_lie_between_the_ends():
    lr = DIMENSIONS[1]
    assert [lr.place(value) for value in (1e-4, 1e-1)] == [0, pytest.approx(1)]
    assert lr.place(10**-2.5) == pytest.approx(0.5)
    assert [DIMENSIONS[0].place(name) for name in ("mlp", "resnet")] == [0, 1]


def test_an_empty_space_is_refused():
    for node in ({}, None, []):
        with pytest.raises(PersonError, match="space must name at least one key"):
            space.read_space(node)
