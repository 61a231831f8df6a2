"""Claims: their linear functions agree with their margins, and their margins with the answers."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.verification.statement import Statement
from tests import toy

CARD = {"classes": ["a", "b", "c"], "target": {"name": "t", "unit": "K", "low": -1.0, "high": 3.0}, "name": "toy"}


def statement(kind, truth, tolerance=0.25):
    return Statement(build(toy.option("task", kind), card=CARD), np.asarray(truth), tolerance=tolerance)


def test_the_functions_of_classes_are_all_positive_where_the_class_is_right():
    claim = statement("classification", [0, 2, 1, 1])
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, constants = claim.functions()
    least = (torch.einsum("nsk,nk->ns", weights, logits) + constants).amin(1).numpy()
    decoded = claim.task.decode(logits).numpy()
    np.testing.assert_allclose(claim.margins(decoded), least, atol=1e-9)
    np.testing.assert_array_equal(claim.holds(decoded), least > 0)
    assert claim.holds(decoded).any()
    assert not claim.holds(decoded).all()
    np.testing.assert_allclose(claim.rows(np.array([3, 1])).margins(decoded[[3, 1]]), least[[3, 1]], atol=1e-9)


def test_a_margin_that_saturates_is_not_known():
    claim = statement("classification", [0, 1])
    assert np.isnan(claim.margins(np.asarray([[1.0, 0.0, 0.0], [1.0, 1e-40, 0.0]], dtype=np.float32))).all()


def test_a_value_holds_within_the_tolerance_of_the_truth():
    claim = statement("regression", [1.0, 1.0, -0.5])
    values = torch.tensor([[1.9], [2.1], [0.4]], dtype=torch.float64)
    weights, constants = claim.functions()
    least = (torch.einsum("nsk,nk->ns", weights, values) + constants).amin(1).numpy()
    np.testing.assert_allclose(least, [0.1, -0.1, 0.1], atol=1e-9)
    np.testing.assert_allclose(claim.margins(values.numpy()), least, atol=1e-9)
    assert claim.holds(values.numpy()).tolist() == [True, False, True]
    assert claim.text().endswith("within 1 K of the true one.")


def test_the_network_of_a_value_is_decoded_into_its_unit():
    claim = statement("regression", [0.0])
    found = claim.network(torch.nn.Flatten())(torch.full((1, 1, 1, 1), 0.5))
    assert found.item() == pytest.approx(1.0)
    assert isinstance(statement("classification", [0]).network(torch.nn.Flatten()), torch.nn.Flatten)


def test_a_tolerance_must_be_positive():
    with pytest.raises(PersonError, match=r"certify\.tolerance must be positive"):
        statement("regression", [0.0], tolerance=0.0)
