"""Networks, losses and DiffAugment of the GAN against independent references."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.generator.gan import AUGMENTATIONS, Gan, ImageDiscriminator, ImageGenerator, colour, cutout, translation

CONF = Path(__file__).resolve().parents[3] / "conf/generator/gan.yaml"


def numbers(**changed):
    loaded = yaml.safe_load(CONF.read_text())
    return {**{key: value for key, value in loaded.items() if key != "_target_"}, "resolution": 16, "width": 4, **changed}


def rng(number=0):
    return torch.Generator().manual_seed(number)


def x_BCHW(count=4, channels=3, side=16):
    return torch.rand(count, channels, side, side, generator=rng(1)) * 2 - 1


# ------------------------------------------------------------------------------------------------------------------ losses
def test_the_hinge_losses_have_their_closed_form():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 3.0])
    gan = Gan(**numbers())
    assert gan.discriminator_loss(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 4) / 3)
    assert gan.generator_loss(fake).item() == pytest.approx(-1 / 3)


def test_the_hinge_gradient_vanishes_beyond_the_margin():
    real, fake = torch.tensor([1.5, 0.0], requires_grad=True), torch.tensor([-1.5, 0.0], requires_grad=True)
    Gan(**numbers()).discriminator_loss(real, fake).backward()
    assert real.grad.tolist() == [0.0, -0.5]
    assert fake.grad.tolist() == [0.0, 0.5]


def test_the_penalty_is_half_gamma_times_the_mean_squared_slope():
    """Mescheder et al. 2018, eq. 9, against a score whose gradient is known: <w, x^2> has the slope 2 w x."""
    x, weight = x_BCHW(3), torch.randn(3, 16, 16, generator=rng(7))
    found = Gan(**numbers(r1=3.0)).penalty(lambda seen: (weight * seen**2).sum(dim=(1, 2, 3)), x)
    assert found.item() == pytest.approx(3.0 / 2 * (2 * weight * x).square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-5)
    assert Gan(**numbers(r1=0.0)).penalty(lambda seen: seen.sum(dim=(1, 2, 3)), x) is None


def test_the_gradient_of_the_penalty_equals_finite_differences():
    torch.manual_seed(0)
    network = ImageDiscriminator(resolution=16, width=2, conditions=2, channels=1, spectral=False).double()
    gan, x, condition = Gan(**numbers(r1=2.0)), x_BCHW(2, 1).double(), torch.tensor([0, 1])

    def penalty():
        return gan.penalty(lambda seen: network(seen, condition), x)

    penalty().backward()
    weight = network.convolutions[0].weight
    step = 1e-6
    for place in ((0, 0, 0, 0), (1, 1, 2, 3)):
        with torch.no_grad():
            weight[place] += step
        up = penalty().item()
        with torch.no_grad():
            weight[place] -= 2 * step
        down = penalty().item()
        with torch.no_grad():
            weight[place] += step
        assert weight.grad[place].item() == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-9)


# ---------------------------------------------------------------------------------------------------------------- networks
@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_at_every_resolution(resolution, channels):
    gan = Gan(**numbers(resolution=resolution, width=2))
    condition_B = torch.tensor([0, 2])
    fake = gan.generator(conditions=3, channels=channels)(torch.randn(2, gan.latent, generator=rng()), condition_B)
    assert fake.shape == (2, channels, resolution, resolution)
    assert fake.abs().max() <= 1
    assert gan.discriminator(conditions=3, channels=channels)(fake, condition_B).shape == (2,)


def spectral_norms(network):
    """The largest singular value of each weight as the layer uses it, by torch.linalg.svd."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)]
    return [torch.linalg.svdvals(layer.weight.detach().flatten(1)).max().item() for layer in layers]


def test_every_layer_of_the_discriminator_has_spectral_norm_one():
    torch.manual_seed(0)
    network = ImageDiscriminator(resolution=16, width=4, conditions=3, channels=3)
    with torch.no_grad():
        for layer in network.modules():
            if hasattr(layer, "parametrizations"):
                layer.parametrizations.weight.original.mul_(7)  # the bound must not come from a small initial weight
        for _ in range(60):
            network(x_BCHW(), torch.tensor([0, 1, 2, 0]))
    network.eval()
    norms = spectral_norms(network)
    assert len(norms) == 5
    assert max(norms) < 1.02
    assert min(norms) > 0.98


def test_spectral_norm_is_an_option():
    network = ImageDiscriminator(resolution=16, width=4, conditions=3, channels=3, spectral=False)
    assert not any(hasattr(layer, "parametrizations") for layer in network.modules())


def test_a_layer_without_spectral_norm_would_be_seen():
    torch.manual_seed(0)
    network = ImageDiscriminator(resolution=16, width=4, conditions=3, channels=3)
    torch.nn.utils.parametrize.remove_parametrizations(network.score, "weight", leave_parametrized=False)
    with torch.no_grad():
        network.score.weight.mul_(7)
    assert max(spectral_norms(network)) > 1.02


def test_the_projection_is_the_inner_product_of_class_and_features():
    """Miyato & Koyama 2018, eq. 4: score(x, a) - score(x, b) = <embedding(a) - embedding(b), phi(x)>, linear in the embedding."""
    torch.manual_seed(0)
    network = ImageDiscriminator(resolution=16, width=4, conditions=2, channels=3).eval()
    seen = []
    network.score.register_forward_hook(lambda layer, given, result: seen.append((given[0], result)))
    with torch.no_grad():
        scores = network(x_BCHW(), torch.tensor([0, 1, 0, 1]))
        (phi_BF, plain_B1), rows_KF = seen[0], network.embedding.weight
    np.testing.assert_allclose(scores, plain_B1[:, 0] + (rows_KF[[0, 1, 0, 1]] * phi_BF).sum(1), rtol=1e-5)


def test_the_generator_depends_on_noise_and_class_and_not_on_its_batch():
    torch.manual_seed(0)
    network = ImageGenerator(resolution=16, latent=8, width=4, conditions=3, channels=1)
    z_BL, condition_B = torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        whole = network(z_BL, condition_B)
        torch.testing.assert_close(network(z_BL[2:3], condition_B[2:3]), whole[2:3], rtol=1e-4, atol=1e-6)
        assert (network(z_BL, condition_B.roll(1)) - whole).abs().max() > 1e-3
        assert (network(z_BL.roll(1, 0), condition_B) - whole).abs().max() > 1e-3


def test_samples_are_the_generators_images_in_grey_levels():
    class Ramp(nn.Module):
        def forward(self, z_BL, condition_B):
            return torch.tensor([-1.0, -0.5, 0.0, 1.0]).reshape(1, 1, 2, 2).expand(len(z_BL), 1, 2, 2)

    pixels = Gan(**numbers()).sample(Ramp(), torch.tensor([0, 1]), torch.zeros(2, 64))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 2, 2, 1)
    assert pixels[1, :, :, 0].tolist() == [[0, 64], [128, 255]]


# -------------------------------------------------------------------------------------------------------------- DiffAugment
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_pass_and_equal_finite_differences(name):
    """Each augmentation is affine in the image, so a finite difference in float64 is exact up to rounding."""
    x = x_BCHW(2, 3, 8).double().requires_grad_(True)
    direction, weight = torch.randn(x.shape, generator=rng(2)).double(), torch.randn(x.shape, generator=rng(3)).double()
    (AUGMENTATIONS[name](x, rng()) * weight).sum().backward()
    with torch.no_grad():
        difference = (AUGMENTATIONS[name](x + direction, rng()) - AUGMENTATIONS[name](x - direction, rng())) / 2
    assert (x.grad * direction).sum().item() == pytest.approx((difference * weight).sum().item(), rel=1e-9)
    assert x.grad.abs().sum() > 0


def mean_over_draws(augment, x, draws=4000):
    repeated = x.expand(draws, -1, -1, -1)
    return augment(repeated, rng()).mean(dim=0)


def test_colour_leaves_the_image_unchanged_on_average():
    """Shift and factors have mean 0 and 1 and are independent, so the mean over draws is the image; 5 standard errors allowed."""
    x = x_BCHW(1, 3, 6)
    changed = colour(x.expand(20_000, -1, -1, -1), rng())
    error = (changed.mean(0) - x[0]).abs() / (changed.std(0) / 20_000**0.5)
    assert error.max() < 5


def test_a_biased_colour_would_be_seen():
    x = x_BCHW(1, 3, 6)
    changed = colour(x.expand(20_000, -1, -1, -1), rng()) + 0.02
    assert ((changed.mean(0) - x[0]).abs() / (changed.std(0) / 20_000**0.5)).max() > 5


def test_colour_does_nothing_to_saturation_of_grey_images():
    x = x_BCHW(64, 1, 6)
    changed = colour(x, rng())
    centred = changed - changed.mean(dim=(1, 2, 3), keepdim=True)
    factor = centred.std(dim=(1, 2, 3)) / x.std(dim=(1, 2, 3))
    assert factor.min() >= 0.5
    assert factor.max() <= 1.5


def test_translation_moves_by_at_most_an_eighth_and_every_shift_occurs():
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 8, 8] = 1.0
    moved = translation(x.expand(500, -1, -1, -1), rng())
    where = moved[:, 0].flatten(1).argmax(1)
    shifts = {(int(place) // 16 - 8, int(place) % 16 - 8) for place in where}
    assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    assert (moved.sum(dim=(1, 2, 3)) == 1).all()


def test_translation_against_a_plain_loop():
    x = x_BCHW(6, 2, 16)
    moved, drawn = translation(x, rng(5)), rng(5)
    down = torch.randint(-2, 3, (6,), generator=drawn).tolist()
    right = torch.randint(-2, 3, (6,), generator=drawn).tolist()
    for number in range(6):
        expected = torch.zeros(2, 16, 16)
        for row in range(16):
            for column in range(16):
                a, b = row + down[number], column + right[number]
                if 0 <= a < 16 and 0 <= b < 16:
                    expected[:, row, column] = x[number, :, a, b]
        torch.testing.assert_close(moved[number], expected)


def test_cutout_zeroes_one_square_of_at_most_half_the_side():
    changed = cutout(torch.ones(400, 1, 16, 16), rng())[:, 0]
    for hole in changed == 0:
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        assert hole.sum() == len(rows) * len(columns)
        assert 4 <= len(rows) <= 8
        assert 4 <= len(columns) <= 8
        assert rows.max() - rows.min() + 1 == len(rows)
    covered = (changed == 0).float().mean(0)
    assert covered.min() > 0.03  # every pixel is hidden now and then, and shown now and then
    assert covered.max() < 0.5


def test_samples_of_a_batch_are_augmented_independently():
    same = x_BCHW(1, 3, 16).expand(8, -1, -1, -1)
    for augment in AUGMENTATIONS.values():
        changed = augment(same, rng())
        assert len({image.numpy().tobytes() for image in changed}) >= 5


def test_the_generators_state_alone_decides_the_draw():
    gan = Gan(**numbers())
    torch.manual_seed(0)
    first = gan.augment(x_BCHW(), rng(3))
    torch.manual_seed(99)
    torch.testing.assert_close(gan.augment(x_BCHW(), rng(3)), first, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize(("changed", "said"), [
    ({"resolution": 48}, "8, 16, 32, 64 or 128"), ({"diffaugment": ["color"]}, "did you mean 'colour'"),
    ({"batch_size": 0}, "batch_size must be at least 1: received 0"), ({"lr_generator": -1.0}, "lr_generator"),
    ({"ema": 1.0}, r"ema must be in \[0, 1\)"), ({"beta1": -0.1}, "beta1"), ({"r1": -1.0}, "r1 must be between 0"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(changed, said):
    with pytest.raises(PersonError, match=said):
        Gan(**numbers(**changed))
