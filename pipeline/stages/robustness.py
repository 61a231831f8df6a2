"""What is left of the model's metrics when images are corrupted, and when an adversary changes them.

B batch, C channels, H height, W width, K outputs, N samples.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core import pictures, trials
from pipeline.core.artifact import read_json, write_json
from pipeline.core.corruptions import check_names, corrupt
from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.core.table import write_csv
from pipeline.core.trials import Trial
from pipeline.training.predict import BATCH, GRADIENT_BATCH, predict, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DPI = 110
ROUNDING = 1e-6  # of a pixel in [0, 1], float32
SHOWN = 6  # adversarial examples on the sheet
LEVELS = {"corruptions": "severity (0 = clean)", "attacks": "radius in grey levels of 255 (0 = clean)"}


@dataclass(frozen=True)
class Setting:
    """What every measurement of a run shares."""

    task: Any
    model: nn.Module
    seed: int

    def metrics(self, prediction_NK: NDArray[np.float32], subset: Subset) -> dict[str, float]:
        """The task's metrics of these predictions."""
        found: dict[str, float] = self.task.metrics(prediction_NK, subset.truth, subset.weight)
        return found


@dataclass(frozen=True)
class Attacked:
    """Samples under attack.

    Attributes:
        x_NCHW: pixels in [0, 1].
        truth_N: their truths.
        prediction_NK: decoded.
        loss_N: of each sample.
    """

    x_NCHW: Tensor
    truth_N: Tensor
    prediction_NK: NDArray[np.float32]
    loss_N: Tensor


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Disturb test samples in every configured way and measure.

    Raises:
        PersonError: an unknown corruption, or a model that gradient attacks cannot differentiate.
        RuntimeError: an attack broke its promise (outside its radius, out of range, or a loss that fell).
    """
    options = cfg["robustness"]
    check_names(options["corruptions"])
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    setting = Setting(task, load_model(train).requires_grad_(requires_grad=False), int(cfg["seed"]))
    test = read_subset(task, ingest, split, ["test"])
    if not len(test):
        raise PersonError("the test split is empty: set a larger test share")
    subset = test.spread(int(options["count"]), setting.seed, "robustness")
    attacked = subset.spread(int(options["attacked"]), setting.seed, "attack")
    clean = predict(setting.model, task, subset.pixels(), total=len(subset), what="clean images")
    first = Trial("clean", 0, setting.metrics(clean, subset))
    corrupted = [first, *_corrupted(setting, subset, options["corruptions"], sorted(set(options["severities"])))]
    attacks = _attacked(setting, attacked, cfg["attack"] or {}, out)
    constant = np.repeat(clean.mean(axis=0, keepdims=True), len(subset), axis=0)
    chance = setting.metrics(constant, subset)
    _write(task, corrupted, attacks, out)
    return write_section(out, _section(task, corrupted, attacks, chance=chance, counts=(len(subset), len(attacked), len(test))))


def _corrupted(setting: Setting, subset: Subset, names: list[str], severities: list[int]) -> list[Trial]:
    cells = [(name, severity) for name in names for severity in severities]
    found = []
    for name, severity in track(cells, what="corruptions", total=len(cells)):
        pairs = zip(subset.pixels(), subset.ids, strict=True)
        images = (corrupt(pixels, name, severity, seed=setting.seed, identity=identity) for pixels, identity in pairs)
        prediction = predict(setting.model, setting.task, images, total=len(subset))
        found.append(Trial(name, severity, setting.metrics(prediction, subset)))
    return found


def _attacked(setting: Setting, subset: Subset, nodes: dict[str, Any], out: Path) -> list[Trial]:
    """Every attack at each of its radii; the sheet shows the last attack at the radius nearest to its eps."""
    nodes = {name: node for name, node in nodes.items() if not is_off(node)}
    clean = _measure(setting, to_batch(list(subset.pixels())), torch.as_tensor(subset.truth))
    found = [Trial("clean", 0, setting.metrics(clean.prediction_NK, subset), float(clean.loss_N.mean()))]
    cells = [(name, float(multiple)) for name, node in nodes.items() for multiple in build(node).radii]
    shown: tuple[float, Attacked] | None = None
    for name, multiple in track(cells, what="attacks", total=len(cells)):
        attack = build({**nodes[name], "eps": float(nodes[name]["eps"]) * multiple})
        after = _measure(setting, _climb(setting, attack, clean, name=name), clean.truth_N)
        check_promises(clean, after, attack.eps)
        found.append(Trial(name, attack.eps, setting.metrics(after.prediction_NK, subset), float(after.loss_N.mean())))
        if shown is None or name != found[-2].name or abs(multiple - 1) < shown[0]:
            shown = abs(multiple - 1), after
    if shown is None:
        pictures.placard("nothing was tried", out / "adversarial.png")
    else:
        _sheet(setting.task, clean, shown[1], out / "adversarial.png")
    return found


def _climb(setting: Setting, attack: Any, clean: Attacked, *, name: str) -> Tensor:
    """Adversarial images (N, C, H, W)."""
    parts = []
    for start in range(0, len(clean.x_NCHW), GRADIENT_BATCH):
        truth_B = clean.truth_N[start : start + GRADIENT_BATCH]
        rng = torch.Generator().manual_seed(seed(setting.seed, "attack", name, start))

        def loss_of(x_BCHW: Tensor, truth_B: Tensor = truth_B) -> Tensor:
            losses_B: Tensor = setting.task.losses(setting.model(x_BCHW), truth_B)
            return losses_B

        parts.append(attack(loss_of, clean.x_NCHW[start : start + GRADIENT_BATCH], rng))
    return torch.cat(parts)


def _measure(setting: Setting, x_NCHW: Tensor, truth_N: Tensor) -> Attacked:
    with torch.no_grad():
        output_NK = torch.cat([setting.model(x_NCHW[start : start + BATCH]) for start in range(0, len(x_NCHW), BATCH)])
        return Attacked(x_NCHW, truth_N, setting.task.decode(output_NK).float().numpy(), setting.task.losses(output_NK, truth_N))


def check_promises(clean: Attacked, after: Attacked, eps: float) -> None:
    """Hold an attack to its promises; when it does not keep them our own code is broken.

    Raises:
        RuntimeError: a pixel moved further than eps or left [0, 1], or the loss of a sample fell.
    """
    moved = float((after.x_NCHW - clean.x_NCHW).abs().max())
    low, high = float(after.x_NCHW.min()), float(after.x_NCHW.max())
    fallen = int((after.loss_N < clean.loss_N - 1e-5 * (1 + clean.loss_N.abs())).sum())
    if not moved <= eps + ROUNDING:
        raise RuntimeError(f"an attack of radius {eps:.5f} moved a pixel by {moved:.5f}")
    if low < 0 or high > 1:
        raise RuntimeError(f"an attack left the range [0, 1] of pixels: {low:.5f} to {high:.5f}")
    if fallen or not bool(torch.isfinite(after.loss_N).all()):
        raise RuntimeError(f"an attack lowered the loss of {fallen} of {len(clean.loss_N)} samples, or made it not finite")


def _sheet(task: Any, clean: Attacked, after: Attacked, path: Path) -> None:
    """The samples whose prediction moved most: image, adversarial image, and the change brought to full contrast."""
    rows = np.argsort(-np.abs(after.prediction_NK - clean.prediction_NK).max(axis=1), kind="stable")[:SHOWN]
    images: list[NDArray[np.float32]] = []
    titles = []
    for row in rows:
        before_HWC, after_HWC = (part.x_NCHW[row].permute(1, 2, 0).numpy() for part in (clean, after))
        change_HWC = after_HWC - before_HWC
        scale = max(float(np.abs(change_HWC).max()), 1e-9)
        images += [before_HWC, after_HWC, 0.5 + change_HWC / (2 * scale)]
        titles.append(f"true: {task.truth_text(clean.truth_N[row].item())}\nsays: {task.text(clean.prediction_NK[row])}")
        titles.append(f"attacked\nsays: {task.text(after.prediction_NK[row])}")
        titles.append(f"the change,\n{0.5 / scale:.0f} times larger")
    pictures.sheet(images, titles, path, columns=6, dpi=DPI)


def _write(task: Any, corrupted: list[Trial], attacks: list[Trial], out: Path) -> None:
    """Tables, curves and the flat `metrics.json` that DVC compares."""
    metrics = list(corrupted[0].metrics)
    rows = [[t.name, int(t.level), *trials.cells(t, metrics)] for t in corrupted]
    write_csv(out / "corruptions.csv", ["corruption", "severity", *metrics], rows)
    lines = [[t.name, round(t.level, 8), round(255 * t.level, 4), t.loss, *trials.cells(t, metrics)] for t in attacks]
    write_csv(out / "attacks.csv", ["attack", "eps", "eps_255", "mean_loss", *metrics], lines)
    label = task.meanings[task.headline][0]
    trials.draw(corrupted, task.headline, out / "corruptions.png", label=label, axis=LEVELS["corruptions"])
    trials.draw(attacks, task.headline, out / "attacks.png", label=label, axis=LEVELS["attacks"], scale=255)
    write_json(out / "metrics.json", trials.flat_metrics(task.headline, corrupted, attacks))


def _section(
    task: Any, corrupted: list[Trial], attacks: list[Trial], *, chance: dict[str, float], counts: tuple[int, int, int]
) -> Section:
    headline, label = task.headline, task.meanings[task.headline][0]
    said = [f"{label} {corrupted[0].metrics[headline]:.3f} clean"]
    warnings, tables, shown = [], [], []
    if not math.isfinite(corrupted[0].metrics[headline]):
        warnings.append(
            f"{label} is undefined on these {counts[0]} samples: raise robustness.count or choose another task.headline."
        )
    for series, kind in ((corrupted, "corruption"), (attacks, "attack")):
        lost = trials.collapsed(series, headline, chance)
        if lost:
            warnings.append(f"More than half of the model's skill is lost under {kind}, at some strength: {', '.join(lost)}.")
    if len(corrupted) > 1:
        said.append(f"{trials.mean(corrupted[1:], headline):.3f} on average over {len(corrupted) - 1} corruptions")
        tables.append(_corruption_table(label, headline, corrupted, count=counts[0]))
        shown.append(Picture("corruptions.png", f"{label} as corruptions grow (Hendrycks and Dietterich 2019)."))
    if len(attacks) > 1:
        last = attacks[-1]
        said.append(f"{last.metrics[headline]:.3f} under {last.name} of {255 * last.level:.2g}/255")
        tables.append(_attack_table(label, headline, attacks, count=counts[1]))
        shown.append(Picture("attacks.png", f"{label} as an adversary may change each pixel further (L-infinity)."))
        shown.append(Picture("adversarial.png", "Attacked images whose prediction moved most, and the change, amplified."))
    text = [f"Samples are drawn evenly over the truth from the {counts[2]} of the test split."]
    return Section("Robustness", ", ".join(said), text=text, warnings=warnings, tables=tables, pictures=shown)


def _corruption_table(label: str, headline: str, corrupted: list[Trial], *, count: int) -> Table:
    columns = ["corruption", "clean", *(str(level) for level in sorted({int(trial.level) for trial in corrupted[1:]}))]
    found = {name: [trial for trial in corrupted if trial.name == name] for name in trials.names(corrupted)}
    rows = [
        [name.replace("_", " "), *(trials.finite(trial.metrics[headline]) for trial in [corrupted[0], *series])]
        for name, series in found.items()
    ]
    return Table(f"{label} on {count} test samples under corruption, by severity", columns, rows)


def _attack_table(label: str, headline: str, attacks: list[Trial], *, count: int) -> Table:
    rows = [
        [trial.name, f"{255 * trial.level:.3g} / 255", trials.finite(trial.metrics[headline]), trials.finite(trial.loss)]
        for trial in attacks
    ]
    return Table(f"{label} on {count} test samples under attack", ["attack", "radius", label, "mean loss"], rows)
