"""Decisions by cost: thresholds against brute force, theory, and cost matrices that mean nothing."""

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.evaluation import operating
from pipeline.evaluation.operating import Operating, cheapest, choose, cost_matrix

CLASSES = ["good", "bad"]
MEASURE = {"resamples": 40, "coverage": 0.9, "seed": 0}


def drawn(count=200, seed=0):
    """Honest probabilities of two classes and truths."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.5, size=count)
    return np.stack([1 - p, p], axis=1), (rng.random(count) < p).astype(np.int64)


def chosen(p, truth, costs, positive=1, **changes):
    return choose(p, truth, costs, positive=positive, groups=changes.get("groups", [""] * len(truth)), coverage=0.95)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("miss", "alarm"), [(1.0, 1.0), (5.0, 1.0), (1.0, 20.0), (1.0, 0.0)])
def test_no_threshold_costs_less_on_the_same_samples_than_the_cheapest(seed, miss, alarm):
    p, truth = drawn(60, seed)
    costs = cost_matrix({"bad": {"good": miss}, "good": {"bad": alarm}}, CLASSES)
    best = cheapest(p[:, 1], truth == 1, miss=miss, alarm=alarm)
    tried = [Operating(costs, 1, t, None, None) for t in [best, 0.0, *p[:, 1], *(p[:, 1] + 1e-9), 1.1]]
    cost = [one.cost(one.decide(p), truth).mean() for one in tried]
    assert cost[0] == pytest.approx(min(cost))


def test_with_honest_probabilities_the_threshold_is_the_theoretical_one():
    costs, kept = cost_matrix({"bad": {"good": 4.0}}, CLASSES), 0
    for seed in range(40):
        point = chosen(*drawn(100, seed), costs)
        assert point.theory == pytest.approx(1 / 5)
        kept += point.threshold == point.theory
    assert kept >= 37, "by chance one of forty moves"


def test_dishonest_probabilities_move_it_where_samples_show_it_and_groups_of_copies_do_not():
    p, truth = drawn(600)
    shy = np.stack([1 - p[:, 1] ** 4, p[:, 1] ** 4], axis=1)  # says .06 where .5 is honest
    costs = cost_matrix(None, CLASSES)
    point = chosen(shy, truth, costs)
    assert point.threshold == point.best == pytest.approx(0.5**4, abs=0.06)
    at_theory = Operating(costs, 1, point.theory, None, None)
    assert point.cost(point.decide(shy), truth).mean() < at_theory.cost(at_theory.decide(shy), truth).mean()
    copied, known = np.repeat(shy[:5], 60, axis=0), np.repeat(truth[:5], 60)
    assert chosen(copied, known, costs, groups=[f"g{n // 60}" for n in range(300)]).threshold == 0.5


def test_where_several_thresholds_cost_the_same_it_is_the_theoretical_one():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    point = chosen(p, np.array([0, 0, 1, 1]), cost_matrix(None, CLASSES))
    assert point.threshold == point.theory == point.best == 0.5
    assert cheapest(1 - p[:, 1], np.array([0, 0, 1, 1]) == 1, miss=9.0, alarm=1.0) < 0.1, "a misleading model: alarms are cheaper"


def test_either_class_can_be_the_positive_one():
    p, truth = drawn(100)
    costs = cost_matrix({"bad": {"good": 3.0}}, CLASSES)
    said = [chosen(p, truth, costs, positive=k).decide(p) for k in (0, 1)]
    assert (said[0] == said[1]).all()


def test_more_classes_say_the_least_expected_cost():
    costs = cost_matrix({"c": {"a": 10.0}}, ["a", "b", "c"])
    point = chosen(np.full((1, 3), 1 / 3), np.array([0]), costs, positive=2)
    p = np.array([[0.7, 0.1, 0.2], [0.95, 0.04, 0.01]])
    assert point.decide(p).tolist() == [(p[0] @ costs).argmin(), 0]
    assert point.decide(p)[0] != 0, "a is most probable, and saying it while it is c costs ten"
    assert point.threshold is None
    free = chosen(p, np.array([0, 0]), cost_matrix(None, ["a", "b", "c"]), positive=2)
    assert (free.decide(p) == p.argmax(axis=1)).all()


@pytest.mark.parametrize(("costs", "said"), [
    ({"bda": {"good": 1.0}}, "did you mean 'bad'"),
    ({"bad": {"god": 1.0}}, "did you mean 'good'"),
    ({"bad": {"bad": 1.0}}, "a right answer costs nothing"),
    ({"bad": {"good": 0.0}, "good": {"bad": 0.0}}, "any decision is as good"),
])  # fmt: skip
def test_cost_matrices_that_mean_nothing_are_refused(costs, said):
    with pytest.raises(PersonError, match=said):
        cost_matrix(costs, CLASSES)


def test_costs_that_are_not_named_are_one():
    assert cost_matrix({"bad": {"good": 7}}, CLASSES).tolist() == [[0, 1], [7, 0]]


def test_what_is_measured_at_the_point_and_beside_it():
    p, truth = drawn(300)
    point = chosen(p, truth, cost_matrix({"bad": {"good": 5.0}}, CLASSES))
    found = operating.measure(point, p, truth, [""] * 300, classes=CLASSES, measure=MEASURE)
    at_point, plain = found["chosen"], found["plain"]
    assert at_point["recall/bad"]["value"] > plain["recall/bad"]["value"]
    assert at_point["cost"]["value"] < plain["cost"]["value"]
    assert found["change"]["cost"]["high"] < 0
    said = p.argmax(axis=1)
    assert plain["precision/bad"]["value"] == pytest.approx((truth[said == 1] == 1).mean())
    assert plain["accuracy"]["value"] == pytest.approx((said == truth).mean())
