"""What looks on changes no bit, resumes to the same rows, and tells what is wrong with a training."""

import json
from functools import cache

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from pipeline.core.artifact import begin, read_json, write_json
from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.core.store import write_shards
from pipeline.model.resnet import ResNet
from pipeline.stages import train
from pipeline.training.checkpoint import newest
from pipeline.training.fit import fit
from pipeline.training.health import FiniteCheckpoints, HealthProbe
from pipeline.training.inputs import FeatureInputs, Labels, batch_of, load
from pipeline.training.learner import Learner
from pipeline.training.observers import conclude, observers
from pipeline.training.stopping import Rule, shipped_row
from pipeline.training.stream import StepStream
from pipeline.training.watch import Validator, Watch, read_rows
from tests import toy

STEPS, BATCH, COUNT = 24, 8, 40
RECIPE = {
    "lr": 1e-2, "weight_decay": 0.01, "warmup": 0.1, "max_steps": STEPS, "clip": 1.0, "ema": 0.0, "log_every": 4, "validate_every": 8,
    "checkpoint_every": 3, "batch_size": BATCH, "health_samples": 3,
}  # fmt: skip
CARD = {"classes": ["a", "b", "c"], "target": None, "name": "toy"}
TASK = {"_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0, "positive": None,
        "bins": 5, "equal_mass": False}  # fmt: skip


class StoppedError(RuntimeError):
    """Stands for a kill."""


class At(pl.Callback):
    """Calls something before one step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer, pl_module, batch, number):
        if trainer.global_step == self.step:
            self.act(pl_module, batch)


def stop(*_):
    raise StoppedError


def trained(folder, *, watched=True, model=None, recipe=RECIPE, extra=(), x=None, truth=None, held=12):
    """Weights after a training, with all that looks on or with nothing."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    x = rng.random((COUNT, 1, 8, 8), dtype=np.float32) if x is None else x
    labels = Labels(rng.integers(0, 3, len(x)) if truth is None else truth, np.ones(len(x), np.float32), [f"id{i}" for i in range(len(x))])
    inputs = FeatureInputs(x[:-held], Labels(labels.truth[:-held], labels.weight[:-held], labels.ids[:-held]))
    validation = FeatureInputs(x[-held:], Labels(labels.truth[-held:], labels.weight[-held:], labels.ids[-held:]))
    torch.manual_seed(3)
    net = model() if model else ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.3)
    learner = Learner(net, task=build(TASK, card=CARD), recipe=recipe, seed=5)
    learner.names = inputs.labels.ids
    _, start = newest(folder, learner)
    stream = StepStream(len(inputs), batch_size=BATCH, max_steps=recipe["max_steps"], start_step=start, seed=1)
    validator = Validator(lambda rows: batch_of(validation, rows), held, task=build(TASK, card=CARD), batch_size=BATCH)
    callbacks = []
    if watched:
        callbacks = observers(learner, recipe, scratch=folder, start=start, batch_of=lambda rows: batch_of(inputs, rows),
                              validator=validator, tracker=None)  # fmt: skip
    fit(learner, load(inputs, stream, workers=0), max_steps=recipe["max_steps"], folder=folder, checkpoint_every=recipe["checkpoint_every"],
        callbacks=[*callbacks, *extra])  # fmt: skip
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


def concluded(scratch, *, keep="last"):
    out = scratch / f"out of {keep}"
    out.mkdir()
    rows = read_rows(scratch / "history.jsonl")
    return conclude(scratch, out, rows, shipped=shipped_row(rows, Rule("val_loss", higher=False, patience=0, keep=keep))), out


def test_looking_on_changes_no_bit_and_a_resumed_run_leaves_the_same_rows(tmp_path):
    whole = trained(tmp_path / "whole")
    bare = trained(tmp_path / "bare", watched=False)
    assert all(torch.equal(whole[name], bare[name]) for name in bare)
    for step in (2, 13, 20):
        with pytest.raises(StoppedError):
            trained(tmp_path / "killed", extra=[At(step, stop)])
    killed = trained(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in bare)
    for name in ("history.jsonl", "health.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "whole/health.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["depth"] == 0] == [1, 12, 24]
    assert {row["layer"] for row in rows} >= {"trunk_layers.0", "head"}
    assert all(row["signal"] > 0 and row["gradient"] > 0 and row["update"] > 0 for row in rows)


def test_a_probe_that_draws_random_numbers_would_be_seen(tmp_path, monkeypatch):
    before = HealthProbe.on_before_optimizer_step

    def draws(self, trainer, pl_module, optimizer):
        before(self, trainer, pl_module, optimizer)
        for parameter in pl_module.model.parameters():
            parameter.grad *= 1 + 1e-6 * torch.rand(())

    monkeypatch.setattr(HealthProbe, "on_before_optimizer_step", draws)
    watched, bare = trained(tmp_path / "watched"), trained(tmp_path / "bare", watched=False)
    assert not all(torch.equal(watched[name], bare[name]) for name in bare)


def test_twenty_samples_with_noise_labels_overfit(tmp_path, capsys):
    def mlp():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))

    recipe = {**RECIPE, "max_steps": 120, "log_every": 5, "validate_every": 10}
    rng = np.random.default_rng(1)
    x, truth = rng.normal(size=(60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60)
    trained(tmp_path / "noise", model=mlp, recipe=recipe, x=x, truth=truth, held=40)
    health, out = concluded(tmp_path / "noise")
    assert [text.split(":")[0] for text in health.warnings] == ["Overfitting"]
    assert "warning: Overfitting" in capsys.readouterr().err
    assert concluded(tmp_path / "noise", keep="best")[0].warnings == []
    assert capsys.readouterr().err == ""
    assert (out / "health.csv").read_text().startswith("step,depth,layer,signal")
    assert (out / "health.png").stat().st_size > 5000
    timings = read_json(out / "timings.json")
    assert timings["measured"]["peak_bytes"] > 10**7
    assert timings["forecast"]["seconds"] > 0


def test_a_gradient_that_is_not_finite_stops_before_the_step_and_keeps_the_last_checkpoint(tmp_path):
    class Poisoned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.inf

    def poison(module, batch):
        module.model.register_forward_hook(lambda net, inputs, output: Poisoned.apply(output))

    with pytest.raises(PersonError, match=r"norm of the gradient is (nan|inf) at step 10 .*samples \['id\d+'"):
        trained(tmp_path / "run", extra=[At(10, poison)])
    path, step = newest(tmp_path / "run")
    assert step == 9
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path):
    def spoil(module, batch):
        next(buffer for name, buffer in module.model.named_buffers() if name.endswith("running_var")).fill_(torch.inf)

    with pytest.raises(PersonError, match=r"after step 12 .*running_var is not finite"):
        trained(tmp_path / "run", extra=[At(11, spoil)])
    assert newest(tmp_path / "run")[1] == 9
    with pytest.raises(PersonError):
        trained(tmp_path / "again", watched=False, extra=[FiniteCheckpoints(), At(11, spoil)])


def test_a_metric_that_is_not_a_number_ends_the_training_at_its_first_validation(tmp_path, monkeypatch):
    goal = build({**TASK, "headline": "auroc"}, card={**CARD, "classes": ["a", "b"]})
    data = FeatureInputs(np.zeros((8, 4), np.float32), Labels(np.zeros(8, np.int64), np.ones(8, np.float32), list("abcdefgh")))
    watch = Watch(tmp_path / "history.jsonl", start_step=0, recipe=RECIPE, tracker=None,
                  validator=Validator(lambda rows: batch_of(data, rows), 8, task=goal, batch_size=4))  # fmt: skip
    with pytest.raises(PersonError, match=r"val_auroc is nan after step 8, on 8 validation samples .*choose another task.headline"):
        watch._validated(nn.Linear(4, 2), 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Toy artifacts that the stage reads."""
    directory = tmp_path_factory.mktemp("toy")
    made = {"ingest": toy.ingest(directory, classes=["bar", "disc"], count=200)}
    made["split"] = toy.split(directory, made["ingest"])
    made["embed"] = toy.embed(directory, made["ingest"], off=True)
    for name in ("augment", "synthesize"):
        out = begin(directory / name)
        write_shards(out, [])
        if name == "synthesize":
            write_json(out / "gates.json", {"share": 0, "why": "off"})
        made[name] = toy.publish(directory, name)
    return made


@cache
def config(*overrides):
    words = ["logger=none", "transform=none", "generator=none", "model=resnet_small", "train.max_steps=40", "train.batch_size=32",
             "train.validate_every=10", "train.checkpoint_every=10"]  # fmt: skip
    return compose(toy.PROJECT / "conf", experiment="digits", overrides=[*words, *overrides])


def run(folders, tmp_path, *overrides):
    scratch = tmp_path / "0123456789abcdef"
    scratch.mkdir()
    torch.use_deterministic_algorithms(True)
    return train.run(config(*overrides), begin(tmp_path / "train"), **folders, scratch=scratch), tmp_path / "train.partial"


def test_a_healthy_stage_has_no_finding_and_publishes_its_health(folders, tmp_path, capsys):
    summary, out = run(folders, tmp_path)
    section = read_section(out)
    assert section.warnings == []
    assert "warning" not in capsys.readouterr().err
    assert "ResNet, 40 steps" in summary
    assert section.tables[1].caption == "Health of the layers"
    assert [picture.file for picture in section.pictures] == ["curves.png", "health.png"]
    assert read_json(out / "timings.json")["run_id"] == read_json(out / "run.json")["run_id"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": []}, "the split 'train' holds no sample, so there is nothing to train on: expected at least 1, received 0"),
    ({"val": []}, "the split 'val' holds no sample"),
])  # fmt: skip
def test_an_epoch_of_no_length_is_refused(folders, tmp_path, changes, message):
    other = tmp_path / "split"
    other.mkdir()
    write_json(other / "split.json", {**read_json(folders["split"] / "split.json"), **changes})
    write_json(other / "statistics.json", read_json(folders["split"] / "statistics.json"))
    with pytest.raises(PersonError, match=message):
        run({**folders, "split": other}, tmp_path)


def test_a_batch_larger_than_the_data_or_too_small_for_batch_norm_is_refused(folders, tmp_path):
    with pytest.raises(PersonError, match=r"train.batch_size 500 is larger than the train split of 120 samples"):
        run(folders, tmp_path, "train.batch_size=500")
    (tmp_path / "one").mkdir()
    with pytest.raises(PersonError, match="batch norm needs more than one sample at once, received 1"):
        run(folders, tmp_path / "one", "train.batch_size=1", "model.stages=5")
