"""Signs in the history of a training that a GAN has failed: saturated scores, exploding gradients, collapsed variety."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SATURATED = 0.05  # hinge loss of the discriminator below which real and synthetic images lie beyond its margin, almost all
LASTING = 3  # logged rows in a row that count as lasting
EXPLODED = 20.0  # times the median gradient norm of the rows before
SETTLED = 5  # rows before the first judgement of a gradient norm
COLLAPSED = 0.1  # share of the real images' spread

Row = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """One sign of failure.

    Attributes:
        kind: saturated, exploded or collapsed.
        step: where it begins.
        text: for people.
    """

    kind: str
    step: int
    text: str


def findings(rows: Sequence[Row]) -> list[Finding]:
    """At most one finding of each kind, from rows of the history in order.

    Args:
        rows: `step`, `loss_discriminator`, `norm_discriminator`, `norm_generator`, and `variety`: the spread of synthetic images
            of one condition over that of real ones.
    """
    found = [_saturated(rows), _exploded(rows), _collapsed(rows)]
    return [finding for finding in found if finding is not None]


def _saturated(rows: Sequence[Row]) -> Finding | None:
    for start in range(len(rows) - LASTING + 1):
        if all(row["loss_discriminator"] < SATURATED for row in rows[start : start + LASTING]):
            step = int(rows[start]["step"])
            return Finding(
                "saturated", step, f"from step {step} on the discriminator tells real from synthetic images without "
                f"error (loss below {SATURATED}), so the generator learns no more; "
                "lower generator.lr_discriminator or set generator.r1",
            )  # fmt: skip
    return None


def _exploded(rows: Sequence[Row]) -> Finding | None:
    for number in range(SETTLED, len(rows)):
        for network in ("discriminator", "generator"):
            before = float(np.median([row[f"norm_{network}"] for row in rows[:number]]))
            norm = rows[number][f"norm_{network}"]
            if norm > EXPLODED * before > 0:
                step = int(rows[number]["step"])
                return Finding(
                    "exploded", step, f"at step {step} the {network}'s gradient norm is {norm:.3g}, {norm / before:.0f} times "
                    f"its median before; lower generator.lr_{network}",
                )  # fmt: skip
    return None


def _collapsed(rows: Sequence[Row]) -> Finding | None:
    """The last rows, back to where variety was lost; a generator that has not yet begun to differ is named the same way."""
    low = [row.get("variety", 1.0) < COLLAPSED for row in rows]
    if not rows or not low[-1]:
        return None
    first = len(low) - (low[::-1].index(False) if False in low else len(low))
    step = int(rows[first]["step"])
    last = rows[-1]["variety"]
    return Finding(
        "collapsed", step, f"from step {step} to the end images of one condition are nearly the same (variety {last:.3f} of "
        f"that of real images, below {COLLAPSED}); the generator has collapsed, or has had too few steps",
    )  # fmt: skip
