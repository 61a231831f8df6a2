"""Digits of scikit-learn, as pixels."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.dataset.digits import Digits


def test_pixels_labels_and_targets_are_those_of_scikit_learn():
    loaded = load_digits()
    found = list(Digits(source=Path("none"), limit=0).entries())
    assert len(found) == 1797
    assert np.array_equal(np.stack([entry.read()[..., 0] for entry in found]), np.rint(loaded.images * 255 / 16))
    assert found[0].read().dtype == np.uint8
    assert [entry.label for entry in found] == loaded.target.tolist()
    assert all(entry.target == entry.label for entry in found)
    assert [found[7].name, len({entry.name for entry in found})] == ["digit-0007", 1797]


def test_limit_and_length():
    digits = Digits(source=Path("none"), limit=5)
    assert len(list(digits.entries())) == len(digits) == 5
    with pytest.raises(ValueError, match="received -1"):
        Digits(source=Path("none"), limit=-1)
