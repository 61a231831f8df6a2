"""Our attacks beside independent implementations at equal budget: projected gradient descent and the ensemble.

    python -m benchmarks.attack_judges make FOLDER     # here: trains three small networks, attacks them, judges with foolbox
    python attack_judges.py judge FOLDER               # anywhere with torch and numpy: judges with torchattacks, where it imports

`make` writes networks (state dicts), images, truths and our robust accuracies into FOLDER, so the second command needs
nothing of this project: torchattacks pins packages that do not go with ours and wants an environment of its own. Digits of
scikit-learn, 497 that were not trained on; one network plain, one trained against an adversary, one dense. A judge has
the same radius, steps and step size as ours: `pgd` starts at the image itself, `random` is the mean over five random starts (one
alone differs from the next by up to a point), drawn evenly from the ball as foolbox and ours do; torchattacks' own, in l2, lie
nearer to the image, which is up to 1.9 points stronger there, and it is made to draw as the others. Must: within 0.5 points, for
every network and norm; an ensemble may be stronger than the judge by any amount. Networks that lie in FOLDER are used again.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

NETWORKS, TRAIN, STEPS, BATCH = ("plain", "adversarial", "dense"), 1300, 400, 64
EPS = {"linf": 0.1, "l2": 0.7}
STEP_COUNT, REL_STEP = 40, 0.0625  # 2.5 / steps
MUST = 0.5  # points of robust accuracy
STARTS = {"pgd": 1, "random": 5, "ensemble": 1}  # runs of each kind, whose robust accuracies are averaged
Judge = Callable[[nn.Module, Tensor, Tensor], Tensor]  # attacked images
CARD = {"classes": [str(k) for k in range(10)], "target": None, "name": "digits"}
PROJECT = Path(__file__).resolve().parents[1]


def network(name: str) -> nn.Module:
    """A network for images (B, 1, 8, 8) in [0, 1]; no batch norm, so that every implementation sees the same function."""
    torch.manual_seed(NETWORKS.index(name))
    if name == "dense":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and truths to train on, and 497 held out."""
    from sklearn.datasets import load_digits

    held = load_digits()
    order = np.random.default_rng(0).permutation(len(held.target))
    x_NCHW = torch.from_numpy(np.rint(held.images[order, None] * 255 / 16).astype(np.float32)) / 255
    truth_N = torch.from_numpy(held.target[order].astype(np.int64))
    return x_NCHW[:TRAIN], truth_N[:TRAIN], x_NCHW[TRAIN:], truth_N[TRAIN:]


def toy_task() -> Any:
    """Classification of digits."""
    from pipeline.core.config import compose
    from pipeline.core.parts import build

    return build({**compose(PROJECT / "conf", experiment="digits", overrides=[])["task"], "headline": "accuracy"}, card=CARD)


def trained(name: str) -> nn.Module:
    """Trained by our own learner and recipe; adversarial at the radius of the judgement."""
    from tests.stepping import RECIPE, Stepping, batch_of

    task, (x_NCHW, truth_N, _, _) = toy_task(), digits()
    robust = {"robust": "adversarial", "robust_eps": EPS["linf"], "robust_ramp": 0.25, "attack_steps": 5, "attack_rel_step": 0.4,
              "attack_share": 1.0}  # fmt: skip
    recipe = {**RECIPE, "lr": 3e-3, "max_steps": STEPS, **(robust if name == "adversarial" else {})}
    learner, rng = Stepping(network(name), task=task, recipe=recipe, seed=0), np.random.default_rng(0)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.integers(0, TRAIN, BATCH))
        learner.training_step(batch_of(x_NCHW[rows], truth_N[rows]), 0)
    return learner.model.eval().requires_grad_(requires_grad=False)


def accuracy(model: nn.Module, x_NCHW: Tensor, truth_N: Tensor) -> float:
    """Share that is right."""
    with torch.no_grad():
        return float((model(x_NCHW).argmax(1) == truth_N).float().mean())


def make(folder: Path) -> bool:
    """Train, attack with ours, judge with foolbox; whether all agree."""
    from pipeline.adversarial.victim import Victim
    from pipeline.attack.ensemble import Ensemble
    from pipeline.attack.pgd import Pgd

    folder.mkdir(parents=True, exist_ok=True)
    task, (_, _, x_NCHW, truth_N) = toy_task(), digits()
    found: dict[str, dict[str, float]] = {}
    for name in NETWORKS:
        if not (folder / f"{name}.pt").is_file():
            torch.save(trained(name).state_dict(), folder / f"{name}.pt")
        model = loaded(folder, name)
        found[name] = {"clean": accuracy(model, x_NCHW, truth_N)}
        for norm, eps in EPS.items():
            attacks: dict[str, Any] = {
                kind: Pgd(eps=eps, norm=norm, steps=STEP_COUNT, rel_step=REL_STEP, random_start=kind == "random")
                for kind in ("pgd", "random")
            }
            for kind, attack in {**attacks, "ensemble": Ensemble(eps=eps, norm=norm)}.items():
                victim = Victim(model, task, truth_N)
                runs = [attack(victim, x_NCHW, torch.Generator().manual_seed(seed)) for seed in range(STARTS[kind])]
                found[name][f"{kind} {norm}"] = statistics.mean(accuracy(model, images, truth_N) for images in runs)
    np.savez(folder / "digits.npz", x=x_NCHW.numpy(), truth=truth_N.numpy())
    (folder / "ours.json").write_text(json.dumps(found, indent=1))
    return judged(folder, "foolbox", foolbox_judge())


def loaded(folder: Path, name: str) -> nn.Module:
    """A network of the folder."""
    model = network(name)
    model.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return model.eval().requires_grad_(requires_grad=False)


def foolbox_judge() -> dict[str, Judge]:
    """Foolbox's own loop, criterion and loss, without our closures."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import foolbox

    def attack(norm: str, *, start: bool) -> Judge:
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]

        def run(model: nn.Module, x_NCHW: Tensor, truth_N: Tensor) -> Tensor:
            made = kind(rel_stepsize=REL_STEP, steps=STEP_COUNT, random_start=start)
            found: Tensor = made(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x_NCHW, truth_N, epsilons=EPS[norm])[1]
            return found

        return run

    return {f"{kind} {norm}": attack(norm, start=kind == "random") for kind in ("pgd", "random") for norm in EPS}


def torchattacks_judge() -> dict[str, Judge]:
    """PGD, PGDL2 and AutoAttack of torchattacks."""
    import torchattacks

    def run(make_attack: Callable[[nn.Module], Any]) -> Judge:
        def attack(model: nn.Module, x_NCHW: Tensor, truth_N: Tensor) -> Tensor:
            found: Tensor = make_attack(model)(x_NCHW, truth_N)
            return found

        return attack

    def pgd(norm: str, *, start: bool) -> Judge:
        kind = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[norm]
        made = run(lambda model: kind(model, eps=EPS[norm], alpha=REL_STEP * EPS[norm], steps=STEP_COUNT, random_start=start))
        return evenly(made) if norm == "l2" else made

    def evenly(attack: Judge) -> Judge:
        """Its distance from the image is uniform in [0, 1]; to that power the starts fill the ball evenly."""
        plain = Tensor.uniform_

        def changed(model: nn.Module, x_NCHW: Tensor, truth_N: Tensor) -> Tensor:
            with patch.object(Tensor, "uniform_", lambda one, *ends: plain(one, *ends).pow_(1 / x_NCHW[0].numel())):
                return attack(model, x_NCHW, truth_N)

        return changed

    eps, length = EPS["linf"], EPS["l2"]
    return {
        **{f"{kind} {norm}": pgd(norm, start=kind == "random") for kind in ("pgd", "random") for norm in EPS},
        "ensemble linf": run(lambda model: torchattacks.AutoAttack(model, norm="Linf", eps=eps, n_classes=10, seed=0)),
        "ensemble l2": run(lambda model: torchattacks.AutoAttack(model, norm="L2", eps=length, n_classes=10, seed=0)),
    }


def judged(folder: Path, who: str, judges: dict[str, Judge]) -> bool:
    """Print each attack's robust accuracy beside a judge's; whether all lie within the limit."""
    ours = json.loads((folder / "ours.json").read_text())
    with np.load(folder / "digits.npz") as held:
        x_NCHW, truth_N = torch.from_numpy(held["x"]), torch.from_numpy(held["truth"])
    good = True
    for name in NETWORKS:
        model = loaded(folder, name)
        for kind, judge in judges.items():
            torch.manual_seed(0)
            runs = [judge(model, x_NCHW, truth_N) for _ in range(STARTS[kind.split()[0]])]
            theirs = statistics.mean(accuracy(model, images, truth_N) for images in runs)
            gap = 100 * (ours[name][kind] - theirs)
            gap = gap if kind.startswith("ensemble") else abs(gap)
            good &= gap <= MUST
            print(f"{name:12s} {kind:14s} clean {ours[name]['clean']:.3f}  ours {ours[name][kind]:.4f}  {who} {theirs:.4f}  "
                  f"{gap:.2f} points {'ok' if gap <= MUST else 'MISSED'}", flush=True)  # fmt: skip
    return good


def main() -> int:
    """Run one half; 1 where a judge disagrees."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["make", "judge"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    good = make(options.folder) if options.what == "make" else judged(options.folder, "torchattacks", torchattacks_judge())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
