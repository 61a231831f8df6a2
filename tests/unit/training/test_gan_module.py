"""Training of the generator: exact resume, nothing that is not finite is applied, randomness depends on the step alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.checkpoint import newest
from pipeline.training.gan_module import GanModule, Images, train_gan

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
