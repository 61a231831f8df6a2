"""The rules on histories: what they flag, and what they leave alone."""

import numpy as np
import pytest

from pipeline.training.diagnosis import diagnose, draw, table


def history(losses, held=(), every=5):
    rows = [{"step": every * (number + 1), "loss": float(loss)} for number, loss in enumerate(losses)]
    for number, loss in enumerate(held):
        rows[(number + 1) * len(rows) // len(held) - 1]["val_loss"] = float(loss)
    return rows


def kinds(rows):
    return [finding.kind for finding in diagnose(rows, [])]


FALLING = np.geomspace(2.0, 0.2, 40)


def test_a_healthy_history_has_no_finding():
    rng = np.random.default_rng(0)
    for _ in range(50):
        losses = FALLING * np.exp(rng.normal(0, 0.15, 40))
        assert kinds(history(losses, [1.5, 1.1, 0.8, 0.85, 0.82])) == []


def test_overfitting_needs_a_rise_of_a_quarter_while_the_training_loss_falls():
    found = diagnose(history(FALLING, [1.2, 0.8, 0.9, 1.1, 1.3]), [])
    assert [finding.kind for finding in found] == ["overfitting"]
    assert found[0].step == 200
    assert "rose from 0.8 at step 80 to 1.3 at step 200" in found[0].text
    assert kinds(history(FALLING, [1.2, 0.8, 0.9, 0.95, 0.99])) == []  # below the limit
    assert kinds(history(FALLING, [1.2, 0.8, 1.3])) == []  # too few validations
    rising = np.concatenate([np.geomspace(2, 0.5, 20), np.linspace(0.5, 0.9, 20)])
    assert kinds(history(rising, [1.2, 1.0, 0.8, 1.1, 1.3])) == []  # both rise: that is divergence


def test_overfitting_after_the_weights_that_are_shipped_harms_nobody():
    rows = history(FALLING, [1.2, 0.9, 0.8, 0.8, 0.85, 1.1, 1.3, 1.4])
    said = [[finding.kind for finding in diagnose(rows, [], shipped=step)] for step in (None, 200, 175, 125, 75)]
    assert said == [["overfitting"], ["overfitting"], ["overfitting"], [], []]


def test_a_loss_that_does_not_fall_is_underfitting():
    rng = np.random.default_rng(0)
    assert kinds(history(2.3 + rng.normal(0, 0.02, 40))) == ["underfitting"]
    assert kinds(history(np.linspace(2.3, 2.0, 40))) == []


def test_a_spike_stands_out_of_its_neighbours():
    losses = FALLING.copy()
    losses[25] = 6 * losses[25]
    found = diagnose(history(losses), [])
    assert [finding.kind for finding in found] == ["spikes"]
    assert "1 of 40 logged losses" in found[0].text
    assert found[0].step == 130
    tiny = np.geomspace(2, 1e-4, 40)
    tiny[35] *= 5
    assert kinds(history(tiny)) == []  # nothing beside the first loss


def test_short_or_empty_histories_say_nothing():
    assert diagnose([], []) == []
    assert kinds(history([1.0, 1.0])) == []


def measures(ratio=1.0, dead=0.0, steps=(1, 50, 100)):
    layers = (("stem", ratio, None), ("middle", 1.0, dead), ("head", 1.0, 0.0))
    return [
        {"step": step, "depth": depth, "layer": name, "signal": signal, "update": 1e-3, "dead": share, "saturated": None}
        for step in steps for depth, (name, signal, share) in enumerate(layers)
    ]  # fmt: skip


@pytest.mark.parametrize(("change", "kind"), [
    ({"ratio": 6e-5}, ["vanishing"]),  # He et al. 2015, section 2.2: the network that did not learn
    ({"ratio": 5e-4}, []),             # 22 layers that halve the variance: it learnt
    ({"ratio": 3e4}, ["exploding"]),
    ({"dead": 0.6}, ["dead"]),
    ({"dead": 0.4}, []),
    ({"dead": 0.6, "steps": (1, 50)}, []),  # not lasting
])  # fmt: skip
def test_limits(change, kind):
    assert [finding.kind for finding in diagnose([], measures(**change))] == kind


def test_the_first_step_does_not_count_since_heads_start_from_zero():
    rows = measures()
    rows[0]["signal"] = 0.0
    assert diagnose([], rows) == []


def test_the_table_names_the_worst_layer_and_nothing_is_drawn_of_nothing(tmp_path):
    made = table(measures(ratio=0.1, dead=0.3))
    shown = {row[0]: row[1:] for row in made.rows}
    assert made.columns == ["measure", "step 1", "step 50", "step 100"]
    assert shown["largest share of dead units"] == ["0.3 (middle)"] * 3
    assert shown["error at the first layer over that at the last"] == pytest.approx([0.1] * 3)
    assert table([]).rows == []
    sizes = [draw(rows, tmp_path / "health.png", dpi=60).stat().st_size for rows in (measures(), [])]
    assert sizes[0] > 2 * sizes[1] > 0
