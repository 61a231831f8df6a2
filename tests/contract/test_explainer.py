"""Every option of conf/explainer is held to the laws of an explainer; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pipeline.core.parts import build, is_off
from pipeline.explaining.control import randomised, rank_correlation
from pipeline.explaining.faithfulness import curves, gain, rank
from pipeline.explaining.regions import grid

CONF = Path(__file__).resolve().parents[2] / "conf/explainer"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
SIDE, PATCH = 16, 6


class Score:
    """Logit of the second class."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x)[:, 1]


def planted(count, seed=0):
    """Noise in which half of the images hold a checkered patch at a random place; the patch alone tells the class."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0.4, 0.08, (count, 1, SIDE, SIDE)).astype(np.float32)
    places = rng.integers(0, SIDE - PATCH, (count, 2))
    check = np.indices((PATCH, PATCH)).sum(0) % 2 * 0.5
    for number in range(0, count, 2):
        row, column = places[number]
        images[number, 0, row : row + PATCH, column : column + PATCH] = 0.25 + check
    return torch.from_numpy(images.clip(0, 1)), torch.arange(count) % 2 == 0, places


@pytest.fixture(scope="module")
def trained():
    """A small network that finds the patch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    images, has, _ = planted(128, seed=1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), has.long()).backward()
        optimiser.step()
    model.eval()
    model.zero_grad()
    held, truth, _ = planted(64, seed=2)
    assert (model(held).argmax(1) == truth).float().mean() > 0.95, "the toy network must know the cue"
    return model.requires_grad_(False)


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def explainer(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package explainer.{request.param.stem}\n"), "a listed room needs its package line"
    return build(yaml.safe_load(text))


def localised(maps, places):
    """Share of images whose brightest pixel lies on the patch (Zhang et al. 2018, the pointing game)."""
    hits = []
    for map_HW, (row, column) in zip(maps, places, strict=True):
        at = np.unravel_index(int(np.argmax(map_HW)), map_HW.shape)
        hits.append(row - 1 <= at[0] < row + PATCH + 1 and column - 1 <= at[1] < column + PATCH + 1)
    return float(np.mean(hits))


def faithful(explainer, model, x):
    """Area between insertion and deletion of each image, over its standard error: above 2 is better than any order of chance."""
    region = grid(SIDE, SIDE, 8)
    maps = explainer(Score(model), x).numpy()
    rng = np.random.default_rng(0)
    gains = [gain(curves(Score(model), x[i : i + 1], rank(maps[i], region, rng), region, steps=8)) for i in range(len(x))]
    return float(np.mean(gains) / (np.std(gains, ddof=1) / np.sqrt(len(gains))))


def control(explainer, model, x):
    """Mean rank correlation with the maps of three networks of shuffled weights."""
    first = explainer(Score(model), x).numpy()
    others = [randomised(model, x, torch.Generator().manual_seed(number)) for number in range(3)]
    return float(np.mean([rank_correlation(first, explainer(Score(other), x).numpy()) for other in others]))


def test_maps_are_finite_of_the_image_size_and_deterministic(explainer, trained):
    x = planted(5)[0]
    before, state = x.clone(), torch.get_rng_state()
    maps = explainer(Score(trained), x)
    assert maps.shape == (5, SIDE, SIDE)
    assert bool(torch.isfinite(maps).all())
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state), "the global random state was moved"
    assert torch.equal(explainer(Score(trained), x), maps)
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_a_map_does_not_depend_on_the_batch(explainer, trained):
    x = planted(4)[0]
    together, alone = explainer(Score(trained), x), torch.cat([explainer(Score(trained), x[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_planted_cue_is_localised(explainer, trained):
    x, has, places = planted(40, seed=3)
    maps = explainer(Score(trained), x[has]).numpy()
    assert localised(maps, places[has.numpy()]) >= 0.8


def test_what_it_calls_important_moves_the_score(explainer, trained):
    assert faithful(explainer, trained, planted(24, seed=3)[0][::2]) > 2


def test_another_network_gives_another_map(explainer, trained):
    assert control(explainer, trained, planted(24, seed=3)[0][::2]) < 0.5


def edges(score_of, x):
    """A fault: brightness changes of the image itself, whatever the network."""
    return (x - x.mean((2, 3), keepdim=True)).abs().mean(1)


def test_an_explainer_that_ignores_the_network_fails_the_control(trained):
    assert control(edges, trained, planted(24, seed=3)[0][::2]) > 0.99


def noise(score_of, x):
    """A fault: a random map, another one for every image and network."""
    with torch.no_grad():
        key = int(abs(float(score_of(x).sum())) * 1e5)
    return torch.rand(len(x), SIDE, SIDE, generator=torch.Generator().manual_seed(key))


def test_an_explainer_with_a_random_map_fails_localisation_and_faithfulness_and_only_the_control_lets_it_pass(trained):
    x, has, places = planted(40, seed=3)
    assert localised(noise(Score(trained), x[has]).numpy(), places[has.numpy()]) < 0.6
    assert faithful(noise, trained, x[has]) < 2
    assert control(noise, trained, x[has]) < 0.5, "which is why the control alone is not enough"
