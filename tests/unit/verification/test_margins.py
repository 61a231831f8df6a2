"""Margins are truth minus the others; the box of images is cut at the range of pixels."""

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.verification.intervals import ball
from pipeline.verification.margins import all_margins, margin_weights


def test_margins_are_the_truth_minus_the_others():
    output_BK = torch.tensor([[1.0, 4.0, 2.0], [5.0, 0.0, 3.0]], dtype=torch.float64)
    truth_B = torch.tensor([1, 0])
    assert torch.einsum("bsk,bk->bs", margin_weights(truth_B, 3), output_BK).tolist() == [[3.0, 2.0], [5.0, 2.0]]
    assert torch.einsum("bsk,bk->bs", all_margins(truth_B, 3), output_BK).tolist() == [[3.0, 0.0, 2.0], [0.0, 5.0, 2.0]]


def test_a_ball_ends_where_pixels_do():
    box = ball(torch.tensor([0.0, 0.5, 0.97]), 0.1)
    assert torch.allclose(box.low, torch.tensor([0.0, 0.4, 0.87]))
    assert torch.allclose(box.high, torch.tensor([0.1, 0.6, 1.0]))


@pytest.mark.parametrize(("x", "eps", "error"), [(0.5, 1.1, PersonError), (0.5, -1.0, PersonError), (1.2, 0.1, ValueError)])
def test_what_is_out_of_range_is_refused(x, eps, error):
    with pytest.raises(error):
        ball(torch.tensor([x]), eps)
