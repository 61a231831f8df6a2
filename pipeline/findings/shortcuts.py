"""Shortcuts: whether a fact beside the content tells the label: brightness and the like, the file, a name, the order, a group.

N samples, K classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 20  # quantiles of a fact; fewer would blur a sharp border between classes
LOOKS = ("brightness", "contrast", "sharpness", "entropy")
FILE = ("file size", "resolution", "aspect ratio", "file ending")  # compression, resizing and stretching leave traces in pixels
SEEN = (*LOOKS, *FILE)  # facts that a network can see; the gate is on these
KINDS = ("file ending", "group")  # numbered in the order of their names: not numbers in themselves


@dataclass(frozen=True)
class Shortcut:
    """How well one fact tells the label.

    Attributes:
        fact: its name.
        strength: 0 for chance, 1 for always right.
        chance: share of permuted labels that it tells as well.
        seen: whether a network can see it.
    """

    fact: str
    strength: float
    chance: float
    seen: bool


def facts_of(measures: Mapping[str, Doubles], columns: Mapping[str, NDArray[np.generic]]) -> dict[str, Doubles]:
    """Facts (N,) by name; those that do not vary are left out."""
    stems = [PurePosixPath(str(name)).stem for name in columns["name"]]
    numbers = [re.findall(r"\d+", stem) for stem in stems]
    groups = np.unique(columns["group"], return_inverse=True)[1]
    endings = [PurePosixPath(str(name).partition("#")[0]).suffix.lower() for name in columns["name"]]
    height, width = columns["source_height"].astype(np.float64), columns["source_width"].astype(np.float64)
    found = {name: measures[name] for name in LOOKS}
    found |= {
        "file size": columns["source_bytes"].astype(np.float64),
        "resolution": height * width,
        "aspect ratio": width / np.maximum(height, 1),
        "file ending": np.unique(endings, return_inverse=True)[1].astype(np.float64),
        "name length": np.array([len(stem) for stem in stems], dtype=np.float64),
        "number in the name": np.array([float(found[-1][:15]) if found else -1.0 for found in numbers]),
        "order": np.arange(len(stems), dtype=np.float64),
        "group": groups.astype(np.float64),
    }
    return {name: values for name, values in found.items() if len(np.unique(values)) > 1}


def sorted_by_label(label_N: Integers) -> bool:
    """Whether the source lists one class after the other, so that its order says nothing beyond the label."""
    return int((np.diff(label_N) != 0).sum()) + 1 == len(np.unique(label_N))


def of_classes(
    facts: Mapping[str, Doubles], label_N: Integers, fold_N: Integers, *, permutations: int, seed: int
) -> list[Shortcut]:
    """How well each fact alone tells the class of samples that it was not learnt from.

    The fact is cut into twenty quantiles; the answer in each is the class most over-represented there in the other folds.
    Strength is balanced accuracy, rescaled so that 0 is chance.
    """
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(label_N) for _ in range(permutations)]
    skipped = {"order", "number in the name"} if sorted_by_label(label_N) else set()
    found = []
    for fact, values in facts.items():
        if fact in skipped:
            continue
        bin_N = _bins(values)
        strength = _told(bin_N, label_N, fold_N)
        beaten = sum(_told(bin_N, labels, fold_N) >= strength for labels in mixed)
        found.append(Shortcut(fact, max(strength, 0.0), (1 + beaten) / (1 + permutations), fact in SEEN))
    return found


def of_target(facts: Mapping[str, Doubles], target_N: Doubles, *, permutations: int, seed: int) -> list[Shortcut]:
    """Strength is the magnitude of Spearman's rank correlation between a fact and the target."""
    rng = np.random.default_rng(seed)
    ranks = rankdata(target_N)
    found = []
    for fact, values in facts.items():
        own = rankdata(values)
        strength = abs(float(np.corrcoef(own, ranks)[0, 1])) if np.ptp(ranks) else 0.0
        beaten = sum(
            abs(float(np.corrcoef(own, rng.permutation(ranks))[0, 1])) >= strength for _ in range(permutations)
        ) if np.ptp(ranks) else permutations  # fmt: skip
        found.append(Shortcut(fact, strength, (1 + beaten) / (1 + permutations), fact in SEEN))
    return found


def _bins(values: Doubles) -> Integers:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _told(bin_N: Integers, label_N: Integers, fold_N: Integers) -> float:
    classes, bins, folds = int(label_N.max()) + 1, int(bin_N.max()) + 1, int(fold_N.max()) + 1
    place = (fold_N * bins + bin_N) * classes + label_N
    count_FBK = np.bincount(place, minlength=folds * bins * classes).reshape(folds, bins, classes)
    others_FBK = count_FBK.sum(axis=0)[None] - count_FBK
    share_FBK = others_FBK / np.maximum(others_FBK.sum(axis=1, keepdims=True), 1)
    answer_N = share_FBK.argmax(axis=2)[fold_N, bin_N]
    known = np.unique(label_N)
    recall = [float((answer_N[label_N == kind] == kind).mean()) for kind in known]
    chance = 1 / len(known)
    return (float(np.mean(recall)) - chance) / (1 - chance) if len(known) > 1 else 0.0


def strongest(shortcuts: Sequence[Shortcut], significance: float) -> float:
    """Strength of the strongest fact that a network can see and that is not chance; 0 where there is none."""
    return max((one.strength for one in certain(shortcuts, significance)), default=0.0)


def certain(shortcuts: Sequence[Shortcut], significance: float) -> list[Shortcut]:
    """Facts that a network can see and whose strength is not chance."""
    return [one for one in shortcuts if one.seen and one.chance <= significance]
