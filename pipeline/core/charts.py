"""Charts of predictions, drawn with the house style; each writes one PNG.

Letters: N samples, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import scores
from pipeline.core.pictures import BLUE, GREY, INK, ORANGE, PALETTE, figure, grid, save, shorten

FEW = 4  # curves; with more of them the legend stands beside the plot and lines are thinner
MANY = 12  # curves; of more classes only the worst are drawn
Curve = tuple[str, NDArray[Any], NDArray[np.bool_]]


def confusion(truth_N: NDArray[Any], guess_N: NDArray[Any], classes: Sequence[str], path: Path, *, dpi: int) -> Path:
    """Matrix of truth against prediction: counts, shaded by the share of the row."""
    size = len(classes)
    count = np.zeros((size, size), dtype=np.int64)
    np.add.at(count, (truth_N, guess_N), 1)
    share = count / np.maximum(1, count.sum(axis=1, keepdims=True))
    side = min(9.0, 2.4 + 0.62 * size)
    fig = figure(side + 0.9, side)
    axes = fig.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(size, size) if size <= 20 else ():
        text = f"{count[row, column]:,}" if size > 6 else f"{count[row, column]:,}\n{100 * share[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", fontsize=9 if size <= 10 else 6.5,
                  color="white" if share[row, column] > 0.55 else INK)  # fmt: skip
    names = [shorten(name, 18) for name in classes]
    slanted = size > 2 and (size > 4 or max(map(len, names)) > 10)
    axes.set_xticks(range(size), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    for spine in axes.spines.values():
        spine.set_visible(False)
    fig.colorbar(image, ax=axes, shrink=0.8, label="share of the actual class")
    return save(fig, path, dpi)


def roc(curves: Sequence[Curve], path: Path, *, dpi: int) -> Path:
    """ROC curves; each curve is (name, score (N,), whether positive (N,))."""
    fig = figure(4.6 if len(curves) <= FEW else 6.6, 4.2)
    axes = fig.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    areas = [scores.auroc(score_N, positive_N) for _, score_N, positive_N in curves]
    for number in sorted(np.argsort(areas, kind="stable")[:MANY]):
        name, score_N, positive_N = curves[number]
        false, true = scores.roc(score_N, positive_N)
        label = f"{shorten(name)}: area {areas[number]:.3f}"
        axes.plot(false, true, color=PALETTE[number % len(PALETTE)], linewidth=1.8 if len(curves) <= FEW else 1.1, label=label)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    _unit_square(axes)
    return save(fig, path, dpi)


def precision_recall(curves: Sequence[Curve], path: Path, *, dpi: int) -> Path:
    """Precision against recall; each curve is (name, score (N,), whether positive (N,))."""
    fig = figure(4.6 if len(curves) <= FEW else 6.6, 4.2)
    axes = fig.add_subplot()
    areas = [scores.average_precision(score_N, positive_N) for _, score_N, positive_N in curves]
    for number in sorted(np.argsort(areas, kind="stable")[:MANY]):
        name, score_N, positive_N = curves[number]
        recall, precision, _ = scores.precision_recall(score_N, positive_N)
        look: dict[str, Any] = {"color": PALETTE[number % len(PALETTE)], "linewidth": 1.8 if len(curves) <= FEW else 1.1}
        label = f"{shorten(name)}: AP {areas[number]:.3f}"
        axes.plot([0, *recall], [precision[0], *precision], drawstyle="steps-pre", label=label, **look)
        if len(curves) == 1:
            axes.axhline(positive_N.mean(), color=GREY, linestyle=":", linewidth=1)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    _unit_square(axes, corner="lower left")
    return save(fig, path, dpi)


def agreement(truth_N: NDArray[Any], value_N: NDArray[Any], label: str, path: Path, *, dpi: int) -> Path:
    """Predicted against true value."""
    fig = figure(4.6, 4.4)
    axes = fig.add_subplot()
    low, high = float(min(truth_N.min(), value_N.min())), float(max(truth_N.max(), value_N.max()))
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
    axes.scatter(truth_N, value_N, s=14, color=BLUE, alpha=0.35, linewidths=0)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel(f"true {shorten(label, 40)}")
    axes.set_ylabel(f"predicted {shorten(label, 40)}")
    grid(axes)
    return save(fig, path, dpi)


def residuals(residual_N: NDArray[Any], label: str, path: Path, *, dpi: int) -> Path:
    """Histogram of prediction minus truth."""
    fig = figure(4.6, 3.4)
    axes = fig.add_subplot()
    spread = float(np.abs(residual_N).max()) or 1.0
    axes.hist(residual_N, bins=np.linspace(-spread, spread, 32).tolist(), color=BLUE)
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    axes.axvline(float(residual_N.mean()), color=ORANGE, label=f"mean {residual_N.mean():.3g}")
    axes.set_xlabel(f"predicted minus true {shorten(label, 40)}")
    axes.set_ylabel("samples")
    axes.legend()
    grid(axes, "y")
    return save(fig, path, dpi)


def error_by_bin(error_N: NDArray[Any], truth_N: NDArray[Any], edges: NDArray[Any], path: Path, *, label: str, dpi: int) -> Path:
    """Absolute error of the samples in each bin of the truth."""
    fig = figure(4.6, 3.4)
    axes = fig.add_subplot()
    place_N = np.clip(np.searchsorted(edges, truth_N, side="right") - 1, 0, len(edges) - 2)
    groups = [error_N[place_N == number] for number in range(len(edges) - 1)]
    kept = [number for number, group in enumerate(groups) if len(group)]
    look: dict[str, Any] = {
        "boxprops": {"facecolor": "#cfe0f3", "edgecolor": BLUE},
        "medianprops": {"color": ORANGE, "linewidth": 2},
        "whiskerprops": {"color": BLUE},
        "capprops": {"color": BLUE},
    }
    boxes = [groups[number] for number in kept]
    axes.boxplot(boxes, positions=kept, widths=0.55, whis=(0, 95), showfliers=False, patch_artist=True, **look)
    names = [f"{edges[number]:.3g} to {edges[number + 1]:.3g}\nn = {len(groups[number]):,}" for number in range(len(groups))]
    axes.set_xticks(range(len(groups)), names)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"true {shorten(label, 40)}")
    axes.set_ylabel("absolute error")
    grid(axes, "y")
    return save(fig, path, dpi)


def _unit_square(axes: Any, corner: str = "lower right") -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    if len(axes.get_lines()) > FEW + 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    else:
        axes.legend(loc=corner)
    grid(axes)
