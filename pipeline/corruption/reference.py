"""The reference of the mean corruption error: a baseline of the same run, fitted again on the train split's features.

The stage baseline publishes metrics and no model, so the same part is fitted on the same features of embed, and is held against
what data/baseline says of the test split.

D features, K columns of a prediction, M rows that wait, N train samples.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import near_match
from pipeline.core.parts import build, is_off

LIMIT = 256_000_000  # bytes of features that wait at most; then the baseline is fitted and predicts


class Reference:
    """One baseline, which predicts what it is shown; rows wait until there are enough of them, because a fit costs seconds.

    Args:
        name: of the baseline in conf.
        part: the baseline.
        train: features (N, D), truths (N,) and weights (N,) of the train split; D may be 0 for a part that needs no features.
        task: bounds its predictions.
    """

    def __init__(self, name: str, part: Any, train: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], task: Any) -> None:
        self.name = name
        self.part = part
        self.train = train
        self.task = task
        self._waiting: list[NDArray[np.float32]] = []
        self._made: list[NDArray[np.float32]] = []

    @property
    def sees(self) -> bool:
        """Whether it looks at features at all."""
        return bool(self.part.needs_features)

    def show(self, features_MD: NDArray[np.float32]) -> None:
        """Features of further images; for a part that needs none, (M, 0)."""
        self._waiting.append(features_MD)
        if sum(block.nbytes for block in self._waiting) > LIMIT:
            self._predict()

    def predictions(self) -> NDArray[np.float32]:
        """Bounded predictions (M, K) of everything that was shown, in order."""
        self._predict()
        return np.concatenate(self._made)

    def _predict(self) -> None:
        if not self._waiting:
            return
        features_MD = np.concatenate(self._waiting)
        self._waiting = []
        train_ND, truth_N, weight_N = self.train
        found = self.part.fit_predict(train_ND, truth_N, weight_N, features_MD, categories=self.task.categories)
        self._made.append(np.asarray(self.task.bound(found), dtype=np.float32))


def chosen(nodes: Mapping[str, Any] | None, wanted: str, *, features: bool) -> tuple[Any, str]:
    """The part that is the reference, or None and why there is none.

    Args:
        nodes: `baseline` of conf, name -> node.
        wanted: `robustness.reference`; "" for none.
        features: whether there are features for it to see.

    Returns:
        The part and ""; or None and a sentence for people.
    """
    lost = "There is no mean corruption error: "
    at_hand = {name: node for name, node in (nodes or {}).items() if not is_off(node)}
    if not wanted:
        return None, f"{lost}robustness.reference names no baseline to compare with."
    if wanted not in at_hand:
        hint = near_match(wanted, at_hand) if at_hand else "the run has none"
        return None, f"{lost}robustness.reference={wanted} is not a baseline of this run ({hint})."
    part = build(at_hand[wanted])
    if part.needs_features and not features:
        return None, f"{lost}the baseline {wanted} needs features, and embed has none (embedder=none)."
    return part, ""


def agreement(task: Any, again: Mapping[str, float], published: Mapping[str, Any] | None, *, slack: float) -> tuple[str, bool]:
    """What to say of the baseline fitted again beside what data/baseline published, and whether they agree.

    Args:
        task: names the headline.
        again: metrics of the baseline fitted again, on the whole test split.
        published: `metrics.json` of the stage baseline for it; None where it is not there.
        slack: difference of the headline up to which they are the same.
    """
    label, value = task.meanings[task.headline][0], again[task.headline]
    said = (published or {}).get(task.headline)
    if said is None and not math.isfinite(value):
        return f"{label} is undefined on the test split.", True
    if said is None:
        return f"Fitted again, it reaches {label} {value:.3f} on the whole test split; data/baseline has no figure of it.", False
    same = abs(value - said["value"]) <= slack
    return f"Fitted again, it reaches {label} {value:.3f} on the whole test split; data/baseline says {said['value']:.3f}.", same
