"""Every option of conf/task is held to the laws of a task; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build

CONF = Path(__file__).resolve().parents[2] / "conf/task"
OPTIONS = sorted(CONF.glob("*.yaml"))
CARD = {"name": "toy", "classes": ["a", "b", "c"], "target": {"name": "wear", "unit": "mm", "low": -2.0, "high": 6.0}}
WORST = {"ece": 0.0, "mae": 0.0, "rmse": 0.0}  # metrics that are errors; the others are perfect at one


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def task(request):
    return build(yaml.safe_load(request.param.read_text()), card=CARD)


@pytest.fixture
def toy(task):
    return task.toy(24, np.random.default_rng(0))


def test_the_loss_is_finite_and_falls_on_eight_toy_samples(task):
    _, truth = task.toy(8, np.random.default_rng(0))
    truth_B = torch.from_numpy(truth)
    output_BK = torch.zeros(8, task.outputs(), requires_grad=True)
    optimiser = torch.optim.SGD([output_BK], lr=0.5)
    losses = []
    for _ in range(50):
        loss_B = task.losses(output_BK, truth_B)
        assert loss_B.shape == (8,)
        assert torch.isfinite(loss_B).all()
        losses.append(float(loss_B.mean().detach()))
        optimiser.zero_grad()
        loss_B.sum().backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_of_a_sample_depends_on_that_sample_alone(task):
    _, truth = task.toy(6, np.random.default_rng(0))
    output_BK = torch.randn(6, task.outputs(), generator=torch.Generator().manual_seed(0))
    together = task.losses(output_BK, torch.from_numpy(truth))
    alone = torch.cat([task.losses(output_BK[[n]], torch.from_numpy(truth[[n]])) for n in range(6)])
    torch.testing.assert_close(together, alone)


def test_a_perfect_prediction_scores_perfectly(task, toy):
    prediction, truth = toy
    found = task.metrics(prediction, truth, np.ones(len(truth)))
    assert found == pytest.approx({name: WORST.get(name, 1.0) for name in found}, abs=1e-6)
    assert (task.errors(prediction, truth) <= 1e-6).all()


def test_a_worse_prediction_scores_worse(task, toy):
    prediction, truth = toy
    weight = np.ones(len(truth))
    sign = 1 if task.higher_is_better else -1
    perfect = sign * task.metrics(prediction, truth, weight)[task.headline]
    rolled = np.roll(prediction, 1, axis=0)
    assert sign * task.metrics(rolled, truth, weight)[task.headline] < perfect
    assert task.errors(rolled, truth).max() > 0


def test_every_metric_is_explained_and_the_headline_is_one_of_them(task, toy):
    prediction, truth = toy
    found = task.metrics(prediction, truth, np.ones(len(truth)))
    assert set(found) == set(task.meanings)
    assert task.headline in found
    assert all(label and meaning for label, meaning in task.meanings.values())


def test_decoded_outputs_have_the_columns_and_are_finite(task):
    output_BK = 30 * torch.randn(5, task.outputs(), generator=torch.Generator().manual_seed(1))
    decoded = task.decode(output_BK)
    assert decoded.shape == (5, len(task.columns))
    assert torch.isfinite(decoded).all()
    bounded = task.bound(decoded.numpy())
    np.testing.assert_allclose(bounded, decoded.numpy(), rtol=1e-6)


def test_the_score_is_differentiable_and_one_number_a_sample(task):
    output_BK = torch.randn(4, task.outputs(), requires_grad=True)
    score_B = task.score(output_BK)
    assert score_B.shape == (4,)
    score_B.sum().backward()
    assert (output_BK.grad.abs().sum(dim=1) > 0).all()


def test_words_and_bins_are_text_and_agree_for_a_perfect_prediction(task, toy):
    prediction, truth = toy
    assert all(task.text(row).strip() and task.truth_text(value).strip() for row, value in zip(prediction, truth, strict=True))
    actual, predicted = task.bins(prediction, truth)
    assert actual == predicted
    assert all(isinstance(name, str) for name in actual)


def test_pictures_exist_have_captions_and_are_the_same_twice(task, toy, tmp_path):
    prediction, truth = toy
    bytes_of = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shown = task.pictures(np.roll(prediction, 1, axis=0), truth, tmp_path / name, 60)
        assert len(shown) >= 3
        assert all(picture.caption for picture in shown)
        bytes_of.append([(tmp_path / name / picture.file).read_bytes() for picture in shown])
    assert bytes_of[0] == bytes_of[1]


def test_data_without_what_it_needs_are_refused_with_a_remedy(task):
    config = yaml.safe_load((CONF / f"{task.name}.yaml").read_text())
    bare = build(config, card={"name": "bare", "classes": [], "target": None})
    with pytest.raises(PersonError, match=f"task={task.name} needs .*'bare'"):
        bare.check()
    with pytest.raises(PersonError):
        bare.outputs()
