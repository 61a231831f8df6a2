"""Which samples a queue holds: doubt against scipy, greedy k-centre against its definition and its promise."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import entropy as reference

from pipeline.labelling.ranking import Wish, choose, entropy, margin, nearest_of, scaled

RNG = np.random.default_rng(0)
APART = np.arange(40, dtype=np.float32)[:, None] * 50  # thumbnails that are never twins


def wish(count, diversity, near=1.0):
    return Wish(count, diversity, near)


def test_entropy_is_that_of_scipy_and_margin_is_that_of_the_two_best():
    probabilities = RNG.dirichlet(np.ones(4), 50).astype(np.float32)
    np.testing.assert_allclose(entropy(probabilities), reference(probabilities, axis=1) / np.log(4), atol=1e-5)
    np.testing.assert_allclose(entropy(np.array([[0.25] * 4, [1, 0, 0, 0]])), [1, 0], atol=1e-9)
    np.testing.assert_allclose(margin(np.array([[0.5, 0.5, 0], [0.7, 0.1, 0.2], [1, 0, 0]])), [1, 0.5, 0])


def test_without_diversity_the_most_doubtful_come_first():
    doubt = RNG.random(40)
    chosen = choose(RNG.normal(size=(40, 3)), doubt, APART, wish=wish(10, 0.0)).positions
    assert chosen == list(np.argsort(-doubt)[:10])


def test_with_diversity_alone_it_is_the_greedy_k_centre():
    feature, known = RNG.normal(size=(40, 3)).astype(np.float32), RNG.normal(size=(5, 3)).astype(np.float32)
    chosen = choose(feature, np.zeros(40), APART, wish=wish(8, 1.0), known_MD=known).positions
    place, centres = scaled(feature, known)
    expected, centres = [], list(centres)
    for _ in range(8):
        far = [min(float(np.linalg.norm(point - centre)) for centre in centres) for point in place]
        best = int(np.argmax(far))
        expected.append(best)
        centres.append(place[best])
    assert chosen == expected


def test_greedy_k_centre_covers_within_twice_the_best_radius():
    """The bound of Gonzalez 1985, against every possible choice of three centres among ten."""
    feature = RNG.normal(size=(10, 2)).astype(np.float32)
    place, _ = scaled(feature, None)

    def radius(centres):
        return max(min(float(np.linalg.norm(point - place[centre])) for centre in centres) for point in place)

    best = min(radius(centres) for centres in combinations(range(10), 3))
    chosen = choose(feature, np.ones(10), APART[:10], wish=wish(3, 1.0)).positions
    assert radius(chosen) <= 2 * best + 1e-6


def test_diversity_takes_one_of_each_cluster_where_doubt_alone_takes_one_cluster():
    centre = np.repeat([[0.0, 0], [10, 0], [0, 10]], 10, axis=0)
    feature = (centre + RNG.normal(0, 0.1, (30, 2))).astype(np.float32)
    doubt = np.concatenate([np.full(10, 0.9), np.full(20, 0.8)]) + np.arange(30) * 1e-6
    cluster = np.repeat([0, 1, 2], 10)
    assert set(cluster[choose(feature, doubt, APART[:30], wish=wish(3, 0.0)).positions]) == {0}
    assert set(cluster[choose(feature, doubt, APART[:30], wish=wish(3, 0.5)).positions]) == {0, 1, 2}


def test_what_is_known_already_is_not_asked_again():
    feature = np.array([[0.0, 0], [0.05, 0], [9, 9]], np.float32)
    known = np.array([[0.0, 0.01], [4, 4]], np.float32)
    chosen = choose(feature, np.full(3, 0.9), APART[:3], wish=wish(1, 0.5), known_MD=known).positions
    assert chosen == [2]


def test_near_duplicates_are_asked_about_once_and_named():
    thumbnail = np.zeros((6, 16), np.float32)
    thumbnail[3:] = 100
    thumbnail[1], thumbnail[2] = 0.5, 8.0
    choice = choose(RNG.normal(size=(6, 2)), np.array([0.5, 0.9, 0.4, 0.3, 0.2, 0.1]), thumbnail, wish=wish(6, 0.0, near=3.0))
    assert choice.positions == [1, 2, 3]
    assert choice.twins == {1: [0], 3: [4, 5]}


def test_more_than_there_are_gives_all_of_them_once():
    choice = choose(RNG.normal(size=(40, 2)), RNG.random(40), APART, wish=wish(999, 0.5))
    assert sorted(choice.positions) == list(range(40))


def test_distances_are_exact_over_many_blocks():
    feature, known = RNG.normal(size=(7, 5)), RNG.normal(size=(1000, 5))
    wanted = np.linalg.norm(feature[:, None] - known[None], axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_of(feature, known), wanted, atol=1e-9)
    assert np.isinf(nearest_of(feature, np.zeros((0, 5)))).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_the_features_does_not_matter(scale):
    feature = RNG.normal(size=(30, 3))
    doubt = RNG.random(30)
    plain = choose(feature, doubt, APART[:30], wish=wish(9, 0.7)).positions
    assert choose(feature * scale + 7, doubt, APART[:30], wish=wish(9, 0.7)).positions == plain


def test_a_feature_that_hardly_ever_changes_does_not_pick_the_outliers():
    """Planted fault of an earlier version: with a scale for each feature, one rare and tiny change counted most of all."""
    feature = np.concatenate([RNG.normal(size=(30, 2)), np.zeros((30, 1))], axis=1)
    feature[17, 2] = 1e-3
    feature[17, :2] = feature[:, :2].mean(axis=0)
    chosen = choose(feature, np.ones(30), APART[:30], wish=wish(5, 1.0), known_MD=feature[:3]).positions
    assert 17 not in chosen
