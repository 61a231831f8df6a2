"""Training of the generator: exact resume, nothing that is not finite is applied, randomness depends on the step alone."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.synthesis.stability import findings
from pipeline.training.checkpoint import newest
from pipeline.training.gan_module import GanModule, Images, grid_steps, grids, train_gan

CONF = Path(__file__).resolve().parents[3] / "conf/generator/gan.yaml"
STEPS = 14


def gan(**changed):
    small = {"resolution": 8, "width": 4, "latent": 8, "max_steps": STEPS, "batch_size": 8, "checkpoint_every": 4, "log_every": 3}
    return build({**yaml.safe_load(CONF.read_text()), **small, **changed})


def images(count=20):
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count, dtype=np.int64) % 2)


class StopError(RuntimeError):
    """Stands for a kill."""


def stop_at(monkeypatch, stop):
    original = GanModule.training_step

    def step(self, batch, number):
        if self.global_step == stop:
            raise StopError
        return original(self, batch, number)

    monkeypatch.setattr(GanModule, "training_step", step)


def train(folder, *, seed=0, **changed):
    folder.mkdir(exist_ok=True)
    network, rows = train_gan(gan(**changed), images(), conditions=2, seed=seed, folder=folder)
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values()), rows


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stops", [(2,), (4,), (9,), (13,), (5, 9, 10, 13)], ids=str)
def test_a_stopped_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, uninterrupted, stops):
    for stop in stops:
        with monkeypatch.context() as patched:
            stop_at(patched, stop)
            with pytest.raises(StopError):
                train(tmp_path)
        assert newest(tmp_path)[1] == stop // 4 * 4
        torch.manual_seed(stop)  # the state of the global generator must not matter
    weights, rows = train(tmp_path)
    assert weights == uninterrupted[0]
    assert rows == uninterrupted[1]


def test_a_stopped_training_with_the_penalty_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    changed = {"r1": 1.0, "spectral": False}
    whole = train(tmp_path / "whole", **changed)
    for stop in (5, 10):
        with monkeypatch.context() as patched:
            stop_at(patched, stop)
            with pytest.raises(StopError):
                train(tmp_path / "killed", **changed)
        torch.manual_seed(stop)
    assert train(tmp_path / "killed", **changed) == whole
    assert all(row["penalty"] > 0 for row in whole[1])


def test_the_penalty_keeps_the_slope_at_real_images_small(tmp_path):
    slopes = [
        train(tmp_path / str(r1), r1=r1, spectral=False, lr_discriminator=5e-3, max_steps=40)[1][-1] for r1 in (1e-6, 100.0)
    ]
    assert slopes[1]["penalty"] / 100.0 < 0.2 * slopes[0]["penalty"] / 1e-6


def test_images_of_a_few_steps_are_kept_also_over_a_kill(tmp_path, monkeypatch):
    train(tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, 9)
        with pytest.raises(StopError):
            train(tmp_path / "killed")
    train(tmp_path / "killed")
    kept = [grids(tmp_path / name) for name in ("whole", "killed")]
    assert list(kept[0]) == grid_steps(STEPS) == [4, 7, 10, 14]
    for step, images_SRRC in kept[0].items():
        assert images_SRRC.shape == (16, 8, 8, 1)
        np.testing.assert_array_equal(images_SRRC, kept[1][step])


def test_watching_changes_no_bit_of_the_weights(tmp_path, uninterrupted):
    assert train(tmp_path, log_every=1)[0] == uninterrupted[0]


def test_a_generator_that_collapses_is_found_with_its_step(tmp_path, monkeypatch):
    """Planted fault: from step 7 on the noise has no way into the generator."""
    original = GanModule.training_step

    def step(self, batch, number):
        if self.global_step == 6:
            with torch.no_grad():
                self.generator.start.weight[:, : self.gan.latent] = 0
                for norm in (self.generator.first, *self.generator.norms):
                    norm.affine.weight[:, : self.gan.latent] = 0
        return original(self, batch, number)

    monkeypatch.setattr(GanModule, "training_step", step)
    _, rows = train(tmp_path, log_every=1, lr_generator=1e-6)
    (found,) = [one for one in findings(rows) if one.kind == "collapsed"]
    assert found.step == 7


def test_a_gradient_that_explodes_is_found_with_its_step(tmp_path, monkeypatch):
    """Planted fault: from step 9 on the discriminator's learning rate is far too high."""
    original = GanModule.training_step

    def step(self, batch, number):
        if self.global_step == 8:
            self.optimizers(use_pl_optimizer=False)[1].param_groups[0]["lr"] = 3.0
        return original(self, batch, number)

    monkeypatch.setattr(GanModule, "training_step", step)
    _, rows = train(tmp_path, log_every=1, spectral=False)
    (found,) = [one for one in findings(rows) if one.kind == "exploded"]
    assert 9 <= found.step <= 11


def test_a_discriminator_that_has_won_is_found(tmp_path, monkeypatch):
    """Planted fault: the generator does not move, and the discriminator learns its images apart."""
    original = GanModule._backward

    def backward(self, name, loss, optimiser):
        norm = original(self, name, loss, optimiser)
        if name == "generator":
            optimiser.zero_grad()
        return norm

    monkeypatch.setattr(GanModule, "_backward", backward)
    _, rows = train(tmp_path, spectral=False, lr_discriminator=1e-2, diffaugment=[], max_steps=120)
    assert "saturated" in [one.kind for one in findings(rows)]


def test_a_damaged_checkpoint_is_passed_over(tmp_path, monkeypatch, uninterrupted):
    with monkeypatch.context() as patched:
        stop_at(patched, 9)
        with pytest.raises(StopError):
            train(tmp_path)
    path, step = newest(tmp_path)
    assert step == 8
    path.write_bytes(path.read_bytes()[:-100])
    assert train(tmp_path)[0] == uninterrupted[0]


def test_a_finished_training_is_not_repeated(tmp_path):
    first = train(tmp_path, max_steps=12)
    assert newest(tmp_path)[1] == 12
    assert train(tmp_path, max_steps=12) == first


def test_the_audit_sees_a_state_that_is_not_restored(tmp_path, monkeypatch, uninterrupted):
    """Planted fault: the moving average is lost with the process."""
    with monkeypatch.context() as patched:
        stop_at(patched, 9)
        with pytest.raises(StopError):
            train(tmp_path)
    monkeypatch.setattr(
        GanModule,
        "on_load_checkpoint",
        lambda self, saved: saved["state_dict"].update(
            {f"average.{name}": value for name, value in self.average.state_dict().items()}
        ),
        raising=False,
    )
    assert train(tmp_path)[0] != uninterrupted[0]


def test_the_seed_matters_and_the_history_names_every_logged_step(tmp_path, uninterrupted):
    weights, rows = train(tmp_path, seed=1)
    assert weights != uninterrupted[0]
    assert [row["step"] for row in rows] == [3, 6, 9, 12, 14]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_a_loss_that_is_not_finite_stops_before_its_step(tmp_path, monkeypatch, name):
    part = gan()
    original = getattr(part, f"{name}_loss")
    seen = []

    def poisoned(*scores):
        if len(seen) == 6:
            return original(*scores) * float("nan")
        seen.append(None)
        return original(*scores)

    setattr(part, f"{name}_loss", poisoned)
    rate = "0.0002" if name == "generator" else "0.0004"
    with pytest.raises(
        PersonError, match=rf"the {name}'s loss is nan .* at step 6 \(learning rate {rate}\): lower generator.lr_{name}"
    ):
        train_gan(part, images(), conditions=2, seed=0, folder=tmp_path)
    path, step = newest(tmp_path)
    assert step == 4
    assert all(torch.isfinite(value).all() for value in torch.load(path, weights_only=True)["state_dict"].values())


def test_an_infinite_gradient_of_a_finite_loss_stops_too(tmp_path):
    part = gan()

    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    part.generator_loss = lambda fake_B: Steep.apply(fake_B).mean()
    with pytest.raises(PersonError, match=r"gradient norm (inf|nan) at step 0"):
        train_gan(part, images(), conditions=2, seed=0, folder=tmp_path)


def test_each_step_moves_each_network_by_its_own_loss(tmp_path, monkeypatch):
    """The generator's loss must not move the discriminator: with its learning rate near zero, only the generator moves."""
    before = GanModule(gan(), conditions=2, channels=1, seed=0)
    start = {name: value.clone() for name, value in before.state_dict().items()}
    moved = {}
    monkeypatch.setattr(GanModule, "on_train_end", lambda self: moved.update(self.state_dict()), raising=False)
    train(tmp_path, lr_discriminator=1e-30, max_steps=3)
    for name, value in moved.items():
        if name.startswith("discriminator") and name.endswith("original"):
            torch.testing.assert_close(value, start[name], rtol=0, atol=0)
    assert any((moved[name] != start[name]).any() for name in moved if name.startswith("generator"))


def test_both_networks_see_every_image_through_the_same_augmentation(tmp_path, monkeypatch):
    """Zhao et al. 2020, equations 1 to 3: T on real and synthetic images, in the discriminator's step and in the generator's."""
    seen, part = [], gan(max_steps=2)
    original = part.augment

    def augment(x_BCHW, rng):
        out = original(x_BCHW, rng)
        seen.append((x_BCHW, out))
        return out

    part.augment = augment
    scored = []
    monkeypatch.setattr(
        GanModule, "on_fit_start",
        lambda self: self.discriminator.register_forward_pre_hook(lambda _, given: scored.append(given[0].detach().clone())),
        raising=False,
    )  # fmt: skip
    train_gan(part, images(), conditions=2, seed=0, folder=tmp_path)
    assert len(seen) == len(scored) == 6
    for (_, out), image in zip(seen, scored, strict=True):
        torch.testing.assert_close(out.detach(), image, rtol=0, atol=0)
    real, fake, again = seen[:3]
    assert not real[0].requires_grad
    assert not fake[0].requires_grad
    torch.testing.assert_close(fake[0], again[0].detach(), rtol=0, atol=0)
    assert again[1].grad_fn is not None  # the generator's gradient passes through the augmentation
    assert (fake[1] != again[1]).any()


def test_a_callback_looks_on_and_changes_no_bit(tmp_path, uninterrupted):
    class Look(pl.Callback):
        def __init__(self):
            super().__init__()
            self.steps = []

        def on_train_batch_end(self, trainer, module, *_):
            self.steps.append(trainer.global_step)
            module.draw(module.average, conditions=2, each=3)

    look = Look()
    network, _ = train_gan(gan(), images(), conditions=2, seed=0, folder=tmp_path, callbacks=[look])
    assert look.steps == list(range(1, STEPS + 1))
    assert b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values()) == uninterrupted[0]


def test_the_average_follows_its_recursion(tmp_path, monkeypatch):
    """average <- decay * average + (1 - decay) * generator with decay = min(ema, (1 + n) / (10 + n)), checked in float64."""
    history = []
    original = GanModule.training_step

    def step(self, batch, number):
        original(self, batch, number)
        history.append([next(net.parameters()).detach().double().clone() for net in (self.generator, self.average)])

    first = next(GanModule(gan(), conditions=2, channels=1, seed=0).generator.parameters()).detach().double().clone()
    monkeypatch.setattr(GanModule, "training_step", step)
    train(tmp_path, ema=0.3, max_steps=6)
    expected = first
    for number, (fast, slow) in enumerate(history, start=1):
        decay = min(0.3, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * fast
        torch.testing.assert_close(slow, expected, rtol=1e-4, atol=1e-6)


def test_images_are_scaled_to_the_generators_range():
    pixels = np.asarray([0, 255], np.uint8).reshape(2, 1, 1, 1)
    held = Images(pixels, np.asarray([3, 1], np.int64))
    assert [held[0, index][0].item() for index in (0, 1)] == [-1.0, 1.0]
    assert [held[9, index][1].item() for index in (0, 1)] == [3, 1]
