"""Everything that quality finds out about a set of samples, as plain values; the stage publishes them, `page` shows them.

N samples, D features, K classes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.store import Samples
from pipeline.findings import features, labels, shortcuts
from pipeline.findings.copies import Copies, find_copies, find_crops_among
from pipeline.findings.duplicates import Pair, clusters, conflicting
from pipeline.findings.gates import Gate
from pipeline.findings.items import Items
from pipeline.findings.shortcuts import Shortcut
from pipeline.splitting.groups import join

SIGNIFICANCE = 0.01  # of a shortcut, by permutation
FINDINGS = {"conflicts": "conflict", "near_duplicates": "near duplicate", "label_errors": "label", "constant": "constant"}
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing to look at: a sample, what it is, how strongly, which other sample it concerns (or -1), and words."""

    place: int
    finding: str
    score: float
    other: int = -1
    detail: str = ""


@dataclass
class Survey:
    """What was found.

    Attributes:
        copies: pairs of near duplicates and their bar.
        crops: pairs of which one seems to be a crop of the other.
        clusters: sample id -> name of its cluster.
        conflicts: names of the clusters whose labels differ.
        findings: all of them.
        shortcuts: how well each fact tells the label.
        shuffled: accuracy, chance and probability of the control on shuffled labels, or None where there are no folds.
        probability_NK: out-of-fold, or None.
        basis: where the features are from.
        notes: what could not be looked at, for people.
    """

    copies: Copies
    crops: list[Pair] = field(default_factory=list)
    clusters: dict[str, str] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    shortcuts: list[Shortcut] = field(default_factory=list)
    shuffled: tuple[float, float, float] | None = None
    probability_NK: NDArray[np.float64] | None = None
    basis: str = ""
    notes: list[str] = field(default_factory=list)

    def places(self, finding: str) -> list[int]:
        """Positions of the samples with a finding, worst first, each once."""
        chosen = sorted((one for one in self.findings if one.finding == finding), key=lambda one: (-one.score, one.place))
        return list(dict.fromkeys(one.place for one in chosen))


def survey(cfg: Config, samples: Samples, card: Config, *, items: Items, embed: Path, seed: int) -> Survey:
    """Look at everything.

    Args:
        cfg: the key `quality`.
        samples: of ingest.
        card: of ingest.
        items: what is kept of each sample.
        embed: the artifact of embed.
        seed: of every draw.
    """
    columns = samples.columns
    looks = items.looks(int(columns["height"][0]) * int(columns["width"][0]))
    found = Survey(find_copies(looks, **cfg["copies"]))
    matrix, found.basis = features.read(embed, samples.ids, looks.thumbnails)
    x_NK = features.components(matrix, cfg["components"], seed)
    unit = None if found.basis == "thumbnails" else features.unit(x_NK)
    found.crops = find_crops_among(looks, unit, found.copies)
    found.clusters = clusters([(pair.first, pair.second) for pair in found.copies.pairs], samples.ids)
    meaning = columns["label"] if card["classes"] else columns["target"]
    span = 0.0 if card["classes"] else cfg["target_tolerance"] * float(np.ptp(meaning))
    found.conflicts = conflicting(found.clusters, dict(zip(samples.ids, meaning.tolist(), strict=True)), span)
    found.findings += [*_pairs(found, samples.ids), *_looks(cfg, items), *_alone(cfg, x_NK)]
    facts = shortcuts.facts_of(items.measures, columns)
    if card["classes"]:
        _labels({**cfg, "seed": seed}, found, x_NK, samples=samples, card=card, facts=facts)
    else:
        target = columns["target"].astype(np.float64)
        odd = np.abs(features.oddness(target))
        found.findings += [
            Finding(int(place), "odd target", float(odd[place]), detail=f"{target[place]:.6g}")
            for place in np.flatnonzero(odd > cfg["deviation"])
        ]
        found.shortcuts = shortcuts.of_target(facts, target, permutations=cfg["permutations"], seed=seed)
    return found


def _pairs(found: Survey, ids: list[str]) -> Iterator[Finding]:
    for pair in found.copies.pairs:
        kind = "conflict" if found.clusters[ids[pair.first]] in found.conflicts else "near duplicate"
        turn = "upright" if pair.symmetry == 0 else "mirrored or turned"
        yield Finding(pair.first, kind, pair.likeness, pair.second, turn)
    for pair in found.crops:
        yield Finding(pair.first, "crop", pair.likeness, pair.second, "one seems to be a part of the other")


def _looks(cfg: Config, items: Items) -> Iterator[Finding]:
    """Images that are constant, dark, bright, of low contrast or blurred."""
    measures = items.measures
    constant = measures["contrast"] == 0
    sharp = features.oddness(-np.log1p(measures["sharpness"]))
    brightness, spread = measures["brightness"], measures["spread"]
    kinds = {
        "constant": (constant, brightness, brightness, "grey level {:.1f}"),
        "dark": (~constant & (brightness < cfg["dark"]), 255 - brightness, brightness, "mean grey level {:.1f}"),
        "bright": (~constant & (brightness > cfg["bright"]), brightness, brightness, "mean grey level {:.1f}"),
        "low contrast": (~constant & (spread < cfg["spread"]), 255 - spread, spread, "{:.0f} grey levels"),
        "blurred": (~constant & (sharp > cfg["deviation"]), sharp, sharp, "{:.1f} deviations less sharp than the median"),
    }
    for kind, (chosen, score, shown, words) in kinds.items():
        for place in np.flatnonzero(chosen):
            yield Finding(int(place), kind, float(score[place]), detail=words.format(shown[place]))


def _alone(cfg: Config, x_NK: NDArray[np.float64]) -> Iterator[Finding]:
    if len(x_NK) < 2 * features.NEIGHBOURS:
        return
    odd = features.oddness(np.log(np.maximum(features.loneliness(x_NK), 1e-12)))
    for place in np.flatnonzero(odd > cfg["deviation"]):
        yield Finding(int(place), "outlier", float(odd[place]), detail=f"{odd[place]:.1f} deviations from its neighbours")


def _labels(
    cfg: Config, found: Survey, x_NK: NDArray[np.float64], *, samples: Samples, card: Config, facts: dict[str, Any]
) -> None:
    """Doubtful labels, the control on shuffled ones, and shortcuts; all with folds that keep groups and clusters whole."""
    label_N = samples.columns["label"].astype(np.int64)
    groups = [str(name) for name in samples.columns["group"]]
    fold_N = labels.folds(label_N, join(groups, samples.ids, found.clusters), cfg["folds"], cfg["seed"])
    if fold_N is None:
        found.notes.append("A class, or the groups, are too few for two folds: labels and shortcuts were not looked at.")
        return
    probability_NK = labels.out_of_fold(x_NK, label_N, fold_N, len(card["classes"]))
    found.probability_NK = probability_NK
    own = probability_NK[np.arange(len(label_N)), label_N]
    found.findings += [
        Finding(
            int(place), "label", float(1 - own[place]),
            detail=f"{card['classes'][label_N[place]]}, but {card['classes'][int(probability_NK[place].argmax())]} is likelier "
            f"({probability_NK[place].max():.2f} against {own[place]:.2f})",
        )
        for place in np.flatnonzero(labels.doubtful(probability_NK, label_N))
    ]  # fmt: skip
    found.shuffled = labels.shuffled(x_NK, label_N, fold_N, cfg["seed"])
    found.shortcuts = shortcuts.of_classes(facts, label_N, fold_N, permutations=cfg["permutations"], seed=cfg["seed"])


def gates_of(cfg: Config, found: Survey, card: Config, names: list[str]) -> list[Gate]:
    """Every gate with its value, its limit and its waiver.

    Args:
        cfg: the key `quality`.
        found: what was found.
        card: of ingest.
        names: of the samples, for examples.
    """
    counts, total = Counter(one.finding for one in found.findings), len(names)
    values: dict[str, tuple[float, bool, str, str]] = {
        "conflicts": (
            len(found.conflicts), False, "the number of clusters of near duplicates with different labels",
            "mend or remove them",
        ),
        "near_duplicates": (
            len(found.clusters) / total, False, "the share of near duplicates", "remove the copies",
        ),
        "label_errors": (
            counts["label"] / total, False, "the share of doubtful labels", "have a person look at them",
        ),
        "constant": (
            counts["constant"] / total, False, "the share of images of one colour", "remove them",
        ),
        "shortcut": (
            shortcuts.strongest(found.shortcuts, SIGNIFICANCE), False,
            "how well one fact beside the content alone tells the label",
            "record the classes under equal conditions and store them alike",
        ),
    }  # fmt: skip
    if card["classes"]:
        smallest = min(card["counts"].values())
        values["smallest_class"] = (smallest, True, "the size of the smallest class", "add samples or leave the class out")
    if found.shuffled is not None:
        values["shuffled"] = (found.shuffled[2], True, "the probability by chance of what is reached on shuffled labels",
                              "look for copies and groups that are not named")  # fmt: skip
    return [
        Gate(
            name, float(value), float(cfg["gates"][name]), least, cfg["waivers"].get(name, "").strip(), means, mend,
            _worst(name, found, card, names),
        )
        for name, (value, least, means, mend) in sorted(values.items())
    ]  # fmt: skip


def _worst(gate: str, found: Survey, card: Config, names: list[str]) -> tuple[str, ...]:
    """What weighs most in a gate: samples by name, facts by strength, classes by size."""
    if gate == "shortcut":
        facts = sorted(shortcuts.certain(found.shortcuts, SIGNIFICANCE), key=lambda one: -one.strength)
        return tuple(f"{one.fact} {one.strength:.2f}" for one in facts if one.strength > 0)
    if gate == "smallest_class":
        return tuple(f"{name} {count}" for name, count in sorted(card["counts"].items(), key=lambda entry: entry[1]))
    kind = FINDINGS.get(gate, "")
    worst = sorted((one for one in found.findings if one.finding == kind), key=lambda one: (-one.score, one.place))
    return tuple(names[one.place] + (f" and {names[one.other]}" if one.other >= 0 else "") for one in worst)
