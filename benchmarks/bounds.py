"""Goal 11, bounds: what interval propagation costs beside a forward pass, and what training for proofs gains.

    python -m benchmarks.bounds [cost | digits | residual]

- cost: CPU time of interval bounds of a batch over that of the network's own forward pass, in the arithmetic of training
  (float32), one thread, interleaved, median; must 3.2, stretch 2.5. And a step of `train=ibp` over one of `train=default`.
- digits: handwritten digits (scikit-learn, 1200 to train and 597 held out), a perceptron, recipes default, ibp and crown_ibp,
  three seeds; residual: the same with the residual network of `experiment=digits`, which takes minutes:
  clean accuracy, accuracy under projected gradient descent, and certified accuracy by each verifier (the slower ones on the first
  100) at a radius of 0.05 (must: certified 0.55 or more at a clean accuracy of 0.85 or more for ibp, mean of the seeds).
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.recipes import CARD, TRAIN, Held, digits, ours
from pipeline.core.config import compose
from pipeline.core.parts import build
from pipeline.training.certified import Certified
from pipeline.training.fit import quiet
from pipeline.training.hardening import Plain
from pipeline.training.inputs import to_tensors
from pipeline.verification.graph import Graph
from pipeline.verification.intervals import ball, propagate
from pipeline.verification.margins import margin_bounds
from pipeline.verification.tracing import from_module

RADIUS, SEEDS, ROUNDS = 0.05, (0, 1, 2), 15
STEPS, RATE = 600, 5e-3
MUST_COST, MUST_CERTIFIED, MUST_CLEAN = 3.2, 0.55, 0.85
SHOWN = 100  # held-out images for the slower verifiers
VERIFIERS = ("interval", "crown", "alpha_crown")


def plain() -> nn.Module:
    """The network of Gowal et al., table 2, small, at a width of 32: convolutions and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 15 * 15, 100),
        nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def residual() -> nn.Module:
    """The house's residual network."""
    node = compose(Path("conf"), experiment="digits", overrides=["model=resnet"])["model"]
    facts = {"channels": 3, "height": 32, "width_pixels": 32, "outputs": 10, "mean": [0.5] * 3, "std": [0.25] * 3}
    network: nn.Module = build(node, **facts)
    return network


def ratio(first: Callable[[], object], second: Callable[[], object]) -> float:
    """Median CPU time of the second over that of the first, taken in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 2):
        for place, call in enumerate((first, second)):
            began = time.process_time()
            call()
            if number >= 2:
                seconds[place].append(time.process_time() - began)
    return statistics.median(seconds[1]) / statistics.median(seconds[0])


def cost() -> bool:
    """Whether intervals are cheap enough on both networks."""
    found = []
    for name, network in (("convolutions", plain()), ("residual network", residual())):
        factor, whole = costs(network)
        print(f"{name}: intervals {factor:.2f} passes (must {MUST_COST}); a training step {whole:.2f} plain ones", flush=True)
        found.append(factor)
    return max(found) <= MUST_COST


def costs(network: nn.Module) -> tuple[float, float]:
    """Of intervals over a forward pass, and of a training step with them over one without."""
    task = build(compose(Path("conf"), experiment="digits", overrides=[])["task"], card=CARD)
    x_BCHW, truth_B = torch.rand(32, 3, 32, 32), torch.arange(32) % 10
    graph, box = from_module(network, x_BCHW[:2], live=True), ball(x_BCHW, RADIUS)
    network.eval()
    with torch.no_grad():
        factor = ratio(lambda: network(x_BCHW), lambda: propagate(graph, box, keep=(graph.output.name,)))
    network.train()
    certified = Certified(task, lambda _: RADIUS, final=RADIUS, share=0.5, crown=False)

    def step(hardener: Any) -> None:
        hardener(network, x_BCHW, lambda losses: losses(truth_B), (0, 0, 0)).mean().backward()

    return factor, ratio(lambda: step(Plain(task)), lambda: step(certified))


def trained(held: Held, model: str, recipe: str, seed: int) -> nn.Module:
    """A network after a recipe; the same steps for all."""
    chosen = [f"model={model}", "model.dropout=0", f"train={recipe}", f"train.max_steps={STEPS}", f"train.lr={RATE}"]
    cfg = compose(Path("conf"), experiment="digits", overrides=chosen)
    images = held.images_NHWC[:TRAIN] / 255
    statistics_of = {"mean": [float(images.mean())], "std": [float(images.std())]}
    facts = {"channels": 1, "height": 8, "width_pixels": 8, "outputs": 10, **statistics_of}
    torch.manual_seed(seed)
    network: nn.Module = build(cfg["model"], **facts)
    ours(network, held, cfg["train"], seed)
    return network.eval()


def certified(graph: Graph, x_NCHW: Tensor, truth_N: Tensor, name: str) -> float:
    """Share of images that the verifier proves to keep their class within the radius."""
    cfg = compose(Path("conf"), experiment="digits", overrides=["verifier=[interval,crown,alpha_crown]"])
    count = len(x_NCHW) if name == "interval" else SHOWN
    verifier = build(cfg["verifier"][name])
    margins = [
        margin_bounds(verifier, graph, x_NCHW[start : start + 20], eps=RADIUS, truth_B=truth_N[start : start + 20]).amin(1)
        for start in range(0, count, 20)
    ]
    return float((torch.cat(margins) > 0).double().mean())


def attacked(network: nn.Module, x_NCHW: Tensor, truth_N: Tensor) -> float:
    """Accuracy under 20 steps of projected gradient descent."""
    cfg = compose(Path("conf"), experiment="digits", overrides=[])
    attack = build({**cfg["attack"]["pgd"], "eps": RADIUS, "steps": 20})
    rng = torch.Generator().manual_seed(0)
    found = attack(lambda x_BCHW: nn.functional.cross_entropy(network(x_BCHW), truth_N, reduction="none"), x_NCHW, rng)
    with torch.no_grad():
        return float((network(found).argmax(1) == truth_N).double().mean())


def table(model: str) -> bool:
    """Whether what is trained for proofs has them."""
    held = digits(1)
    x_NCHW, truth_N = to_tensors(held.images_NHWC[TRAIN:]), torch.from_numpy(held.truth_N[TRAIN:])
    reached = True
    print("network       recipe      clean  PGD    " + "  ".join(f"{name:11s}" for name in VERIFIERS))
    for recipe in ("default", "ibp", "crown_ibp"):
        rows = []
        for seed in SEEDS:
            network = trained(held, model, recipe, seed)
            graph = from_module(network, x_NCHW[:2])
            row = [held.accuracy(network), attacked(network, x_NCHW, truth_N)]
            rows.append(row + [certified(graph, x_NCHW, truth_N, name) for name in VERIFIERS])
        mean = np.mean(rows, axis=0)
        cells = "  ".join(f"{value:<11.3f}" for value in mean[2:])
        print(f"{model:13s} {recipe:11s} {mean[0]:.3f}  {mean[1]:.3f}  {cells}", flush=True)
        if recipe == "ibp":
            reached = bool(mean[0] >= MUST_CLEAN and mean[2] >= MUST_CERTIFIED)
    return reached


def main() -> int:
    """Print the figures; 1 where a required one is missed."""
    quiet()
    chosen = sys.argv[1:] or ["cost", "digits"]
    modes = {"cost": cost, "digits": partial(table, "mlp"), "residual": partial(table, "resnet_small")}
    reached = [modes[name]() for name in chosen]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
