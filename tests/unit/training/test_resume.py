"""A training that was stopped at any step ends with the bytes of the uninterrupted one, dropout, EMA and augmentation included."""

import hashlib

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, default_collate

from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from pipeline.training import stream as stream_module
from pipeline.training.checkpoint import NAME, newest
from pipeline.training.fit import fit
from pipeline.training.inputs import FeatureInputs, Labels
from pipeline.training.learner import Learner
from pipeline.training.stream import StepStream
from pipeline.training.watch import Validator, Watch, read_rows

STEPS, BATCH, COUNT = 14, 8, 24
RECIPE = {
    "lr": 1e-2, "weight_decay": 0.01, "warmup": 0.2, "max_steps": STEPS, "clip": 1.0, "ema": 0.9, "log_every": 1, "validate_every": 4,
}  # fmt: skip
CARD = {"classes": ["a", "b", "c"], "target": None, "name": "toy"}


class StoppedError(RuntimeError):
    """Stands for a kill."""


class StopAt(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise StoppedError


class Noisy(FeatureInputs):
    """Images with noise keyed by (epoch, index), as augmentation is."""

    def __getitem__(self, key):
        item = super().__getitem__(key)
        made = torch.Generator().manual_seed(key[0] * 1000 + key[1])
        return {**item, "x": item["x"] + 0.1 * torch.randn(item["x"].shape, generator=made)}


@pytest.fixture(scope="module")
def task():
    return build({
        "_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0,
        "positive": None, "bins": 5, "equal_mass": False,
    }, card=CARD)  # fmt: skip


def train(folder, task, *, stop=None, workers=0, sampler=StepStream, recipe=RECIPE):
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(3)
    rng = np.random.default_rng(0)
    labels = Labels(rng.integers(0, 3, COUNT), np.ones(COUNT, np.float32), [str(i) for i in range(COUNT)])
    inputs = Noisy(rng.random((COUNT, 1, 8, 8), dtype=np.float32), labels)
    model = ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.3)
    _, start = newest(folder)
    stream = sampler(COUNT, batch_size=BATCH, max_steps=STEPS, start_step=start, seed=1)
    learner = Learner(model, task=task, recipe=recipe, seed=5)
    validator = Validator(lambda rows: default_collate([inputs[0, row] for row in rows]), 9, task=task, batch_size=BATCH)
    watch = Watch(folder / "history.jsonl", start_step=start, recipe=RECIPE, validator=validator, tracker=None)
    loader = DataLoader(inputs, BATCH, sampler=stream, num_workers=workers)
    callbacks = [watch, *([StopAt(stop)] if stop else [])]
    fit(learner, loader, max_steps=STEPS, folder=folder, checkpoint_every=1, callbacks=callbacks)
    state = learner.state_dict()
    content = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
    return content, read_rows(folder / "history.jsonl")


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    return tmp_path / "whole", tmp_path / "killed"


def chained(folder, task, stops, **named):
    for stop in stops:
        with pytest.raises(StoppedError):
            train(folder, task, stop=stop, **named)
    return train(folder, task, **named)


def test_chained_stops_end_with_the_same_bytes_and_history(folders, task):
    whole, rows = train(folders[0], task)
    resumed, history = chained(folders[1], task, [2, 3, 7, 12])
    assert resumed == whole
    assert history == rows
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixed_batches_resume_to_the_same_bytes_and_are_not_the_plain_ones(folders, task, mix):
    recipe = {**RECIPE, "mix": mix, "mix_alpha": 0.4}
    whole, rows = train(folders[0], task, recipe=recipe)
    resumed, history = chained(folders[1], task, [3, 8], recipe=recipe)
    assert resumed == whole
    assert history == rows
    (folders[0].parent / "plain").mkdir()
    assert train(folders[0].parent / "plain", task)[0] != whole


@pytest.mark.multi
def test_workers_change_nothing(folders, task):
    assert chained(folders[0], task, [5], workers=2)[0] == train(folders[1], task)[0]


def test_a_sampler_keyed_by_epoch_alone_turns_it_red(folders, task):
    class ByEpoch(StepStream):
        """What plain stacks do: the epoch starts anew after a resume."""

        def __iter__(self):
            self.start_step = 0
            return super().__iter__()

    assert chained(folders[0], task, [5], sampler=ByEpoch)[0] != train(folders[1], task)[0]
    assert stream_module.StepStream is StepStream


def test_a_finished_training_is_not_trained_again(folders, task):
    first = train(folders[0], task)
    assert train(folders[0], task) == first


def test_a_damaged_checkpoint_falls_back_to_the_one_before(folders, task, caplog):
    whole, _ = train(folders[0], task)
    with pytest.raises(StoppedError):
        train(folders[1], task, stop=6)
    newer, step = newest(folders[1])
    content = bytearray(newer.read_bytes())
    content[len(content) // 2] ^= 1
    newer.write_bytes(content)
    older, before = newest(folders[1])
    assert step == 6
    assert before == 5
    assert older != newer
    assert "damaged" in caplog.text
    assert train(folders[1], task)[0] == whole


def test_two_checkpoints_are_kept_and_named_by_their_content(folders, task):
    train(folders[0], task)
    names = sorted(path.name for path in folders[0].glob("*.ckpt"))
    assert len(names) == 2
    assert all(NAME.fullmatch(name) for name in names)
    assert not list(folders[0].glob(".*.part"))
