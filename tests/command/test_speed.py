"""What is timed and how it is compared; the figures themselves belong to the machine."""

import time

import pytest
import torch

from pipeline.command import speed as command
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.speed import Setting, compare, settings, stepper
from tests import toy

HERE = Setting("32-true", False, 1)
CARD = {"classes": ["a", "b"], "target": None, "name": "toy"}
RECIPE = {"lr": 0.1, "weight_decay": 0.0, "clip": 1.0, "optimizer": "sgd", "momentum": 0.0}


def test_every_combination_once_and_features_have_no_layout():
    assert len(set(settings([1, 2], layouts=True))) == 8
    assert {one.channels_last for one in settings([1, 2], layouts=False)} == {False}


def test_overrides_name_what_differs_in_hydras_grammar():
    best = Setting("bf16-mixed", True, 2)
    assert best.overrides(HERE) == ["train.precision=bf16-mixed", "train.channels_last=true", "threads=2"]
    assert Setting("32-true", False, 4).overrides(HERE) == ["threads=4"]


def test_a_setting_that_takes_half_the_time_is_twice_as_fast():
    slow, fast, seen = HERE, Setting("bf16-mixed", False, 1), []
    steps = {
        one: (lambda wait=wait, one=one: (seen.append(one), time.sleep(wait))) for one, wait in ((slow, 0.02), (fast, 0.01))
    }
    first, second = compare(steps, present=slow, seconds=0.0)
    assert (first.setting, second.setting) == (fast, slow)
    assert first.gain == pytest.approx(2, rel=0.3)
    assert second.ratios == [1.0] * 3
    assert seen.index(slow) < seen.index(fast) < len(seen) - 1 - seen[::-1].index(slow)  # in turn, not one after the other


def test_threads_are_set_for_each_and_put_back():
    before, seen = torch.get_num_threads(), set()
    steps = {Setting("32-true", False, count): (lambda: seen.add(torch.get_num_threads())) for count in (1, 2)}
    compare(steps, present=HERE, seconds=0.0)
    assert seen == {1, 2}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_is_a_training_step(precision):
    task = build(toy.option("task", "classification"), card=CARD)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 36, 2))
    x, truth = torch.rand(16, 1, 8, 8), torch.arange(16) % 2
    step = stepper(network, x, truth, task=task, recipe=RECIPE, setting=Setting(precision, True, 1))
    before = task.losses(network(x), truth).mean().item()
    for _ in range(30):
        step()
    assert task.losses(network(x), truth).mean().item() < before
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PersonError, match=r"no dvc.yaml"):
        command.main([])
    monkeypatch.chdir(toy.PROJECT)
    monkeypatch.setattr(command, "Path", type("Elsewhere", (), {"cwd": staticmethod(lambda: tmp_path)}))
    (tmp_path / "conf").symlink_to(toy.PROJECT / "conf")
    (tmp_path / "dvc.yaml").symlink_to(toy.PROJECT / "dvc.yaml")
    (tmp_path / "params.yaml").write_text("experiment: digits\noverrides: []\nsource: data/raw\n")
    with pytest.raises(PersonError, match=r"data/ingest is not there.*dvc repro split embed"):
        command.main(["train.batch_size=32"])
