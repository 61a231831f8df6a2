"""Acceptance: our bounds on dense networks beside those of another implementation, and beside the exact ones.

    python -m benchmarks.bound_judges

- bound-propagation (0.4.7; GPL-3.0, so it is no dependency: `pip install --no-deps --target FOLDER bound-propagation` and
  PYTHONPATH=FOLDER): interval and CROWN bounds of perceptrons with ReLU, tanh and sigmoid, in float64 and exact arithmetic. The
  largest difference must stay below 1e-4. Left out where the package is not there, which is said.
- mixed-integer programming (scipy's HiGHS): small ReLU perceptrons; no bound may lie beyond the exact one.
"""

import importlib.util
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from pipeline.verification.backward import Effort, relax
from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box, propagate
from pipeline.verifier.alpha_crown import AlphaCrown
from pipeline.verifier.crown import Crown
from pipeline.verifier.interval import Interval
from tests.bounding import around, dense, exact_lower, graph_of

SIZES, RADII, SEEDS, IMAGES = (16, 30, 30, 20, 4), (0.01, 0.05, 0.2), (0, 1, 2), 8
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
MUST = 1e-4


def theirs(model: nn.Sequential, box: Box) -> dict[str, Box]:
    """Their bounds of all outputs."""
    import bound_propagation as judge

    bounded: Any = judge.BoundModelFactory(adaptive_relu=True).build(model[1:])  # slopes of 0 or 1, as in the paper
    region = judge.HyperRectangle(box.low.flatten(1), box.high.flatten(1))
    with torch.no_grad():
        interval, crown = bounded.ibp(region), bounded.crown(region).concretize()
    return {"interval": Box(interval.lower, interval.upper), "crown": Box(crown.lower, crown.upper)}


def ours(graph: Graph, box: Box) -> dict[str, Box]:
    """Ours, in exact arithmetic and with the last bounds as each method alone gives them."""
    with torch.no_grad():
        relaxed = relax(graph, box, unit=0.0, effort=Effort(neurons=10**9))
        interval = propagate(graph, box)[graph.output.name]
        unit_BKK = torch.eye(interval.low.shape[1], dtype=torch.float64).expand(len(box.low), -1, -1)
        low_BK, high_BK = (sign * relaxed.lower(sign * unit_BKK, graph.output.name) for sign in (1, -1))
    return {"interval": interval, "crown": Box(low_BK, high_BK)}


def judged() -> bool:
    """Whether both implementations give the same numbers."""
    if importlib.util.find_spec("bound_propagation") is None:
        print("bound-propagation is not installed: not compared")
        return True
    reached = True
    for name, kind in ACTIVATIONS.items():
        worst = {"interval": 0.0, "crown": 0.0}
        for seed in SEEDS:
            model = dense(*SIZES, seed=seed, activation=kind).double()
            x_BCHW = torch.rand((IMAGES, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
            for eps in RADII:
                box = around(x_BCHW, eps)
                found, expected = ours(graph_of(model), box), theirs(model, box)
                for method, gap in worst.items():
                    gaps: list[Tensor] = [(found[method][end] - expected[method][end]).abs().max() for end in (0, 1)]
                    worst[method] = max(gap, *(float(one) for one in gaps))
        print(f"{name:8s} largest difference: interval {worst['interval']:.0e}, CROWN {worst['crown']:.0e} (must {MUST})")
        reached &= max(worst.values()) < MUST
    return reached


def exact() -> bool:
    """Whether every bound holds the exact one, and how near it comes."""
    verifiers = {"interval": Interval(), "crown": Crown(), "alpha_crown": AlphaCrown()}
    gaps: dict[str, list[float]] = {name: [] for name in verifiers}
    for seed in range(12):
        model = dense(6, 10, 10, 3, seed=seed)
        box = around(torch.rand((1, 1, 2, 3), generator=torch.Generator().manual_seed(seed)), 0.05 * (1 + seed % 6))
        weights_K = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        least = exact_lower(model, box, weights_K.tolist())
        for name, verifier in verifiers.items():
            gaps[name].append(least - float(verifier.lower(graph_of(model), box, weights_K.reshape(1, 1, -1))))
    for name, found in gaps.items():
        print(f"{name:12s} below the exact bound by {sum(found) / len(found):.4f} on average, {min(found):.1e} at least")
    return min(min(found) for found in gaps.values()) >= -1e-6


def main() -> int:
    """Print the figures; 1 where a bound is wrong."""
    return 0 if judged() & exact() else 1


if __name__ == "__main__":
    raise SystemExit(main())
