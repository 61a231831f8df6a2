"""What a generator is conditioned on: the classes of the data, or quantile bins of its target.

N training images.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.core.store import Samples


@dataclass(frozen=True)
class Chosen:
    """The training images of a generator and what it is conditioned on.

    Attributes:
        positions: of the images in the store, (N,).
        condition: of each of them, (N,).
        names: of the conditions, for people.
        labels: class index of each condition, -1 where the data has no classes.
        targets: mean target of each condition's images, NaN where the data has none.
        left_out: conditions with too few images, as "name (count)".
        channels: of the images.
    """

    positions: NDArray[np.int64]
    condition: NDArray[np.int64]
    names: list[str]
    labels: list[int]
    targets: list[float]
    left_out: list[str]
    channels: int

    def of(self, sample: Sample) -> int:
        """Condition of a sample: its class, or the bin whose mean target is nearest; -1 where it has none of them."""
        if self.labels[0] >= 0:
            return self.labels.index(sample.label) if sample.label in self.labels else -1
        return int(np.argmin(np.abs(np.asarray(self.targets) - sample.target))) if np.isfinite(sample.target) else -1


def choose(samples: Samples, positions: NDArray[np.int64], classes: list[str], *, bins: int, minimum: int) -> Chosen:
    """Condition on the class, or on quantile bins of the target where the data has no classes.

    Raises:
        PersonError: no condition has `minimum` images.
    """
    target_N = samples.columns["target"][positions].astype(np.float64)
    label_N = samples.columns["label"][positions].astype(np.int64)
    raw_N = label_N if classes else quantile_bins(target_N, bins)
    condition_N = np.full(len(raw_N), -1, np.int64)
    chosen = Chosen(positions, condition_N, [], [], [], [], channels=int(samples.columns["channels"][0]))
    for number in sorted(set(raw_N[raw_N >= 0].tolist())):
        inside = raw_N == number
        name = classes[number] if classes else f"target {target_N[inside].min():.3g} to {target_N[inside].max():.3g}"
        if inside.sum() < minimum:
            chosen.left_out.append(f"{name} ({int(inside.sum())})")
            continue
        condition_N[inside] = len(chosen.names)
        chosen.names.append(name)
        chosen.labels.append(number if classes else -1)
        chosen.targets.append(float(target_N[inside].mean()))
    if not chosen.names:
        raise PersonError(
            f"no class has the {minimum} training images that generator.minimum asks for "
            f"(found: {', '.join(chosen.left_out) or 'none'}): lower it, or set generator=none"
        )
    kept = condition_N >= 0
    return replace(chosen, positions=positions[kept], condition=condition_N[kept])


def quantile_bins(target_N: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Bin of each value, -1 where there is none; equal values share a bin, so there may be fewer bins than asked for."""
    known = np.isfinite(target_N)
    inner = np.unique(np.quantile(target_N[known], np.linspace(0, 1, bins + 1)[1:-1])) if known.any() else np.zeros(0)
    return np.where(known, np.searchsorted(inner, target_N, side="left"), -1)
