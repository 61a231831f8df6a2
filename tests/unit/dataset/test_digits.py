"""Digits of scikit-learn through the decoder."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.core.contracts import Rejected
from pipeline.core.decode import Decoder
from pipeline.dataset.digits import Digits


def decoder(**changes):
    settings = {
        "height": 8,
        "width": 8,
        "channels": 1,
        "fit": "stretch",
        "min_side": 4,
        "max_pixels": 100,
        "sixteen_bit": "reject",
        "background": 255,
        **changes,
    }
    return Decoder(**settings)


def test_pixels_labels_and_targets_are_those_of_scikit_learn():
    loaded = load_digits()
    found = list(Digits(source=Path("none"), decode=decoder().decode, limit=0).samples())
    assert len(found) == 1797
    assert np.array_equal(np.stack([entry.pixels_HWC[..., 0] for entry in found]), np.rint(loaded.images * 255 / 16))
    assert [entry.label for entry in found] == loaded.target.tolist()
    assert all(entry.target == entry.label for entry in found)
    assert len({entry.id for entry in found}) == 1797


def test_limit_and_length():
    digits = Digits(source=Path("none"), decode=decoder(channels=3, height=12, width=12).decode, limit=5)
    assert [entry.pixels_HWC.shape for entry in digits.samples()] == [(12, 12, 3)] * 5
    assert len(digits) == 5
    with pytest.raises(ValueError, match="received -1"):
        Digits(source=Path("none"), decode=decoder().decode, limit=-1)


def test_what_the_decoder_refuses_is_rejected():
    found = list(Digits(source=Path("none"), decode=decoder(min_side=9).decode, limit=1).samples())
    assert found == [Rejected("digit-0000", "too small: 8 x 8 pixels, min_side = 9")]
