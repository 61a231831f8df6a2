"""How quality shows what it found: pictures, tables and one honest sentence.

N samples.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.pictures import BLUE, figure, grid, save, sheet, shorten
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples
from pipeline.findings.gates import Gate
from pipeline.findings.items import Items
from pipeline.findings.phash import turned
from pipeline.findings.shortcuts import KINDS, certain, facts_of
from pipeline.findings.survey import SIGNIFICANCE, Survey

DPI = 110
ROWS = 12  # of a table
CROWDED = 0.97  # likeness of different images above which the page says so
Config = Mapping[str, Any]
MEANS = {
    "near duplicate": "pairs that show one picture, with equal labels",
    "conflict": "pairs that show one picture, with different labels",
    "crop": "pairs of which one seems to be a part of the other",
    "label": "labels that a plain classifier doubts",
    "odd target": "targets far from all others",
    "outlier": "images far from their nearest neighbours",
    "constant": "images of one single colour",
    "dark": "images that are very dark",
    "bright": "images that are very bright",
    "low contrast": "images of few grey levels",
    "blurred": "images far less sharp than the others",
}


def write_page(out: Path, cfg: Config, samples: Samples, *, items: Items, found: Survey, gates: Sequence[Gate]) -> str:
    """Draw the pictures and write `section.json`; return its summary.

    Args:
        out: where to write.
        cfg: the key `quality`, and the card of ingest as `card`.
        samples: of ingest.
        items: what is kept of each sample.
        found: what was found.
        gates: held and waived ones.
    """
    pictures = [
        *_pairs(out, cfg, samples, found), *_singles(out, cfg, samples, found), *_extremes(out, cfg, samples, items),
        _distributions(out, items),
    ]  # fmt: skip
    return write_section(out, Section(
        title="Quality of the data",
        summary=_summary(samples, found, gates),
        text=_text(found, gates),
        warnings=_warnings(cfg, found, gates, len(samples)),
        tables=[*_tables(samples, found, gates), *_typical(cfg, samples, items, found)],
        pictures=pictures,
    ))  # fmt: skip


def _summary(samples: Samples, found: Survey, gates: Sequence[Gate]) -> str:
    counts = Counter(one.finding for one in found.findings)
    groups = len(set(found.clusters.values()))
    copies = f"{len(found.clusters)} near duplicates" + (f" in {groups} cluster{'s' if groups > 1 else ''}" if groups else "")
    told = [f"{counts[kind]} {words}" for kind, words in (("label", "doubtful labels"), ("outlier", "outliers")) if counts[kind]]
    waived = sum(not gate.passed and bool(gate.waiver) for gate in gates)
    failed = sum(not gate.passed and not gate.waiver for gate in gates)
    state = [f"{count} of {len(gates)} gates {word}" for count, word in ((failed, "failed"), (waived, "waived")) if count]
    return f"{len(samples):,} samples: {', '.join([copies, *told])}; {', '.join(state) or f'all {len(gates)} gates passed'}"


def _text(found: Survey, gates: Sequence[Gate]) -> list[str]:
    bar = found.copies.bar
    said = [
        f"Of {found.copies.proposed:,} proposed pairs {len(found.copies.pairs)} were verified as one picture.",
        f"Different ones correlate up to {bar.crowd:.4f} with their thirtieth neighbour; a copy must reach {bar.likeness:.4f}.",
    ]
    if bar.crowd > CROWDED:
        said.append("Images of this set are very alike: a copy with strong clipping may pass for another image.")
    if found.crops:
        said.append("Crops are shown for a person to judge; they join no cluster.")
    if found.probability_NK is not None:
        said.append(
            f"Labels are doubted by logistic regression on {found.basis}, out of fold, with groups and near duplicates kept "
            "together (confident learning). A doubt may be the classifier's error: look at the pictures."
        )
    if found.shuffled is not None:
        accuracy, chance, probability = found.shuffled
        said.append(
            f"Control: on shuffled labels the same classifier is right in {accuracy:.1%} of cases, chance gives {chance:.1%} "
            f"(probability {probability:.2g})."
        )
    spare = [gate.gate for gate in gates if gate.passed and gate.waiver]
    if spare:
        said.append(f"A waiver is given but not needed for: {', '.join(spare)}.")
    return [*said, *found.notes]


def _warnings(cfg: Config, found: Survey, gates: Sequence[Gate], total: int) -> list[str]:
    counts, warn = Counter(one.finding for one in found.findings), cfg["warn"]
    said = []
    if found.clusters:
        said.append(f"{len(found.clusters)} samples are near duplicates of each other; the split keeps each cluster together.")
    if found.conflicts:
        said.append(f"{len(found.conflicts)} clusters of near duplicates have different labels.")
    if found.crops:
        said.append(f"{len(found.crops)} pairs look like crops of each other; a person should look at them.")
    if counts["label"] > warn["label_errors"] * total:
        said.append(f"{counts['label']} labels ({counts['label'] / total:.1%}) are doubtful.")
    seen = [one for one in certain(found.shortcuts, SIGNIFICANCE) if one.strength > warn["shortcut"]]
    if seen:
        facts = ", ".join(f"{one.fact} {one.strength:.2f}" for one in sorted(seen, key=lambda one: -one.strength))
        said.append(f"A shortcut: one fact alone tells the label (strength; 0 is chance, 1 is always right): {facts}.")
    beside = [one for one in found.shortcuts if not one.seen and one.chance <= SIGNIFICANCE and one.strength > warn["shortcut"]]
    said += [
        f"The {one.fact} tells the label with strength {one.strength:.2f}: samples of a class were recorded apart."
        for one in beside
    ]
    smallest = next((gate.value for gate in gates if gate.gate == "smallest_class"), None)
    if smallest is not None and smallest < warn["smallest_class"]:
        said.append(f"The smallest class has {smallest:.0f} samples: figures of it will be uncertain.")
    return said


def _tables(samples: Samples, found: Survey, gates: Sequence[Gate]) -> list[Table]:
    names = samples.columns["name"].tolist()
    counts = Counter(one.finding for one in found.findings)
    state = {(True, True): "passed", (True, False): "passed", (False, True): "waived", (False, False): "failed"}
    rows: list[list[Cell]] = [
        [gate.gate, gate.means, round(gate.value, 4), f"{'at least' if gate.least else 'at most'} {gate.limit:g}",
         state[gate.passed, bool(gate.waiver)], "" if gate.passed else gate.waiver]
        for gate in gates
    ]  # fmt: skip
    tables = [
        Table("Gates", ["gate", "what is measured", "value", "limit", "state", "reason of the waiver"], rows),
        Table("Findings (findings.csv has each)", ["finding", "what it is", "count"],
              [[kind, words, counts[kind]] for kind, words in MEANS.items() if counts[kind]]),
        Table("Does a fact beside the content tell the label? 0 is chance, 1 is always right",
              ["fact", "strength", "as strong by chance", "a network sees it"],
              [[one.fact, round(one.strength, 3), round(one.chance, 3), "yes" if one.seen else "no"] for one in found.shortcuts]),
    ]  # fmt: skip
    doubts = sorted((one for one in found.findings if one.finding == "label"), key=lambda one: (-one.score, one.place))
    if doubts:
        tables.append(Table(f"Most doubtful labels, {min(ROWS, len(doubts))} of {len(doubts)}", ["sample", "label"],
                            [[names[one.place], one.detail] for one in doubts[:ROWS]]))  # fmt: skip
    return [table for table in tables if table.rows]


def _typical(cfg: Config, samples: Samples, items: Items, found: Survey) -> list[Table]:
    """The median of each class, for numbers that tell the label."""
    label, classes = samples.columns["label"], cfg["card"]["classes"]
    facts = facts_of(items.measures, samples.columns)
    rows: list[list[Cell]] = [
        [one.fact, *(f"{np.median(facts[one.fact][label == number]):,.5g}" for number in range(len(classes)))]
        for one in found.shortcuts
        if one.chance <= SIGNIFICANCE and one.strength > cfg["warn"]["shortcut"] and one.fact not in KINDS
    ]
    return [Table("Numbers that tell the label: the median of each class", ["fact", *classes], rows)] if rows and classes else []


def _pairs(out: Path, cfg: Config, samples: Samples, found: Survey) -> list[Picture]:
    """Pairs side by side, the second turned as it fits the first; conflicts come first."""
    names, made = samples.columns["name"].tolist(), []
    conflicts = set(found.conflicts)
    ordered = sorted(
        found.copies.pairs, key=lambda pair: (found.clusters[samples.ids[pair.first]] not in conflicts, -pair.likeness)
    )
    for file, pairs, words in (
        ("near_duplicates.png", ordered, "Near duplicates side by side, the right one turned to fit; conflicting labels first."),
        ("crops.png", sorted(found.crops, key=lambda pair: -pair.likeness), "Pairs that look like crops of each other."),
    ):
        images, titles = [], []
        for pair in pairs[: cfg["sheet"]]:
            fitted_CHW = turned(samples.pixels(pair.second).transpose(2, 0, 1), pair.symmetry)
            images += [samples.pixels(pair.first), fitted_CHW.transpose(1, 2, 0)]
            titles += [shorten(names[pair.first], 24), f"{shorten(names[pair.second], 24)}\n{pair.likeness:.4f}"]
        if images:
            sheet(images, titles, out / file, columns=6, dpi=DPI)
            made.append(Picture(file, f"{words} Shown: {len(images) // 2} of {len(pairs)} pairs."))
    return made


def _singles(out: Path, cfg: Config, samples: Samples, found: Survey) -> list[Picture]:
    names, classes, made = samples.columns["name"].tolist(), cfg["card"]["classes"], []
    for finding, file, words in (
        ("label", "doubtful_labels.png", "The most doubtful labels: the given one, then the likelier one."),
        ("outlier", "outliers.png", "Images that are farthest from their neighbours."),
        ("odd target", "odd_targets.png", "Images whose target lies far from all others."),
    ):
        places = found.places(finding)
        if not places:
            continue
        shown = places[: cfg["sheet"]]
        titles = [shorten(names[place], 24) for place in shown]
        if finding == "label" and found.probability_NK is not None:
            guess = found.probability_NK.argmax(axis=1)
            label = samples.columns["label"]
            titles = [f"{names[place]}\n{classes[label[place]]}\n? {classes[guess[place]]}" for place in shown]
        sheet([samples.pixels(place) for place in shown], titles, out / file, columns=6, dpi=DPI)
        made.append(Picture(file, f"{words} Shown: {len(shown)} of {len(places)}."))
    return made


def _extremes(out: Path, cfg: Config, samples: Samples, items: Items) -> list[Picture]:
    count = min(max(1, cfg["sheet"] // 2), len(samples))
    rows = [("darkest", "brightness", 1), ("brightest", "brightness", -1), ("least sharp", "sharpness", 1)]
    images, titles = [], []
    for words, name, sign in rows:
        for place in np.argsort(sign * items.measures[name], kind="stable")[:count]:
            images.append(samples.pixels(int(place)))
            titles.append(f"{words}\n{name} {items.measures[name][place]:.1f}")
    sheet(images, titles, out / "extremes.png", columns=count, dpi=DPI)
    return [Picture("extremes.png", "The darkest, the brightest and the least sharp images of the set; not all are faults.")]


def _distributions(out: Path, items: Items) -> Picture:
    fig = figure(9.0, 2.4)
    shown = [("brightness", "mean grey level"), ("contrast", "standard deviation, grey levels"),
             ("sharpness", "log10 of 1 + variance of the Laplacian"), ("entropy", "entropy, bits")]  # fmt: skip
    for axes, (name, words) in zip(fig.subplots(1, len(shown)), shown, strict=True):
        values = np.log10(1 + items.measures[name]) if name == "sharpness" else items.measures[name]
        low, high = float(values.min()), float(values.max())
        axes.hist(values, bins=30, range=(low, high if high > low else low + 1), color=BLUE)
        axes.set_title(name)
        axes.set_xlabel(words, fontsize=7.5)
        grid(axes, "y")
    fig.axes[0].set_ylabel("samples")
    save(fig, out / "distributions.png", DPI)
    return Picture("distributions.png", "Brightness, contrast, sharpness and entropy of all samples.")
