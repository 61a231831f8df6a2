"""Distances, and rounding to 8 bits inside the ball."""

import pytest
import torch

from pipeline.adversarial.ball import check_ball, distance, eight_bit, slack
from pipeline.core.errors import PersonError


@pytest.fixture
def clean():
    return torch.randint(0, 256, (30, 2, 6, 6), generator=torch.Generator().manual_seed(0)).float() / 255


def test_distances_are_the_norms_of_the_change():
    one, other = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.3, 0.0], [0.0, -0.4]]]])
    assert distance(one, other, "linf").item() == pytest.approx(0.4)
    assert distance(one, other, "l2").item() == pytest.approx(0.5)


@pytest.mark.parametrize(("eps", "levels"), [(2 / 255, 2), (0.00784314, 2), (2.9 / 255, 2), (0.5 / 255, 0), (8 / 255, 8)])
def test_rounded_images_stay_in_the_ball_and_reach_its_last_whole_level(clean, eps, levels):
    step = torch.where(torch.rand(clean.shape, generator=torch.Generator().manual_seed(1)) < 0.5, eps, -eps)
    x = (clean + step).clamp(0, 1)
    carried = eight_bit(x, clean, eps, "linf")
    assert carried.dtype == torch.uint8
    change = (carried.float() - (255 * clean).round()).abs()
    assert change.max() == levels
    assert distance(carried.float() / 255, clean, "linf").max() <= eps + slack(eps)


@pytest.mark.parametrize("eps", [0.02, 0.5, 3.0])
def test_in_l2_too(clean, eps):
    step = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    x = (clean + eps * step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(0, 1)
    away = distance(eight_bit(x, clean, eps, "l2").float() / 255, clean, "l2")
    assert away.max() <= eps + slack(eps)
    assert away.max() > (0.8 * eps if eps > 0.1 else -1)


def test_a_pixel_that_is_not_attacked_keeps_its_level(clean):
    assert torch.equal(eight_bit(clean, clean, 0.1, "linf").float(), (255 * clean).round())


@pytest.mark.parametrize(("wrong", "said"), [
    ((1.5, [1.0], "linf"), "2/255"), ((-0.1, [1.0], "l2"), "zero or positive"), ((float("nan"), [1.0], "l2"), "zero or positive"),
    ((0.1, [], "linf"), "radii"), ((0.1, [-1.0], "linf"), "radii"), ((0.1, [1.0], "max"), "linf"),
])  # fmt: skip
def test_what_is_no_ball_is_refused(wrong, said):
    with pytest.raises(PersonError, match=said):
        check_ball(*wrong)
