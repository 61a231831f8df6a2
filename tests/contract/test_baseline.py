"""Every option of conf/baseline is held to the laws of a baseline; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.parts import build, is_off

CONF = Path(__file__).resolve().parents[2] / "conf/baseline"
OPTIONS = [path for path in sorted(CONF.glob("*.yaml")) if not is_off(yaml.safe_load(path.read_text()))]


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def option(request):
    return request.param


@pytest.fixture
def part(option):
    return build(yaml.safe_load(option.read_text()))


def data(categories, *, missing=None):
    """Features of which the first three carry the truth; 90 train and 40 test samples."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, categories, 130) if categories else rng.normal(5, 2, 130).astype(np.float32)
    if missing is not None:
        truth[truth == missing] = (missing + 1) % categories
    features = rng.normal(size=(130, 10)).astype(np.float32)
    features[:, :3] += np.eye(max(3, categories))[truth][:, :3] * 3 if categories else truth[:, None]
    return features[:90], truth[:90], np.ones(90), features[90:], truth[90:]


def predict(part, categories, **changes):
    train, truth, weight, test, _ = data(categories, **changes)
    return part.fit_predict(train, truth, weight, test, categories=categories)


def test_the_file_lists_itself_under_its_own_name(option):
    assert option.read_text().splitlines()[0] == f"# @package baseline.{option.stem}"


@pytest.mark.parametrize("categories", [2, 3, 5])
def test_classes_get_probabilities(part, categories):
    chances = predict(part, categories)
    assert chances.shape == (40, categories)
    assert (chances >= 0).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)


def test_a_real_value_gets_one_column_near_its_mean(part):
    value = predict(part, 0)
    assert value.shape == (40, 1)
    assert np.isfinite(value).all()
    assert abs(value.mean() - 5) < 1


def test_a_class_absent_from_the_train_split_keeps_its_column(part):
    chances = predict(part, 3, missing=1)
    assert chances.shape == (40, 3)
    assert (chances[:, 1] == 0).all()


def test_it_is_deterministic_and_leaves_its_inputs_alone(part):
    train, truth, weight, test, _ = data(3)
    copies = [array.copy() for array in (train, truth, weight, test)]
    first = part.fit_predict(train, truth, weight, test, categories=3)
    second = part.fit_predict(train, truth, weight, test, categories=3)
    assert first.tobytes() == second.tobytes()
    assert all((left == right).all() for left, right in zip(copies, (train, truth, weight, test), strict=True))


def test_one_that_looks_at_features_finds_what_is_in_them(part):
    for categories in (3, 0):
        train, truth, weight, test, held = data(categories)
        prediction = part.fit_predict(train, truth, weight, test, categories=categories)
        if part.needs_features and categories:
            assert (prediction.argmax(axis=1) == held).mean() > 0.7
        elif part.needs_features:
            assert np.corrcoef(prediction[:, 0], held)[0, 1] > 0.7
        else:
            assert (prediction == prediction[0]).all()
            empty = np.zeros((90, 0), dtype=np.float32), np.zeros((40, 0), dtype=np.float32)
            assert part.fit_predict(empty[0], truth, weight, empty[1], categories=categories).shape == prediction.shape
