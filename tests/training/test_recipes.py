"""Whole small trainings under every kind of recipe: they resume to the same bytes, and end where their history says."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, default_collate

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from pipeline.training.checkpoint import newest
from pipeline.training.fit import fit
from pipeline.training.inputs import FeatureInputs, Labels
from pipeline.training.learner import Learner
from pipeline.training.stopping import Rule, Stopping, load_best, verdict
from pipeline.training.stream import StepStream
from pipeline.training.watch import Watch, read_rows
from tests import toy
from tests.training.trainee import Run

STEPS, BATCH, COUNT = 12, 8, 24
CARD = {"classes": ["a", "b", "c"], "target": None, "name": "toy"}
RECIPE = {
    "lr": 1e-2, "weight_decay": 0.01, "warmup": 0.2, "max_steps": STEPS, "clip": 1.0, "ema": 0.0, "log_every": 1,
    "validate_every": 1, "batch_size": BATCH,
}  # fmt: skip


class StoppedError(RuntimeError):
    """Stands for a kill."""


class StopAt(pl.Callback):
    """Kills before a step; with `after`, once that many steps are written down and before their checkpoint."""

    def __init__(self, step, *, after=False):
        self.step, self.after = step, after

    def on_train_batch_start(self, trainer, *_):
        if not self.after and trainer.global_step == self.step:
            raise StoppedError

    def on_train_batch_end(self, trainer, *_):
        if self.after and trainer.global_step == self.step:
            raise StoppedError


class Curve:
    """A validator whose values are given, as a real one's are a function of the weights; NaN where there is none."""

    task, count = SimpleNamespace(headline="auroc"), COUNT

    def __init__(self, values):
        self.values, self.step = values, 0

    def __call__(self, model):
        return {"val_loss": 1.0, "val_auroc": self.values[self.step - 1]}


def train(folder, *, recipe=RECIPE, stop=None, values=None, precision="32-true", every=1):
    """One process of a training; returns the digest of its weights, its history and its learner."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(3)
    task = build(toy.option("task", "classification"), card=CARD)
    rng = np.random.default_rng(0)
    labels = Labels(rng.integers(0, 3, COUNT), np.ones(COUNT, np.float32), [str(i) for i in range(COUNT)])
    inputs = FeatureInputs(rng.random((COUNT, 1, 8, 8), dtype=np.float32), labels)
    model = ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.3)
    _, start = newest(folder)
    stream = StepStream(COUNT, batch_size=BATCH, max_steps=STEPS, start_step=start, seed=1)
    learner = Learner(model, task=task, recipe=recipe, seed=5)
    callbacks = []
    if values is not None:
        curve = Curve(values)

        class Watched(Watch):
            def on_train_batch_end(self, trainer, *arguments):
                curve.step = trainer.global_step
                super().on_train_batch_end(trainer, *arguments)

        rule = rule_of(recipe)
        watch = Watched(folder / "history.jsonl", start_step=start, recipe=recipe, validator=curve, tracker=None)
        callbacks = [watch, Stopping(folder, rule, every=1, last=STEPS)]
    callbacks += [stop] if stop else []
    loader = DataLoader(inputs, BATCH, sampler=stream, collate_fn=default_collate)
    fit(learner, loader, max_steps=STEPS, folder=folder, checkpoint_every=every, callbacks=callbacks, precision=precision)
    return digest(learner.state_dict()), read_rows(folder / "history.jsonl"), learner


def rule_of(recipe):
    return Rule("val_auroc", higher=True, patience=recipe.get("patience", 0), keep=recipe.get("keep", "last"))


def digest(state):
    return hashlib.sha256(b"".join(state[name].contiguous().numpy().tobytes() for name in sorted(state))).hexdigest()


def killed_and_resumed(folder, stops, **named):
    for stop in stops:
        with pytest.raises(StoppedError):
            train(folder, stop=stop, **named)
    return train(folder, **named)


@pytest.mark.parametrize(("changed", "precision"), [
    ({"optimizer": "muon", "schedule": "one_cycle", "ema": 0.9}, "32-true"),
    ({"optimizer": "sgd", "schedule": "step", "accumulate": 3, "mix": "mixup", "mix_alpha": 0.4}, "32-true"),
    ({"optimizer": "muon", "schedule": "linear", "accumulate": 2, "ema": 0.9}, "bf16-mixed"),
    ({"robust": "adversarial", "robust_eps": 0.1, "robust_ramp": 0.5, "attack_steps": 2, "attack_rel_step": 0.5, "attack_share": 0.5,
      "accumulate": 2}, "32-true"),
    ({"robust": "crown_ibp", "robust_eps": 0.05, "robust_ramp": 1.0, "bound_share": 0.5, "accumulate": 2}, "32-true"),
], ids=["muon", "sgd-accumulate", "muon-bf16-accumulate", "adversarial-accumulate", "crown-ibp-accumulate"])  # fmt: skip
def test_every_recipe_resumes_to_the_same_bytes(tmp_path, changed, precision):
    recipe = {**RECIPE, **changed}
    (tmp_path / "plain").mkdir()
    whole, _, _ = train(tmp_path / "whole", recipe=recipe, precision=precision)
    resumed, _, _ = killed_and_resumed(tmp_path / "killed", [StopAt(2), StopAt(7)], recipe=recipe, precision=precision)
    assert resumed == whole
    assert train(tmp_path / "plain")[0] != whole


RISES_AND_FALLS = [0.3, 0.5, 0.6, 0.8, 0.7, 0.7, 0.75, 0.6, 0.9, 0.9, 0.9, 0.9]
PATIENT = {**RECIPE, "patience": 3, "keep": "best"}


def test_it_stops_early_and_ships_the_best(tmp_path):
    _, rows, learner = train(tmp_path, recipe=PATIENT, values=RISES_AND_FALLS)
    assert [row["step"] for row in rows] == list(range(1, 8))
    assert learner.global_step == 7
    assert load_best(tmp_path, learner.model, rule_of(PATIENT)) == 4
    (tmp_path / "short").mkdir()
    with pytest.raises(StoppedError):
        train(tmp_path / "short", stop=(at := Kept(4)))
    assert digest(learner.model.state_dict()) == at.digest


class Kept(pl.Callback):
    """Remembers the weights after a step, and ends there."""

    def __init__(self, step):
        self.step, self.digest = step, ""

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == self.step:
            self.digest = digest(pl_module.model.state_dict())
            raise StoppedError


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("stops", [
    [StopAt(2), StopAt(5)], [StopAt(4, after=True), StopAt(6)], [StopAt(7, after=True)],
], ids=["before", "between history and checkpoint", "at the last step"])  # fmt: skip
def test_a_killed_run_stops_at_the_same_step_and_ships_the_same(tmp_path, stops, every):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    named = {"recipe": PATIENT, "values": RISES_AND_FALLS, "every": every}
    whole, rows, learner = train(tmp_path / "whole", **named)
    resumed, history, other = killed_and_resumed(tmp_path / "killed", stops, **named)
    assert resumed == whole
    assert history == rows
    for folder, one in ((tmp_path / "whole", learner), (tmp_path / "killed", other)):
        load_best(folder, one.model, rule_of(PATIENT))
    assert digest(other.model.state_dict()) == digest(learner.model.state_dict())


def test_a_run_that_has_stopped_takes_no_further_step(tmp_path):
    first = train(tmp_path, recipe=PATIENT, values=RISES_AND_FALLS)
    again = train(tmp_path, recipe=PATIENT, values=RISES_AND_FALLS)
    assert again[:2] == first[:2]
    assert again[2].global_step == 7


def test_without_patience_all_steps_are_taken(tmp_path):
    _, rows, _ = train(tmp_path, recipe=RECIPE, values=RISES_AND_FALLS)
    assert len(rows) == STEPS
    assert not verdict(rows, rule_of(RECIPE)).stop
    assert not list(tmp_path.glob("best=*"))


def test_a_metric_that_is_no_number_stops_with_its_name(tmp_path):
    values = [0.5, 0.6, float("nan"), *RISES_AND_FALLS]
    with pytest.raises(PersonError, match=r"val_auroc is (nan|not a number)"):
        train(tmp_path, recipe=PATIENT, values=values)


def test_the_history_is_what_decides(tmp_path):
    """Planted: a history in which the best came earlier makes the resumed run end earlier."""
    with pytest.raises(StoppedError):
        train(tmp_path, recipe=PATIENT, values=RISES_AND_FALLS, stop=StopAt(3))
    path = tmp_path / "history.jsonl"
    rows = read_rows(path)
    rows[0]["val_auroc"] = 0.99
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, history, _ = train(tmp_path, recipe={**PATIENT, "keep": "last"}, values=RISES_AND_FALLS)
    assert history[-1]["step"] == 4


@pytest.mark.multi
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parts_of_a_batch_on_two_processes_train_as_the_whole_on_one(tmp_path, optimizer):
    """Gradients are exchanged once a step, after the last part."""
    exact = {"precision": "32-true", "dropout": 0.0, "norm": False, "weights": True, "steps": 12}
    Run(tmp_path / "one", ranks=1, **exact, recipe={"optimizer": optimizer}).final()
    Run(tmp_path / "two", ranks=2, **exact, recipe={"optimizer": optimizer, "accumulate": 2}).final()
    one, two = (read_rows(tmp_path / name / "history.jsonl") for name in ("one", "two"))
    tolerance = 2e-4 if optimizer == "adamw" else 2e-2  # Muon computes in bf16
    for left, right in zip(one, two, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], abs=tolerance), left["step"]
