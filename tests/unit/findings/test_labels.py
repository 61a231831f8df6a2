"""Confident learning, folds and the shuffled control; shortcuts and oddness."""

import numpy as np
import pytest

from pipeline.findings.features import components, loneliness, oddness
from pipeline.findings.labels import doubtful, folds, out_of_fold, shuffled
from pipeline.findings.shortcuts import facts_of, of_classes, of_target, sorted_by_label, strongest


def blobs(count=300, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    return rng.normal(size=(count, 4)) + 5 * np.eye(4)[label], label.astype(np.int64)


def test_doubtful_labels_by_hand():
    """Self-confidence of class 0 is (.9 + .8 + .1) / 3 = .6, of class 1 (.7 + .9 + .45) / 3 = .683: the third alone is doubted."""
    first = np.array([0.9, 0.8, 0.1, 0.3, 0.1, 0.55])
    label = np.array([0, 0, 0, 1, 1, 1])
    assert doubtful(np.stack([first, 1 - first], axis=1), label).tolist() == [False, False, True, False, False, False]


def test_flipped_labels_are_found():
    x, label = blobs()
    wrong = np.array([5, 77, 131, 200, 251])
    given = label.copy()
    given[wrong] = (given[wrong] + 1) % 3
    cut = folds(given, [""] * len(given), 5, 0)
    found = np.flatnonzero(doubtful(out_of_fold(x, given, cut, 3), given))
    assert len(set(wrong) & set(found)) >= 4
    assert len(found) <= 10


def test_a_unit_is_in_one_fold_and_too_few_units_give_none():
    label = np.arange(40) % 2
    units = [f"u{number // 4}" for number in range(40)]
    cut = folds(label, units, 5, 0)
    assert all(len({cut[place] for place in range(start, start + 4)}) == 1 for start in range(0, 40, 4))
    assert folds(label, ["one"] * 40, 5, 0) is None


def test_the_control_is_at_chance_and_a_label_that_leaks_is_not():
    x, label = blobs()
    cut = folds(label, [""] * len(label), 5, 0)
    accuracy, chance, probability = shuffled(x, label, cut, 0)
    assert abs(accuracy - chance) < 0.1
    assert probability > 0.01
    rng = np.random.default_rng(0)  # the control's own draws: features that hold every shuffled label
    leak = np.concatenate([np.eye(3)[rng.permutation(label)] for _ in range(3)], axis=1)
    accuracy, _, probability = shuffled(leak, label, cut, 0)
    assert accuracy == 1
    assert probability < 1e-6


def facts(count=200, **more):
    rng = np.random.default_rng(3)
    plain = {name: rng.normal(size=count) for name in ("brightness", "contrast", "sharpness", "entropy")}
    source = {name: rng.integers(100, 900, count) for name in ("source_bytes", "source_height", "source_width")}
    columns = {"name": np.array([f"{number:05d}.png" for number in rng.permutation(count)]), "group": np.array([""] * count)}
    columns |= {name: more.pop(name, values) for name, values in {**columns, **source}.items()}
    return facts_of({**plain, **more}, columns)


def test_a_shortcut_is_found_and_chance_is_not():
    label = np.random.default_rng(5).integers(0, 2, 200)
    cut = folds(label, [""] * 200, 5, 0)
    rows = {
        one.fact: one
        for one in of_classes(facts(brightness=100.0 + 50 * label + np.arange(200) % 7), label, cut, permutations=99, seed=0)
    }
    assert rows["brightness"].strength > 0.9
    assert rows["brightness"].chance == pytest.approx(0.01)
    assert rows["contrast"].strength < 0.25
    assert strongest(list(rows.values()), 0.01) == rows["brightness"].strength
    assert "group" not in rows  # it does not vary


@pytest.mark.parametrize("fact", ["file size", "resolution", "aspect ratio", "file ending"])
def test_a_file_that_tells_the_class_is_a_shortcut_and_others_are_not(fact):
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 200)
    noise = rng.integers(0, 90, 200)
    planted = {
        "file size": {"source_bytes": 1000 + 100 * label + noise},
        "resolution": {"source_height": 300 + 100 * label + noise, "source_width": 300 + 100 * label + noise},
        "aspect ratio": {"source_height": np.full(200, 300) + noise, "source_width": (300 + noise) * (1 + label)},
        "file ending": {"name": np.array([f"{place}.{('jpg', 'png')[kind]}" for place, kind in enumerate(label)])},
    }
    cut = folds(label, [""] * 200, 5, 0)
    rows = of_classes(facts(**planted[fact]), label, cut, permutations=99, seed=0)
    found = next(one for one in rows if one.fact == fact)
    assert found.strength > 0.95
    assert found.seen
    assert strongest(rows, 0.01) == pytest.approx(found.strength, abs=0.05)
    assert strongest(of_classes(facts(), label, cut, permutations=99, seed=0), 0.01) < 0.3


def test_facts_that_no_file_gives_are_left_out():
    nothing = np.zeros(200, dtype=np.int64)
    names = np.array([f"photo.jpg#{number}" for number in range(200)])
    found = facts(source_bytes=nothing, source_height=nothing, source_width=nothing, name=names)
    assert not {"file size", "resolution", "aspect ratio", "file ending"} & set(found)


def test_a_source_that_is_sorted_by_class_is_no_shortcut():
    label = np.repeat([0, 1], 100)
    assert sorted_by_label(label)
    assert not sorted_by_label(np.array([0, 1, 0]))
    cut = folds(label, [""] * 200, 5, 0)
    assert not {"order", "number in the name"} & {one.fact for one in of_classes(facts(), label, cut, permutations=99, seed=0)}


def test_a_fact_that_orders_the_target():
    target = np.random.default_rng(0).normal(size=200)
    rows = {one.fact: one for one in of_target(facts(brightness=np.exp(target)), target, permutations=99, seed=0)}
    assert rows["brightness"].strength == pytest.approx(1.0)
    assert rows["contrast"].strength < 0.25


def test_a_lonely_sample_is_odd():
    x, _ = blobs()
    x[17] += 40
    odd = oddness(np.log(loneliness(x)))
    assert odd.argmax() == 17
    assert odd[17] > 5
    assert not oddness(np.ones(9)).any()


def test_components_are_standardised_and_bounded_by_the_data():
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * [1, 10, 100, 1, 1, 0]
    found = components(x, 64, 0)
    assert found.shape == (50, 5)
    assert np.allclose(found.std(axis=0, ddof=1), 1, atol=1e-3)
