"""What is wrong with a training, read from its history and from the measures of its layers by stated rules. Imports no torch.

    vanishing    the error that reaches the first layer is less than `VANISHED` of that at the last one
    exploding    it is more than `EXPLODED` of it
    dead         of some layer's inputs, `DEAD` of the units were zero in whole batches, in `LASTING` measured steps in a row
    saturated    of some sigmoid or tanh, `SATURATED` of the outputs lay within 1 % of its bounds, as long
    spikes       a logged loss is above `SPIKE` times the median of those before it, and far outside their spread
    overfitting  the validation loss rose by `OVERFITTED` above its best, while the training loss fell
    underfitting the training loss fell by less than `LEARNT` of its first value

Sources. He et al. 2015 ("Delving deep into rectifiers", arXiv 1502.01852, section 2.2) show networks in which the signal shrinks
by a constant factor a layer: with a factor of sqrt(1/2), 22 layers (ratio 5e-4) still learn and 30 layers (3e-5) do not, and a
ratio of 6e-5 is their explanation of diminishing gradients in an earlier network. `VANISHED` lies between; `EXPLODED` is its
inverse. Glorot & Bengio 2010 ("Understanding the difficulty of training deep feedforward neural networks", section 3) describe
saturation. Prechelt 1998 ("Early stopping - but when?", criterion GL) measures overfitting as here; his limit of 5 % stops a
training, while a warning must not follow every ripple (10 % was measured in a run that was well).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import pictures
from pipeline.core.section import Cell, Table

VANISHED, EXPLODED = 1e-4, 1e4
DEAD, SATURATED, LASTING = 0.5, 0.9, 3
SPIKE, WINDOW = 2.0, 10  # times the median; logged rows before that are compared
OVERFITTED, VALIDATIONS = 0.25, 4  # of the best loss; validations at least
LEARNT, LOGGED = 0.1, 8  # of the first loss; logged rows at least

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: as in the list above.
        step: where it shows.
        text: what was seen, by which rule, and what to try.
    """

    kind: str
    step: int
    text: str


def diagnose(history: Rows, measures: Rows, *, shipped: int | None = None) -> list[Finding]:
    """At most one finding of each kind.

    Args:
        history: rows with `step`, and `loss` or `val_loss`.
        measures: rows of `health.csv`, in order.
        shipped: step of the weights that are shipped, by default the last one; overfitting after it harms nobody.
    """
    steps = by_step(measures)
    until = [row for row in history if shipped is None or row["step"] <= shipped]
    found = [_depth(steps), _units(steps, "dead"), _units(steps, "saturated"), _spikes(history), _overfitting(until)]
    return [finding for finding in [*found, _underfitting(history)] if finding is not None]


def by_step(measures: Rows) -> list[tuple[int, Rows]]:
    """The rows of each measured step."""
    return [(int(step), list(rows)) for step, rows in groupby(measures, key=lambda row: row["step"])]


def ratio(rows: Rows) -> float | None:
    """Of one step: the error that reaches the first layer over that at the last one."""
    signals = [row["signal"] for row in rows if row.get("signal") is not None]
    return signals[0] / signals[-1] if signals and signals[-1] > 0 else None


def _depth(steps: Sequence[tuple[int, Rows]]) -> Finding | None:
    """Vanishing or exploding; the first step is left out, since heads often start from zero and pass nothing back then."""
    later = [(value, step, rows) for step, rows in steps[1:] if (value := ratio(rows)) is not None]
    if not later:
        return None
    value = float(np.median([value for value, _, _ in later]))
    _, step, rows = min(later, key=lambda entry: abs(entry[0] - value))
    first, last = (row["layer"] for row in (rows[0], rows[-1]))
    between = f"the error that reaches the first layer ({first}) is {value:.2g} times that at the last one ({last})"
    if value < VANISHED:
        return Finding(
            "vanishing", step, f"Vanishing gradients: {between}; below {VANISHED:g} the first layers hardly learn. "
            "Use residual connections, normalisation, ReLU in place of sigmoid or tanh, or fewer layers.",
        )  # fmt: skip
    if value > EXPLODED:
        return Finding(
            "exploding", step, f"Exploding gradients: {between}; above {EXPLODED:g} the steps of the first layers are noise. "
            "Use normalisation or a smaller initialisation, and train.clip.",
        )  # fmt: skip
    return None


def _units(steps: Sequence[tuple[int, Rows]], name: str) -> Finding | None:
    """The layer with most dead units, or most saturated outputs, in the last measured steps."""
    last = steps[-LASTING:]
    if len(last) < LASTING:
        return None
    shares: dict[str, list[float]] = {}
    for _, rows in last:
        for row in rows:
            if row.get(name) is not None:
                shares.setdefault(row["layer"], []).append(row[name])
    lasting = {layer: min(values) for layer, values in shares.items() if len(values) == LASTING}
    layer = max(lasting, key=lambda each: lasting[each], default=None)
    limit = DEAD if name == "dead" else SATURATED
    if layer is None or lasting[layer] < limit:
        return None
    count = sum(value >= limit for value in lasting.values())
    share, others = 100 * lasting[layer], f" (and {count - 1} more such layers)" if count > 1 else ""
    if name == "dead":
        text = (f"Dead units: {share:.0f} % of what the layer {layer} reads{others} was zero for every sample of the batch in "
                f"the last {LASTING} measured steps, so these units no longer learn. Lower train.lr, warm up longer, or use a "
                "leaky activation.")  # fmt: skip
    else:
        text = (f"Saturated units: {share:.0f} % of the activations before the layer {layer}{others} lie at their bounds in the "
                f"last {LASTING} measured steps, where their slope is almost zero. Use ReLU, normalisation or a smaller "
                "initialisation.")  # fmt: skip
    return Finding(name, last[-1][0], text)


def _spikes(history: Rows) -> Finding | None:
    logged = [(int(row["step"]), float(row["loss"])) for row in history if row.get("loss") is not None]
    found = []
    for number in range(WINDOW // 2, len(logged)):
        step, loss = logged[number]
        before = np.asarray([value for _, value in logged[max(0, number - WINDOW) : number]])
        middle = float(np.median(before))
        spread = 1.4826 * float(np.median(np.abs(before - middle)))
        if loss > SPIKE * middle > 0 and loss - middle > max(6 * spread, 0.1 * abs(logged[0][1])):
            found.append((loss / middle, step, loss))
    if not found:
        return None
    times, step, loss = max(found)
    return Finding(
        "spikes", step, f"Loss spikes: {len(found)} of {len(logged)} logged losses stand out, the highest {loss:.3g} at step "
        f"{step}, {times:.1f} times the median of those before it. Lower train.lr, warm up longer, or set train.clip.",
    )  # fmt: skip


def _overfitting(history: Rows) -> Finding | None:
    held = [(int(row["step"]), float(row["val_loss"])) for row in history if row.get("val_loss") is not None]
    if len(held) < VALIDATIONS:
        return None
    (best_step, best), (step, loss) = min(held, key=lambda entry: entry[1]), held[-1]
    span = step - held[-2][0]  # from one validation to the next
    early = _mean_loss(history, best_step - span, best_step)
    late = _mean_loss(history, step - span, step)
    if best <= 0 or best_step == step or loss < (1 + OVERFITTED) * best or early is None or late is None or late >= early:
        return None
    return Finding(
        "overfitting", step, f"Overfitting: the validation loss rose from {best:.3g} at step {best_step} to {loss:.3g} at step "
        f"{step}, while the training loss fell from {early:.3g} to {late:.3g}. Ship the weights of the least "
        "loss (train.keep=best train.monitor=loss), stop early (train.patience=5), use more data or augmentation, or a smaller "
        "network.",
    )  # fmt: skip


def _mean_loss(history: Rows, after: int, until: int) -> float | None:
    losses = [float(row["loss"]) for row in history if row.get("loss") is not None and after < row["step"] <= until]
    return float(np.mean(losses)) if losses else None


def _underfitting(history: Rows) -> Finding | None:
    losses = [float(row["loss"]) for row in history if row.get("loss") is not None]
    if len(losses) < LOGGED:
        return None
    first, last = float(np.median(losses[:3])), float(np.median(losses[-(len(losses) // 4) :]))
    if first <= 0 or last < (1 - LEARNT) * first:
        return None
    return Finding(
        "underfitting", int(history[-1]["step"]), f"Underfitting: the training loss is {last:.3g} in the last quarter of the "
        f"steps and was {first:.3g} at the start, so the network learns little or there is little to learn. Compare with the "
        "baselines; try another train.lr, more steps or a larger network.",
    )  # fmt: skip


def table(measures: Rows) -> Table:
    """The worst layers at the first, a middle and the last measured step; no rows where nothing was measured."""
    chosen = shown(measures)
    rows: list[list[Cell]] = []
    if chosen:
        rows.append(["error at the first layer over that at the last", *(ratio(layers) for _, layers in chosen)])
    for name, words in (("update", "largest step over weights"), ("dead", "largest share of dead units"),
                        ("saturated", "largest share of saturated outputs")):  # fmt: skip
        worst = [_worst(layers, name) for _, layers in chosen]
        if any(worst):
            rows.append([words, *worst])
    return Table("Health of the layers", ["measure", *(f"step {step:,}" for step, _ in chosen)], rows)


def _worst(layers: Rows, name: str) -> str | None:
    """The largest value of one step and its layer."""
    known = [(row[name], row["layer"]) for row in layers if row.get(name) is not None]
    value, layer = max(known, default=(None, ""))
    return None if value is None else f"{value:.3g} ({layer})" if value > 0 else "0"


def shown(measures: Rows) -> list[tuple[int, Rows]]:
    """The first, a middle and the last measured step."""
    steps = by_step(measures)
    return [steps[number] for number in sorted({0, len(steps) // 2, len(steps) - 1})] if steps else []


def draw(measures: Rows, path: Path, *, dpi: int) -> Path:
    """Signal, relative update and share of dead units of each layer, at the first, a middle and the last measured step."""
    chosen = shown(measures)
    if not chosen:
        return pictures.placard("no layer was measured (train.health_samples)", path, dpi=dpi)
    figure = pictures.figure(12, 3.3)
    axes = figure.subplots(1, 3)
    titles = {"signal": "Error that reaches the layer", "update": "Step over weights", "dead": "Share of dead units"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for colour, (step, rows) in zip((pictures.GREY, pictures.ORANGE, pictures.BLUE), chosen, strict=False):
            points = [(row["depth"] + 1, row[name]) for row in rows if row.get(name) is not None]
            if name != "dead":
                points = [(depth, value) for depth, value in points if value > 0]
            depths, values = [depth for depth, _ in points], [value for _, value in points]
            axis.plot(depths, values, marker="o", markersize=3, color=colour, label=f"step {step}")
        axis.set(title=title, xlabel="layer, from the input")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if name == "dead":
            axis.set_ylim(-0.02, 1.02)
        else:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
        pictures.grid(axis)
    axes[0].legend()
    return pictures.save(figure, path, dpi)
