"""Every option of conf/generator is held to the laws of a generator; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.images.decode import sample_id
from pipeline.training.gan_module import Images, train_gan

CONF = Path(__file__).resolve().parents[2] / "conf/generator"
OPTIONS = sorted(CONF.glob("*.yaml"))
ON = [path for path in OPTIONS if not is_off(yaml.safe_load(path.read_text()))]
SIMULATORS = [path for path in ON if hasattr(build(yaml.safe_load(path.read_text())), "simulate")]
PARTS = [path for path in ON if path not in SIMULATORS]
SMALL = {"resolution": 8, "width": 4, "max_steps": 6, "batch_size": 8, "checkpoint_every": 3, "log_every": 2}
CONDITIONS = 3


@pytest.fixture(params=PARTS, ids=lambda path: path.stem)
def node(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def part(node):
    return build({**node, **SMALL})


def images(channels=1):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, channels), dtype=np.uint8)
    return Images(pixels, np.arange(24, dtype=np.int64) % CONDITIONS)


def noise(part, count):
    return torch.randn(count, part.latent, generator=torch.Generator().manual_seed(0))


def networks(part, channels=1):
    torch.manual_seed(0)
    return [make(conditions=CONDITIONS, channels=channels) for make in (part.generator, part.discriminator)]


def losses(part, generator, discriminator):
    """Both losses; real scores are scaled, since the gradient of the last bias is zero where they mirror the synthetic ones."""
    real, condition = torch.rand(6, 1, 8, 8) * 2 - 1, torch.tensor([0, 1, 2, 0, 1, 2])
    rng = torch.Generator().manual_seed(1)
    fake = generator(noise(part, 6), condition)
    scores = [discriminator(part.augment(x, rng), condition) for x in (real, fake.detach(), fake)]
    return part.discriminator_loss(1.5 * scores[0], scores[1]), part.generator_loss(scores[2])


def test_the_room_has_an_option_none():
    assert CONF / "none.yaml" in OPTIONS
    assert PARTS


def test_the_option_as_it_stands_in_conf_builds_and_samples(node):
    part = build(node)
    pixels = part.sample(part.generator(conditions=2, channels=3).eval(), torch.tensor([1]), noise(part, 1))
    assert (pixels.shape, pixels.dtype) == ((1, part.resolution, part.resolution, 3), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_have_the_shape_and_range_of_the_data(part, channels):
    network = networks(part, channels)[0].eval()
    pixels = part.sample(network, torch.tensor([0, 1, 2, 0]), noise(part, 4))
    assert (pixels.shape, pixels.dtype) == ((4, 8, 8, channels), np.uint8)
    assert pixels.flags.c_contiguous


def test_samples_depend_on_noise_and_condition_alone(part):
    network = networks(part)[0].eval()
    condition, z = torch.tensor([0, 1, 2, 0]), noise(part, 4)
    pixels = part.sample(network, condition, z)
    torch.manual_seed(77)
    assert np.abs(part.sample(network, condition, z).astype(int) - pixels).max() == 0
    alone = part.sample(network, condition[1:2], z[1:2])
    assert np.abs(alone.astype(int) - pixels[1:2]).max() <= 1  # one grey level: other batch sizes may sum in another order


def test_every_weight_gets_a_gradient_from_its_own_loss(part):
    generator, discriminator = networks(part)
    loss_discriminator, loss_generator = losses(part, generator, discriminator)
    for loss, network in ((loss_discriminator, discriminator), (loss_generator, generator)):
        network.zero_grad()
        loss.backward(retain_graph=True)
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_losses_are_finite_scalars_and_each_falls_by_a_step_on_its_gradient(part):
    for which in (0, 1):
        generator, discriminator = (network.eval() for network in networks(part))
        network = (discriminator, generator)[which]
        torch.manual_seed(2)
        before = losses(part, generator, discriminator)[which]
        assert before.ndim == 0
        assert torch.isfinite(before)
        network.zero_grad()
        before.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(parameter.grad, alpha=1e-3)
        torch.manual_seed(2)
        assert losses(part, generator, discriminator)[which] < before


def test_optimisers_hold_exactly_the_weights_of_their_network(part):
    pair = networks(part)
    for network, optimiser in zip(pair, part.optimisers(*pair), strict=True):
        held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in network.parameters()}


def test_training_is_deterministic_and_its_weights_load_again(part, tmp_path):
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        network, rows = train_gan(part, images(), conditions=CONDITIONS, seed=0, folder=tmp_path / name)
        results.append((network.state_dict(), rows))
    (first, rows), (second, again) = results
    assert rows == again
    assert all(torch.equal(first[name], second[name]) for name in first)
    fresh = part.generator(conditions=CONDITIONS, channels=1)
    fresh.load_state_dict(first)
    z, condition = noise(part, 2), torch.tensor([0, 2])
    np.testing.assert_array_equal(part.sample(fresh.eval(), condition, z), part.sample(network, condition, z))


def test_training_reads_the_images(part, tmp_path):
    """Other images give another generator: nothing is learnt from the seed alone."""
    weights = []
    for name, shift in (("a", 0), ("b", 90)):
        (tmp_path / name).mkdir()
        held = images()
        held.x_NCHW = (held.x_NCHW // 2 + shift).to(torch.uint8)
        network, _ = train_gan(part, held, conditions=CONDITIONS, seed=0, folder=tmp_path / name)
        weights.append(torch.cat([tensor.flatten() for tensor in network.state_dict().values()]))
    assert not torch.equal(*weights)


# -------------------------------------------------------------------------------------------------------------- simulators
CARD = {"name": "toy", "classes": ["functional", "defective"], "target": None, "height": 40, "width": 32, "channels": 1}


@pytest.fixture(params=SIMULATORS, ids=lambda path: path.stem)
def simulator(request):
    return build(yaml.safe_load(request.param.read_text()))


def simulate(simulator, *, count=6, seed=0, **card):
    return list(simulator.simulate({**CARD, **card}, count, np.random.default_rng(seed)))


@pytest.mark.parametrize("channels", [1, 3])
def test_simulated_samples_fit_the_card(simulator, channels):
    made = simulate(simulator, channels=channels)
    assert len(made) == 6
    for sample in made:
        assert (sample.pixels_HWC.shape, sample.pixels_HWC.dtype) == ((40, 32, channels), np.uint8)
        assert sample.id == sample_id(sample.pixels_HWC)
        assert sample.label in {0, 1}
        assert sample.name
        assert sample.origin == "synthetic"
        assert sample.mask_HW is None or (sample.mask_HW.shape, sample.mask_HW.dtype) == ((40, 32), np.uint8)
        assert all(0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 40 for x0, y0, x1, y1, _ in sample.boxes)
    assert len({sample.id for sample in made}) == 6
    assert len({sample.label for sample in made}) == 2


def test_simulated_samples_depend_on_the_rng_alone(simulator):
    first, second, other = (simulate(simulator, seed=seed) for seed in (0, 0, 1))
    assert [sample.id for sample in first] == [sample.id for sample in second]
    assert not {sample.id for sample in first} & {sample.id for sample in other}


def test_a_simulator_refuses_data_that_it_cannot_draw(simulator):
    with pytest.raises(PersonError, match="generator"):
        simulate(simulator, classes=["cat", "dog"])
