"""What is published of a campaign of attacks: tables, curves, sheets, and the attacked images themselves.

N samples, A attacks, C channels, H height, W width, K columns of a decoded prediction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.adversarial.campaign import Assault, Campaign
from pipeline.core import pictures
from pipeline.core.section import Cell, Picture, Table
from pipeline.core.table import write_csv

DPI = 110
SHOWN = 2  # samples of each attack on the sheet
AXES = {"linf": "largest change of a pixel, grey levels of 255", "l2": "Euclidean length of all changes, pixels in [0, 1]"}
Interval = Callable[[NDArray[np.float32]], tuple[float, float] | None]  # of the headline metric, from predictions (N, K)
Share = Callable[[NDArray[np.bool_]], tuple[float, float] | None]  # of the share that is right, from each sample's (N,)


@dataclass(frozen=True)
class Pages:
    """An attack's part of a section; see `pipeline.core.section.Section`."""

    said: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def publish(campaign: Campaign, out: Path, *, interval_of: Interval | None = None) -> None:
    """Write `attacks.csv`, `attacks.png`, `adversarial.png` and `adversarial.npz`; all of them also where nothing was attacked.

    Args:
        campaign: the assaults.
        out: folder of the artifact.
        interval_of: interval of the headline metric; None draws none.
    """
    clean, names = campaign.clean, list(campaign.metrics)
    rows = [["clean", "", 0.0, 0.0, _finite(float(clean.loss_N.mean())), 0.0, None, None, *_cells(campaign.metrics, names)]]
    rows += [
        [one.name, one.norm, round(one.eps, 8), round(255 * one.eps, 4), _finite(float(one.after.loss_N.mean())),
         round(one.passes, 2), one.fooled, one.reached, *_cells(one.metrics, names)]
        for one in campaign.assaults
    ]  # fmt: skip
    heads = ["attack", "norm", "eps", "eps_255", "mean_loss", "passes", "fooled", "reached"]
    write_csv(out / "attacks.csv", [*heads, *names], rows)
    _curves(campaign, out / "attacks.png", interval_of)
    _sheet(campaign, out / "adversarial.png")
    _images(campaign, out / "adversarial.npz")


def flat_metrics(
    campaign: Campaign, *, interval_of: Interval | None = None, share_of: Share | None = None
) -> dict[str, float | dict[str, float]]:  # fmt: skip
    """Name -> number: the headline under each attack at each radius, and the share that is right under all of a ball's attacks.

    A radius of linf stands in a name as grey levels of 255 (`pgd_2_auroc`, `robust_accuracy_2`), one of l2 as `l2_0.5`. A number
    whose interval is known is `{value, low, high}`.
    """
    headline = campaign.prey.task.headline
    found: dict[str, float | dict[str, float]] = {}
    for one in campaign.assaults:
        if math.isfinite(one.metrics[headline]):
            interval = interval_of(one.after.prediction_NK) if interval_of else None
            found[f"{one.name}_{_short(one.norm, one.eps)}_{headline}"] = _between(one.metrics[headline], interval)
    if campaign.prey.task.categories:
        for norm, eps in campaign.balls():
            standing_N = campaign.standing(norm, eps)
            interval = share_of(standing_N.numpy()) if share_of else None
            found[f"robust_accuracy_{_short(norm, eps)}"] = _between(float(standing_N.float().mean()), interval)
    return found


def pages(campaign: Campaign, *, interval_of: Interval | None = None, share_of: Share | None = None) -> Pages:
    """Words, tables and pictures; empty where nothing was attacked.

    Args:
        campaign: the assaults.
        interval_of: interval of the headline metric; None shows none.
        share_of: interval of a share of right samples; None shows none.
    """
    if not campaign.assaults:
        return Pages()
    task, count = campaign.prey.task, len(campaign.prey.ids)
    label = task.meanings[task.headline][0]
    sign = 1 if task.higher_is_better else -1
    at_eps = [one for one in campaign.assaults if one.multiple == 1] or campaign.assaults
    worst = min(at_eps, key=lambda one: _or_worst(sign * one.metrics[task.headline]))
    tables = [_table(campaign, label, interval_of)]
    if task.categories:
        tables.append(_standing(campaign, share_of))
    text = (
        f"Attacks change {count} test samples; each stays in its ball and in the range of pixels, and no sample may end better "
        "off (checked). fooled: share of the right predictions that became wrong. reached: share that a targeted attack brought "
        "to its goal. passes: images through the network for each sample, forward and backward."
    )
    moved = f"Of each attack the {SHOWN} samples whose prediction moved most: image, attacked, change (amplified)."
    shown = [
        Picture("attacks.png", f"{label} as an adversary may change the images further."),
        Picture("adversarial.png", moved),
    ]
    said = [f"{worst.metrics[task.headline]:.3f} under {worst.name} of {worst.radius}"]
    return Pages(said, [text], _misled(campaign), tables, shown)


def _misled(campaign: Campaign) -> list[str]:
    """Where an attack that sees no gradient beats all that do, gradients mislead, and the others' numbers are too good."""
    found = []
    for norm, eps in campaign.balls():
        if {one.gradients for one in campaign.assaults if (one.norm, one.eps) == (norm, eps)} == {True, False}:
            by_gradient, blind = (~campaign.standing(norm, eps, gradients=kind) for kind in (True, False))
            count = int((blind & ~by_gradient).sum())
            if count:
                found.append(
                    f"{count} of {len(blind)} samples are fooled without gradients at {_radius(norm, eps)} and by no attack that "
                    "uses them: the model's gradients mislead, so its robustness under them is overstated."
                )
    return found


def _table(campaign: Campaign, label: str, interval_of: Interval | None) -> Table:
    headline = campaign.prey.task.headline
    columns = ["attack", "radius", label, "fooled", "reached", "mean loss", "passes"]
    rows: list[list[Cell]] = []
    sights = [("clean", "", campaign.clean, campaign.metrics, None, None, None), *(
        (one.name, one.radius, one.after, one.metrics, one.fooled, one.reached, round(one.passes, 1)) for one in campaign.assaults
    )]  # fmt: skip
    for name, radius, seen, metrics, fooled, reached, passes in sights:
        value = _finite(metrics[headline])
        interval = interval_of(seen.prediction_NK) if interval_of and value is not None else None
        cell: Cell = value if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
        rows.append([name, radius, cell, fooled, reached, _finite(float(seen.loss_N.mean())), passes])
    if not any(row[4] is not None for row in rows):
        columns, rows = [*columns[:4], *columns[5:]], [[*row[:4], *row[5:]] for row in rows]
    return Table(f"{label} on {len(campaign.prey.ids)} test samples under attack", columns, rows)


def _standing(campaign: Campaign, share_of: Share | None) -> Table:
    """Robust accuracy in the usual sense: right under every attack that was tried in a ball."""
    def cell(right_N: Tensor) -> Cell:
        share, interval = float(right_N.float().mean()), share_of(right_N.numpy()) if share_of else None
        return share if interval is None else f"{share:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

    rows: list[list[Cell]] = [["clean", cell(~campaign.clean.wrong_N), None]]
    for norm, eps in campaign.balls():
        one = [part for part in campaign.rounded if (part.assault.norm, part.assault.eps) == (norm, eps)]
        wrong_N = torch.stack([part.wrong_N for part in one]).any(0) if one else None
        carried = None if wrong_N is None else cell(~(wrong_N | campaign.clean.wrong_N))
        rows.append([_radius(norm, eps), cell(campaign.standing(norm, eps)), carried])
    return Table(
        "Share right under every attack of the ball; and with the attacked images rounded to 8 bits, as in deployment",
        ["radius", "right under all", "rounded"], rows,
    )  # fmt: skip


def _curves(campaign: Campaign, path: Path, interval_of: Interval | None) -> None:
    if not campaign.assaults:
        pictures.placard("nothing was attacked", path)
        return
    norms = sorted({one.norm for one in campaign.assaults}, reverse=True)
    task = campaign.prey.task
    fig = pictures.figure(4.4 * len(norms) + 1.8, 3.4)
    for axes, norm in zip(fig.subplots(1, len(norms), squeeze=False)[0], norms, strict=True):
        for number, name in enumerate(dict.fromkeys(one.name for one in campaign.assaults)):
            series = [one for one in campaign.assaults if one.name == name and one.norm == norm]
            if series:
                _curve(axes, campaign, series, interval_of=interval_of, colour=pictures.PALETTE[number % len(pictures.PALETTE)])
        axes.set_xlabel(AXES[norm])
        axes.set_ylabel(task.meanings[task.headline][0])
        pictures.grid(axes)
        axes.legend(loc="best")
    pictures.save(fig, path, DPI)


def _curve(axes: Any, campaign: Campaign, series: list[Assault], *, interval_of: Interval | None, colour: str) -> None:
    headline = campaign.prey.task.headline
    scale = 255 if series[0].norm == "linf" else 1
    across = [0.0, *(scale * one.eps for one in series)]
    up = [campaign.metrics[headline], *(one.metrics[headline] for one in series)]
    axes.plot(across, up, marker="o", markersize=3.5, label=series[0].name.replace("_", " "), color=colour)
    if interval_of:
        sights = [campaign.clean, *(one.after for one in series)]
        bounds = [interval_of(seen.prediction_NK) or (math.nan, math.nan) for seen in sights]
        axes.fill_between(across, [low for low, _ in bounds], [high for _, high in bounds], color=colour, alpha=0.12, linewidth=0)


def _sheet(campaign: Campaign, path: Path) -> None:
    """A row an attack: image, attacked image, and the change brought to full contrast, of the samples that moved most."""
    if not campaign.rounded:
        pictures.placard("nothing was attacked", path)
        return
    task, clean = campaign.prey.task, campaign.clean
    images: list[NDArray[np.float32]] = []
    titles = []
    for part in campaign.rounded:
        after = part.assault.after
        rows = np.argsort(-np.abs(after.prediction_NK - clean.prediction_NK).max(axis=1), kind="stable")[:SHOWN]
        for row in rows:
            before_HWC, after_HWC = (seen.x_NCHW[row].permute(1, 2, 0).numpy() for seen in (clean, after))
            change_HWC = after_HWC - before_HWC
            scale = max(float(np.abs(change_HWC).max()), 1e-9)
            images += [before_HWC, after_HWC, 0.5 + change_HWC / (2 * scale)]
            truth = task.truth_text(campaign.prey.truth_N[row].item())
            titles.append(f"true: {truth}\nsays: {task.text(clean.prediction_NK[row])}")
            titles.append(f"{part.assault.name} {part.assault.radius}\nsays: {task.text(after.prediction_NK[row])}")
            titles.append(f"the change,\n{0.5 / scale:.0f} times larger")
    pictures.sheet(images, titles, path, columns=3 * SHOWN, dpi=DPI)


def _images(campaign: Campaign, path: Path) -> None:
    """The attacked images of each attack at its eps, in whole grey levels, for other forms of the model (`verify`)."""
    prey, rounded = campaign.prey, campaign.rounded
    count, height, width = len(prey.ids), *prey.x_NCHW.shape[2:]
    channels = prey.x_NCHW.shape[1]
    images = [part.levels_NCHW.permute(0, 2, 3, 1).numpy() for part in rounded]
    np.savez_compressed(
        path,
        ids=np.asarray(prey.ids, dtype=np.str_), truth=prey.truth_N.numpy(),
        clean=torch.round(255 * prey.x_NCHW).to(torch.uint8).permute(0, 2, 3, 1).numpy(),
        clean_wrong=campaign.clean.wrong_N.numpy(),
        attack=np.asarray([part.assault.name for part in rounded], dtype=np.str_),
        norm=np.asarray([part.assault.norm for part in rounded], dtype=np.str_),
        eps=np.asarray([part.assault.eps for part in rounded], dtype=np.float64),
        images=np.stack(images) if images else np.zeros((0, count, height, width, channels), dtype=np.uint8),
        wrong=_stack([part.assault.after.wrong_N.numpy() for part in rounded], count),
        wrong_rounded=_stack([part.wrong_N.numpy() for part in rounded], count),
    )  # fmt: skip


def _stack(rows: list[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    return np.stack(rows) if rows else np.zeros((0, count), dtype=np.bool_)


def _short(norm: str, eps: float) -> str:
    return f"{255 * eps:.3g}" if norm == "linf" else f"l2_{eps:.3g}"


def _radius(norm: str, eps: float) -> str:
    return f"{255 * eps:.3g}/255" if norm == "linf" else f"{eps:.3g} (l2)"


def _cells(metrics: dict[str, float], names: list[str]) -> list[Cell]:
    return [_finite(metrics[name]) for name in names]


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _between(value: float, interval: tuple[float, float] | None) -> float | dict[str, float]:
    return value if interval is None else {"value": value, "low": interval[0], "high": interval[1]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
