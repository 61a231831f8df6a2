"""Each sign of a failed GAN training is found where it begins, and a healthy history has none."""

import pytest

from pipeline.synthesis.stability import findings


def history(**changed):
    """Thirty healthy rows; `changed` maps a column to a function of the number of the row."""
    row = {"loss_discriminator": 1.5, "norm_discriminator": 2.0, "norm_generator": 1.0, "variety": 0.7}
    return [
        {"step": 10 * (number + 1), **row, **{name: change(number) for name, change in changed.items()}} for number in range(30)
    ]


def test_a_healthy_history_has_no_finding():
    wavy = history(loss_discriminator=lambda n: 1.5 + 0.4 * (-1) ** n, norm_generator=lambda n: 1.0 + 5 * (n % 3))
    assert findings(wavy) == []
    assert findings([]) == []
    assert findings(wavy[:2]) == []


@pytest.mark.parametrize(("changed", "kind", "step"), [
    ({"loss_discriminator": lambda n: 0.01 if n >= 12 else 1.2}, "saturated", 130),
    ({"norm_discriminator": lambda n: 500.0 if n == 20 else 2.0}, "exploded", 210),
    ({"norm_generator": lambda n: 100.0 if n >= 9 else 1.0}, "exploded", 100),
    ({"variety": lambda n: 0.02 if n >= 17 else 0.6}, "collapsed", 180),
    ({"variety": lambda n: 0.02}, "collapsed", 10),
])  # fmt: skip
def test_each_failure_is_found_with_its_step(changed, kind, step):
    (found,) = findings(history(**changed))
    assert (found.kind, found.step) == (kind, step)
    assert f"step {step}" in found.text


@pytest.mark.parametrize("changed", [
    {"loss_discriminator": lambda n: 0.01 if n in {12, 13} else 1.2},
    {"norm_discriminator": lambda n: 500.0 if n < 3 else 30.0},
    {"variety": lambda n: 0.02 if n < 20 else 0.6},
])  # fmt: skip
def test_what_passes_is_no_finding(changed):
    assert findings(history(**changed)) == []


def test_several_failures_are_all_named():
    rows = history(variety=lambda n: 0.01, loss_discriminator=lambda n: 0.0)
    assert [found.kind for found in findings(rows)] == ["saturated", "collapsed"]
