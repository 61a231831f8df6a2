"""Distances of two sets against other implementations and closed forms; planted faults that each measure must see."""

import numpy as np
import pytest
import scipy.linalg
import torch

from pipeline.synthesis.likeness import (
    Scale,
    distances,
    frechet_distance,
    kernel_distance,
    likeness,
    position,
    precision_recall,
    spread,
    variety,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(120, 8)), RNG.normal(0.3, 1.4, size=(90, 8))


def scipy_frechet(x, y):
    """Heusel et al. 2017, as the reference implementation writes it."""
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)


def test_the_frechet_distance_equals_scipys_root():
    assert frechet_distance(X, Y) == pytest.approx(scipy_frechet(X, Y), rel=1e-9)


def test_the_frechet_distance_equals_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    stats = [torch.from_numpy(value) for z in (X, Y) for value in (z.mean(0), np.cov(z.T))]
    assert frechet_distance(X, Y) == pytest.approx(float(_compute_fid(*stats)), rel=1e-6)


def test_the_frechet_distance_of_shifted_and_scaled_normals_has_its_closed_form():
    """|shift|^2 + D (1 - factor)^2 for covariances I and factor^2 I, met exactly where the samples have exactly these moments."""
    raw = X - X.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    assert frechet_distance(white, 1.5 * white + 2.0) == pytest.approx(8 * 2.0**2 + 8 * 0.5**2, rel=1e-9)


def test_the_frechet_distance_with_fewer_samples_than_features_equals_the_eigenvalue_form():
    x, y = RNG.normal(size=(12, 40)), RNG.normal(0.5, 1.0, size=(15, 40))
    values = np.linalg.eigvals(np.cov(x.T) @ np.cov(y.T)).real
    traces = np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)) - 2 * np.sqrt(np.maximum(values, 0)).sum()
    assert frechet_distance(x, y) == pytest.approx(((x.mean(0) - y.mean(0)) ** 2).sum() + traces, rel=1e-5)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)


def test_the_kernel_distance_equals_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    expected = poly_mmd(torch.from_numpy(X[:90]), torch.from_numpy(Y), degree=3, gamma=None, coef=1.0)
    assert kernel_distance(X[:90], Y) == pytest.approx(float(expected), rel=1e-9)


def test_the_kernel_distance_equals_a_plain_double_loop():
    def kernel(a, b):
        return (a @ b / 8 + 1) ** 3

    x, y = X[:9], Y[:7]
    own_x = np.mean([kernel(x[i], x[j]) for i in range(9) for j in range(9) if i != j])
    own_y = np.mean([kernel(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
    across = np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(own_x + own_y - 2 * across, rel=1e-10)


def test_the_kernel_distance_has_no_bias_where_the_sets_are_alike():
    """Planted fault beside it: with the diagonal kept, as a biased estimator does, the mean lies far above zero."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(400)]
    found = np.asarray([kernel_distance(x, y) for x, y in pairs])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 4 * error
    assert found.min() < 0
    biased = [
        np.mean((x @ x.T / 4 + 1) ** 3) + np.mean((y @ y.T / 4 + 1) ** 3) - 2 * np.mean((x @ y.T / 4 + 1) ** 3) for x, y in pairs
    ]
    assert np.mean(biased) > 10 * error


def brute_share(query, members, k):
    radius = [np.sort([np.linalg.norm(a - b) for b in members])[k] for a in members]  # the first is the member itself
    return np.mean([any(np.linalg.norm(q - m) <= r for m, r in zip(members, radius, strict=True)) for q in query])


def test_precision_and_recall_equal_a_plain_loop():
    x, y = X[:40, :3], Y[:30, :3] + 0.8
    found = precision_recall(x, y, neighbours=2)
    assert found == pytest.approx({"precision": brute_share(y, x, 2), "recall": brute_share(x, y, 2)})
    assert 0 < found["precision"] < 1
    assert 0 < found["recall"] < 1


def test_precision_sees_noise_and_recall_sees_collapse():
    real = np.concatenate([RNG.normal(-5, 1, (60, 4)), RNG.normal(5, 1, (60, 4))])
    assert precision_recall(real, RNG.normal(0, 30, (60, 4)))["precision"] < 0.1
    half = RNG.normal(-5, 1, (60, 4))
    assert precision_recall(real, half)["precision"] > 0.8
    assert 0.3 < precision_recall(real, half)["recall"] < 0.6


def test_the_spread_is_the_root_mean_square_distance_of_pairs_of_one_condition():
    condition = np.asarray([0] * 6 + [1] * 5 + [2])
    found = spread(X[:12], condition)
    pairs = [np.sum((a - b) ** 2) for i, a in enumerate(X[:6]) for j, b in enumerate(X[:6]) if i != j]
    assert set(found) == {0, 1}
    assert found[0] == pytest.approx(np.sqrt(np.mean(pairs)))


def test_variety_names_the_condition_that_collapsed():
    real, kind = RNG.normal(size=(40, 6)), np.arange(40) % 2
    made = RNG.normal(size=(40, 6))
    assert variety(spread(made, kind), spread(real, kind)) > 0.8
    made[kind == 1] = made[1] + 0.01 * made[kind == 1]
    assert variety(spread(made, kind), spread(real, kind)) < 0.05


def test_features_are_brought_to_one_unit_and_a_constant_one_does_not_explode():
    reference = np.stack([RNG.normal(5, 2, 400), RNG.normal(-1, 200, 400), np.full(400, 7.0)], axis=1).astype(np.float32)
    scaled = Scale.of(reference)(reference)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    assert scaled[:, 1].std() == pytest.approx(1.0, rel=1e-6)
    assert np.abs(Scale.of(reference)(reference + np.asarray([0, 0, 10], np.float32))[:, 2]).max() < 1
    np.testing.assert_array_equal(Scale.of(np.ones((5, 2)))(np.ones((5, 2))), 0)


def test_the_position_runs_from_real_samples_to_noise():
    held, other, noise = RNG.normal(size=(80, 5)), RNG.normal(size=(80, 5)), RNG.normal(6, 1, (80, 5))
    best, worst = likeness(held, other), likeness(held, noise)
    assert position(best, best, worst) == 0
    assert position(worst, best, worst) == 1
    assert 0 < position(likeness(held, RNG.normal(1, 1, (80, 5))), best, worst) < 0.5
    assert np.isnan(position(best, best, best))


def test_sets_are_compared_at_one_size():
    held = RNG.normal(size=(100, 5))
    assert likeness(held, X[:30, :5]) == likeness(held[:30], X[:30, :5])


def test_distances_equal_scipy():
    from scipy.spatial.distance import cdist

    np.testing.assert_allclose(distances(X, Y), cdist(X, Y), rtol=1e-9)


@pytest.mark.parametrize("measure", [kernel_distance, frechet_distance, precision_recall])
def test_too_few_samples_are_refused(measure):
    with pytest.raises(ValueError, match="received 1 and 90"):
        measure(X[:1], Y)
