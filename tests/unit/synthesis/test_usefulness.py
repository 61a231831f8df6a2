"""The interval of a paired gain keeps its coverage, and the gate keeps what helps and nothing else."""

import numpy as np
import pytest

from pipeline.synthesis.usefulness import Arm, Held, corrected, decide, measure

SEEDS = 6


class Right:
    """Accuracy of predictions above one half; the metric of a task."""

    headline, higher_is_better = "accuracy", True

    def metrics(self, prediction_NK, truth_N, weight_N):
        return {"accuracy": float(np.mean((prediction_NK[:, 0] > 0.5) == truth_N))}


class Wrong(Right):
    """The same, less is better."""

    headline, higher_is_better = "error", False

    def metrics(self, prediction_NK, truth_N, weight_N):
        return {"error": 1 - super().metrics(prediction_NK, truth_N, weight_N)["accuracy"]}


def predictions(rng, truth, accuracy):
    """Of each seed, right with a probability."""
    right = rng.random((SEEDS, len(truth))) < accuracy
    return [np.where(row, truth, ~truth)[:, None].astype(float) for row in right]


def arms(rng, count=300, groups=None, task=None, coverage=0.95, **accuracies):
    truth = rng.random(count) < 0.5
    held = Held(truth, np.ones(count), groups or [""] * count)
    made = {name: predictions(rng, truth, accuracy) for name, accuracy in accuracies.items()}
    return measure(made, held, task or Right(), resamples=60, coverage=coverage, seed=0)


def test_gains_are_paired_by_seed_and_point_upwards_where_it_helps():
    found = arms(np.random.default_rng(0), more=0.9, real=0.7)
    assert [arm.name for arm in found] == ["real", "more"]
    assert (found[0].gain, found[0].low, found[0].high) == (0, 0, 0)
    assert found[1].gain == pytest.approx(found[1].value - found[0].value)
    assert found[1].gain == pytest.approx(np.mean(found[1].gains))
    assert 0 < found[1].low < found[1].gain < found[1].high
    turned = arms(np.random.default_rng(0), more=0.9, real=0.7, task=Wrong())
    assert turned[1].gain == pytest.approx(found[1].gain)
    assert turned[1].value == pytest.approx(1 - found[1].value)


def test_the_interval_covers_a_true_gain_of_zero_at_least_as_often_as_it_says():
    covered = []
    for number in range(120):
        (_, other) = arms(np.random.default_rng(number), count=80, real=0.75, other=0.75, coverage=0.9)
        covered.append(other.low <= 0 <= other.high)
    assert np.mean(covered) >= 0.88


def test_the_interval_holds_the_choice_of_validation_samples_too():
    """Seeds that agree to the last sample give an interval of no width unless validation is resampled (a planted fault)."""
    truth = np.random.default_rng(0).random(60) < 0.5
    better = truth.copy()
    worse = np.where(np.arange(60) < 2, ~truth, truth)
    made = {"real": [worse[:, None].astype(float)] * SEEDS, "more": [better[:, None].astype(float)] * SEEDS}
    (_, more) = measure(made, Held(truth, np.ones(60), [""] * 60), Right(), resamples=200, coverage=0.95, seed=0)
    assert len(set(more.gains)) == 1
    assert more.gain == pytest.approx(2 / 60)
    assert more.low <= 0


def test_groups_are_resampled_together():
    rng = np.random.default_rng(3)
    truth = rng.random(240) < 0.5
    groups = [f"g{number // 40}" for number in range(240)]
    worse = np.where(np.arange(240) < 40, ~truth, truth)  # one group of six is wrong
    made = {"real": [worse[:, None].astype(float)] * SEEDS, "more": [truth[:, None].astype(float)] * SEEDS}
    width = []
    for names in ([""] * 240, groups):
        (_, more) = measure(made, Held(truth, np.ones(240), names), Right(), resamples=200, coverage=0.95, seed=0)
        width.append(more.high - more.low)
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize("counts", [(5, 5), (6, 7)])
def test_few_or_unequal_seeds_are_refused(counts):
    truth = np.ones(4, bool)
    made = {name: [truth[:, None].astype(float)] * count for name, count in zip(("real", "more"), counts, strict=True)}
    with pytest.raises(ValueError, match="the same number of seeds, 6 or more"):
        measure(made, Held(truth, np.ones(4), [""] * 4), Right(), resamples=10, coverage=0.95, seed=0)


# ---------------------------------------------------------------------------------------------------------------- the gate
def arm(name, gain, low):
    return Arm(name, 0.8 + gain, gain, low, 2 * gain - low, (gain,) * SEEDS)


REAL = Arm("real", 0.8, 0, 0, 0, (0.0,) * SEEDS)
SHARES = {"a": 0.1, "b": 0.25, "c": 0.5}


def test_the_share_of_the_largest_proven_gain_is_kept():
    verdict = decide(
        [REAL, arm("a", 0.02, 0.01), arm("b", 0.04, 0.005), arm("c", 0.06, -0.01)], SHARES, coverage=0.95, headline="auroc"
    )
    assert verdict.share == 0.25
    assert verdict.why.startswith("the share 0.25 helps: a gain of +0.0400 [+0.0050, +0.0750] in auroc on validation")
    assert verdict.facts()["arms"][2]["low"] == 0.005


def test_nothing_is_kept_where_no_gain_is_proven():
    verdict = decide(
        [REAL, arm("a", 0.02, -0.001), arm("b", -0.04, -0.05), arm("c", 0.0, -0.02)], SHARES, coverage=0.95, headline="auroc"
    )
    assert verdict.share == 0
    assert verdict.why.startswith("no share is shown to help; the best, 0.1, has a gain of +0.0200 [-0.0010")


def test_classical_augmentation_is_shown_and_never_chosen():
    verdict = decide([REAL, arm("real + classical", 0.2, 0.1), arm("a", 0.0, -0.01)], {"a": 0.1}, coverage=0.95, headline="auroc")
    assert verdict.share == 0


def test_what_shuffled_labels_do_as_well_is_not_kept():
    """Noise regularises a small model: a gain that the control has too is not what the samples show."""
    found = [REAL, arm("a", 0.04, 0.02), arm("b", 0.03, 0.01)]
    controls = {"a": arm("a", 0.001, -0.02), "b": arm("b", 0.03, 0.01)}
    two = {"a": 0.1, "b": 0.25}
    assert decide(found, two, coverage=0.95, headline="auroc", controls=controls).share == 0.25
    verdict = decide(found, two, coverage=0.95, headline="auroc", controls={**controls, "b": arm("b", 0.0, -0.01)})
    assert verdict.share == 0
    assert "with shuffled labels help as much" in verdict.why
    assert verdict.facts()["controls"]["a"]["low"] == -0.02


def test_an_undefined_interval_is_no_proof():
    verdict = decide(
        [REAL, Arm("a", 0.9, 0.1, float("nan"), float("nan"), (0.1,) * 6)], {"a": 0.1}, coverage=0.95, headline="auroc"
    )
    assert verdict.share == 0
    assert verdict.facts()["arms"][1]["low"] is None


def test_several_candidates_share_the_risk():
    """With three shares that do nothing, one is kept in at most the asked 10 % of the trials; uncorrected it would be more."""
    assert corrected(0.95, 3) == pytest.approx(1 - 0.05 / 3)
    kept = []
    for number in range(100):
        found = arms(np.random.default_rng(number), count=80, real=0.75, a=0.75, b=0.75, c=0.75, coverage=corrected(0.9, 3))
        kept.append(decide(found, SHARES, coverage=0.9, headline="accuracy").share > 0)
    assert np.mean(kept) <= 0.1


def test_the_gate_has_the_power_to_keep_a_real_gain():
    kept = [
        decide(
            arms(np.random.default_rng(n), real=0.7, a=0.8, coverage=corrected(0.95, 1)), {"a": 0.1}, coverage=0.95, headline="x"
        ).share
        for n in range(20)
    ]
    assert np.mean(np.asarray(kept) > 0) > 0.9
