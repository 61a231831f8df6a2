"""Every option of conf/detector is held to the laws of a detector, to pytorch-ood, and to its graph; a new one needs no new test file."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load, save
from torch import nn

from pipeline.core.parts import build, is_off
from pipeline.outlier.measure import separation
from pipeline.outlier.view import Fitted, Known, Seen

CONF = Path(__file__).resolve().parents[2] / "conf/detector"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
SHAPE = (1, 4, 5)


def drawn(count, seed):
    """Images of three patterns with a little noise, and their classes."""
    patterns = 0.2 + 0.6 * (torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(9)) > 0.5)
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(3, (count,), generator=rng)
    return (patterns[truth] + 0.05 * torch.randn(count, *SHAPE, generator=rng)).clamp(0, 1), truth


def unlike(count):
    """Images between the patterns, noisier than they are."""
    x, _ = drawn(2000, 7)
    rng = torch.Generator().manual_seed(8)
    return (x.mean(0) + 0.12 * torch.randn(count, *SHAPE, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module")
def network():
    """Least squares on one-hot classes, steep enough to be sure of them."""
    x, truth = drawn(600, 1)
    design = torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1)
    solved = torch.linalg.lstsq(design, torch.eye(3)[truth]).solution
    last = nn.Linear(20, 3)
    with torch.no_grad():
        last.weight.copy_(10 * solved[:-1].T)
        last.bias.copy_(10 * solved[-1])
    return nn.Sequential(nn.Flatten(), last).eval().requires_grad_(False)


def seen(network, x):
    features = network[0](x)
    return Seen(network[1](features), features, x, network)


@pytest.fixture(scope="module")
def known(network):
    x, truth = drawn(300, 2)
    found = seen(network, x)
    return Known(found.logits_BK, found.features_BD, truth, network[1].weight, network[1].bias)


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def detector(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package detector.{request.param.stem}\n"), "a listed room needs its package line"
    return build(yaml.safe_load(text))


def part_of(found, rows):
    return Seen(found.logits_BK[rows], found.features_BD[rows], found.x_BCHW[rows], found.network)


def laws(detector, known, network):
    """What every detector promises; one that breaks a promise turns a contract test red."""
    before = known.features_ND.clone()
    fitted = detector.fit(known)
    assert torch.equal(known.features_ND, before), "the fit changed its input"
    near, far = seen(network, drawn(80, 3)[0]), seen(network, unlike(80))
    score, other = fitted.score(near), fitted.score(far)
    assert score.shape == (80,)
    assert bool(torch.isfinite(torch.cat([score, other])).all())
    assert torch.equal(detector.fit(known).score(near), score), "not deterministic"
    spread = float(torch.cat([score, other]).max() - torch.cat([score, other]).min())
    alone = torch.cat([fitted.score(part_of(near, slice(row, row + 1))) for row in range(5)])
    assert float((alone - score[:5]).abs().max()) <= 1e-4 * spread, "the score depends on the rest of the batch"
    area = separation(torch.cat([score, other]).numpy(), np.arange(160) >= 80)["auroc"]
    assert area > 0.95, f"planted outliers do not stand out: AUROC {area:.3f}"
    state = load(save({name: tensor.contiguous() for name, tensor in fitted.state.items()}))
    graph = detector.graph(state)
    if graph is not None:
        for found in (near, far):
            gap = float((graph(found.logits_BK, found.features_BD) - fitted.score(found)).abs().max())
            assert gap <= 1e-4 * spread, f"the graph differs from the library by {gap / spread:.2g} of the spread"


def test_the_laws_hold(detector, known, network):
    laws(detector, known, network)


def test_a_class_that_train_lacks_is_no_trouble(detector, known, network):
    rows = known.truth_N != 1
    fewer = replace(known, logits_NK=known.logits_NK[rows], features_ND=known.features_ND[rows], truth_N=known.truth_N[rows])
    assert bool(torch.isfinite(detector.fit(fewer).score(seen(network, drawn(9, 4)[0]))).all())


class Planted:
    """The energy with a fault."""

    needs = ("classes",)

    def __init__(self, fault):
        self.fault = fault

    def fit(self, known):
        if self.fault == "changed its input":
            known.features_ND.add_(1)

        def score(found):
            energy = -found.logits_BK.logsumexp(1)
            if self.fault == "do not stand out":
                return -energy
            return energy - energy.mean() if self.fault == "rest of the batch" else energy

        return Fitted(score, {})

    def graph(self, state):
        class Graph(nn.Module):
            def forward(self, logits, features):
                return -logits.amax(1)

        return Graph()


@pytest.mark.parametrize("fault", ["changed its input", "do not stand out", "rest of the batch", "graph differs"])
def test_a_planted_fault_turns_the_laws_red(fault, known, network):
    copied = replace(known, features_ND=known.features_ND.clone())
    with pytest.raises(AssertionError, match=fault):
        laws(Planted(fault), copied, network)


@pytest.mark.parametrize("decimals", [1, 6])
def test_auroc_and_fpr95_are_those_of_pytorch_ood(decimals):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from pytorch_ood.metrics import AUROC, FPRAtTPR
    rng = np.random.default_rng(0)
    for shift in (-0.5, 0.0, 0.7, 3.0):
        score = np.concatenate([rng.normal(size=150), rng.normal(shift, 2, size=90)]).round(decimals)  # with ties, and without
        unknown = np.arange(240) >= 150
        ours, labels = separation(score, unknown), torch.where(torch.from_numpy(unknown), -1, 0)
        for theirs, name, key in ((AUROC(), "auroc", "AUROC"), (FPRAtTPR(0.95), "fpr95", "FPR95TPR")):
            assert ours[name] == pytest.approx(theirs.update(torch.from_numpy(score), labels).compute()[key], abs=1e-12)
