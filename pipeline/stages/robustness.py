"""What is left of the model when images are corrupted, and when an adversary changes them.

Corruptions: `pipeline.corruption`; attacks: `pipeline.adversarial`. Here they meet the model, the test samples and each other.

C cells (a corruption at a severity), K columns of a prediction, N samples.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.adversarial.campaign import Prey, run_attacks
from pipeline.adversarial.pages import Interval, Pages, Share, flat_metrics, pages, publish
from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap, count_groups
from pipeline.core.parts import build
from pipeline.core.progress import track
from pipeline.core.record import Pixels
from pipeline.core.section import Section, write_section
from pipeline.corruption import measure, page, sheets
from pipeline.corruption.catalogue import check_names, corrupt
from pipeline.corruption.measure import CLEAN, Cell
from pipeline.corruption.reference import Reference, agreement, chosen
from pipeline.training.inputs import read_features
from pipeline.training.pair import Pair
from pipeline.training.predict import to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

SLACK = 0.005  # of the headline: what other hardware may change of the baseline when it is fitted again


@dataclass(frozen=True)
class Under:
    """Predictions of the same samples in every cell.

    Attributes:
        cells: the clean one first.
        model_NCK: of the trained model.
        reference_NCK: of the reference; None where there is none.
        warnings: what to say of the reference.
        text: the same, for readers of the section.
    """

    cells: list[Cell]
    model_NCK: NDArray[np.float32]
    reference_NCK: NDArray[np.float32] | None
    warnings: list[str]
    text: list[str]


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, baseline: Path, train: Path) -> str:
    """Disturb test samples in every configured way and measure.

    Raises:
        PersonError: an unknown corruption, an empty test split, or a model that gradient attacks cannot differentiate.
        RuntimeError: an attack broke its promise (outside its radius, out of range, or a sample that is better off).
    """
    options, seed = cfg["robustness"], int(cfg["seed"])
    check_names(options["corruptions"])
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    model = load_model(train).requires_grad_(requires_grad=False)
    test = read_subset(task, ingest, split, ["test"])
    if not len(test):
        raise PersonError("the test split is empty: set a larger test share")
    subset = test.spread(int(options["count"]), seed, "robustness")
    attacked = subset.spread(int(options["attacked"]), seed, "attack")
    cells = measure.cells_of(options["corruptions"], options["severities"])
    reference, lost = _reference(cfg, task, ingest=ingest, embed=embed, split=split) if len(cells) > 1 else (None, "")
    pair = Pair(model, task, cfg["embedder"] if reference is not None and reference.sees else None, embed)
    under = _look(pair, subset, cells, reference, seed=seed, test=(test, embed, baseline))
    found = _measured(task, under, subset, reference=reference.name if reference else "", cfg=cfg)
    page.write_tables(found, task.headline, out)
    _pictures(task, under, found, subset, out=out, seed=seed)
    campaign = run_attacks(cfg["attack"], Prey(
        task, model, seed, to_batch(list(attacked.pixels())), torch.as_tensor(attacked.truth), attacked.weight, attacked.ids,
    ))  # fmt: skip
    interval_of, share_of = _interval_of(task, attacked, cfg), _share_of(attacked, cfg)
    publish(campaign, out, interval_of=interval_of)
    write_json(out / "metrics.json", {**found.numbers, **flat_metrics(campaign, interval_of=interval_of, share_of=share_of)})
    fought = pages(campaign, interval_of=interval_of, share_of=share_of)
    halves = page.half(task, found, count=len(subset), coverage=cfg["intervals"]["coverage"]), fought
    return write_section(out, _section(task, found, under, halves, counts=(len(attacked), len(test)), subset=subset, lost=lost))


def _reference(cfg: dict[str, Any], task: Any, *, ingest: Path, embed: Path, split: Path) -> tuple[Reference | None, str]:
    """The baseline that errors are divided by, ready to be fitted on the train split; or None and why."""
    has_features = bool(np.load(embed / "features.npy", mmap_mode="r").size)
    wanted = cfg["robustness"]["reference"]
    part, lost = chosen(cfg["baseline"], wanted, features=has_features)
    if part is None:
        return None, lost
    known = read_subset(task, ingest, split, ["train"])
    features_ND = read_features(embed, known.ids) if part.needs_features else np.zeros((len(known), 0), dtype=np.float32)
    return Reference(wanted, part, (features_ND, known.truth, known.weight), task), ""


def _look(
    pair: Pair, subset: Subset, cells: list[Cell], reference: Reference | None, *, seed: int, test: tuple[Subset, Path, Path]
) -> Under:  # fmt: skip
    """Predictions in every cell; the reference is shown the whole test split too, to be held against data/baseline."""
    whole, embed, baseline = test
    if reference is not None:
        reference.show(read_features(embed, whole.ids) if reference.sees else np.zeros((len(whole), 0), dtype=np.float32))
    rows = []
    for cell in track(cells, what="corruptions", total=len(cells)):
        images = zip(subset.pixels(), subset.ids, strict=True)
        prediction_NK, features_ND = pair(_changed(pixels, cell, seed, identity) for pixels, identity in images)
        rows.append(prediction_NK)
        if reference is not None:
            reference.show(features_ND)
    model_NCK = np.stack(rows, axis=1)
    if reference is None:
        return Under(cells, model_NCK, None, [], [])
    blocks = np.split(reference.predictions(), [len(whole) + len(subset) * c for c in range(len(cells))])
    published = read_json(baseline / "metrics.json").get(reference.name)
    again = pair.task.metrics(blocks[0], whole.truth, whole.weight)
    said, same = agreement(pair.task, again, published, slack=SLACK)
    warning = f"The reference {reference.name} is not what data/baseline measured. {said} Run  dvc repro --force baseline"
    text = [f"The baseline {reference.name}: {said}"]
    return Under(cells, model_NCK, np.stack(blocks[1:], axis=1), [] if same else [warning], text)


def _changed(pixels_HWC: Pixels, cell: Cell, seed: int, identity: str) -> Pixels:
    return pixels_HWC if cell == CLEAN else corrupt(pixels_HWC, *cell, seed=seed, identity=identity)


def _measured(task: Any, under: Under, subset: Subset, *, reference: str, cfg: dict[str, Any]) -> page.Found:
    """Every number with its interval."""
    drawn: dict[str, Any] = {"coverage": cfg["intervals"]["coverage"], "seed": int(cfg["seed"])}
    def errors_of(rows_NCK: NDArray[np.float32]) -> NDArray[np.float64]:
        columns = [measure.sample_errors(task, rows_NCK[:, c], subset.truth) for c in range(len(under.cells))]
        return np.stack(columns, axis=1)

    other_NC = None if under.reference_NCK is None else errors_of(under.reference_NCK)
    found = measure.errors(
        under.cells, errors_of(under.model_NCK), other_NC, groups=subset.groups, resamples=cfg["intervals"]["resamples"], **drawn
    )
    found |= measure.headlines(
        task, under.cells, under.model_NCK, (subset.truth, subset.weight), groups=subset.groups,
        resamples=cfg["robustness"]["resamples"], **drawn,
    )  # fmt: skip
    metrics = [task.metrics(under.model_NCK[:, c], subset.truth, subset.weight) for c in range(len(under.cells))]
    constant_NK = np.repeat(under.model_NCK[:, 0].mean(axis=0, keepdims=True), len(subset), axis=0)
    chance = task.metrics(constant_NK, subset.truth, subset.weight)
    return page.Found(under.cells, metrics, found, reference if other_NC is not None else "", chance)


def _pictures(task: Any, under: Under, found: page.Found, subset: Subset, *, out: Path, seed: int) -> None:
    """The curves, and one image under every corruption."""
    sheets.curves(sheets.Shares(found.cells, found.numbers, found.reference), out / "corruptions.png", label=page.error_of(task))
    row = sheets.plainest(task.errors(under.model_NCK[:, 0], subset.truth))
    pixels_HWC, identity = subset.samples.pixels(int(subset.positions[row])), subset.ids[row]
    sheets.sheet(
        under.cells, lambda cell: _changed(pixels_HWC, cell, seed, identity),
        lambda c: task.text(under.model_NCK[row, c]), out / "corrupted.png",
    )  # fmt: skip


def _interval_of(task: Any, attacked: Subset, cfg: dict[str, Any]) -> Interval:
    """Interval of the headline, from predictions of the samples under attack; the same predictions are not measured twice."""
    known: dict[bytes, tuple[float, float] | None] = {}
    def found(prediction_NK: NDArray[np.float32]) -> tuple[float, float] | None:
        key = prediction_NK.tobytes()
        if key not in known:
            entry = bootstrap(
                task.metrics, prediction_NK, attacked.truth, attacked.weight, attacked.groups, seed=int(cfg["seed"]),
                resamples=cfg["robustness"]["resamples"], coverage=cfg["intervals"]["coverage"],
            ).get(task.headline)  # fmt: skip
            known[key] = (entry["low"], entry["high"]) if entry else None
        return known[key]

    return found


def _share_of(attacked: Subset, cfg: dict[str, Any]) -> Share:
    """Interval of the share of the samples under attack that is right."""
    def found(right_N: NDArray[np.bool_]) -> tuple[float, float] | None:
        entry = bootstrap(
            lambda right_N, _truth_N, _weight_N: {"share": float(np.asarray(right_N, dtype=np.float64).mean())},
            right_N.astype(np.float64), attacked.truth, attacked.weight, attacked.groups, seed=int(cfg["seed"]),
            resamples=cfg["robustness"]["resamples"], coverage=cfg["intervals"]["coverage"],
        ).get("share")  # fmt: skip
        return (entry["low"], entry["high"]) if entry else None

    return found


def _section(
    task: Any, found: page.Found, under: Under, halves: tuple[page.Half, Pages], *, counts: tuple[int, int], subset: Subset,
    lost: str,
) -> Section:  # fmt: skip
    label, headline, count = task.meanings[task.headline][0], task.headline, len(subset)
    units = count_groups(subset.groups)
    over = f"{units} groups of samples" if units else "single samples"
    text = (
        f"{count} samples, drawn evenly over the truth from the {counts[1]} of the test split; attacks take {counts[0]} of them. "
        f"Intervals resample {over}."
    )
    warnings = [*under.warnings, *([lost] if lost else [])]
    if not math.isfinite(found.metrics[0][headline]):
        warnings.append(f"{label} is undefined on these {count} samples: raise robustness.count or choose another task.headline.")
    said = [f"{label} {found.text(f'clean_{headline}') or 'undefined'} clean", *(part for half in halves for part in half.said)]
    return Section(
        "Robustness", ", ".join(said), text=[text, *halves[0].text, *under.text, *halves[1].text],
        warnings=[*warnings, *halves[0].warnings, *halves[1].warnings], tables=[*halves[0].tables, *halves[1].tables],
        pictures=[*halves[0].pictures, *halves[1].pictures],
    )  # fmt: skip
