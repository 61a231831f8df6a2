"""A spread sample keeps proportions, is keyed, and moves little when the data grow."""

import numpy as np

from pipeline.core.draw import spread


def test_each_class_keeps_its_share_to_within_one_sample():
    rng = np.random.default_rng(0)
    for count in (1, 7, 40, 99):
        truth = rng.choice(4, size=400, p=[0.6, 0.3, 0.08, 0.02])
        taken = truth[spread(truth, [str(i) for i in range(400)], count, 0)]
        assert len(taken) == count
        for k in range(4):
            assert abs((taken == k).sum() - count * (truth == k).mean()) <= 1


def test_a_real_value_keeps_its_distribution():
    truth = np.random.default_rng(1).gamma(2.0, size=1000)
    taken = truth[spread(truth, [str(i) for i in range(1000)], 100, 0)]
    assert np.abs(np.quantile(taken, [0.1, 0.5, 0.9]) - np.quantile(truth, [0.1, 0.5, 0.9])).max() < 0.1


def test_it_depends_on_key_and_ids_not_on_order():
    truth = np.arange(60) % 3
    ids = [f"id{number}" for number in range(60)]
    first = {ids[row] for row in spread(truth, ids, 12, 0, "a")}
    turned = np.random.default_rng(0).permutation(60)
    assert {ids[turned[row]] for row in spread(truth[turned], [ids[row] for row in turned], 12, 0, "a")} == first
    assert {ids[row] for row in spread(truth, ids, 12, 1, "a")} != first
    assert {ids[row] for row in spread(truth, ids, 12, 0, "b")} != first


def test_all_where_there_are_too_few_and_none_of_none():
    assert spread(np.arange(5), list("abcde"), 9, 0).tolist() == [0, 1, 2, 3, 4]
    assert spread(np.arange(0), [], 9, 0).tolist() == []
