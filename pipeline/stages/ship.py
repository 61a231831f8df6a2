"""The model for every target that was asked for: built, run and measured, each in a process of its own; what is handed over.

B batch, H height, W width, C channels, K columns of a decoded prediction, N samples.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, sha256, write_json
from pipeline.core.delivery import SOURCES, opened_facts
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.record import Pixels
from pipeline.core.section import Section, write_section
from pipeline.core.table import write_csv
from pipeline.shipping import page
from pipeline.shipping.bill import bill_of_materials
from pipeline.shipping.judge import Judged, choose, judge
from pipeline.shipping.made import made_of
from pipeline.shipping.trial import FAILED, Bench, Trial, attempt
from pipeline.training.predict import predict, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, parity_samples

DECODER = ("height", "width", "channels", "fit", "min_side", "max_aspect", "max_pixels", "sixteen_bit", "background")


def run(
    cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path, ood: Path, compress: Path, export: Path
) -> str:
    """Write a folder for each target, `targets.csv`, `targets.json`, `model.json`, `bom.cdx.json`, `timings.json`, the section.

    Raises:
        PersonError: a target in fp32 does not say what the trained model says; the message holds the numbers.
    """
    parts = {name: part for name, part in (cfg["target"] or {}).items() if not is_off(part)}
    if not parts:
        return _none(out, "no target (target: none)")
    options, card = cfg["ship"], read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    model = load_model(train).requires_grad_(requires_grad=False)
    subset = parity_samples(task, ingest, split, int(options["samples"]))
    trained_NK = predict(model, task, subset.pixels(), total=len(subset), what="trained model")
    made = {"ingest": str(ingest), "train": str(train), "ood": str(ood), "task": cfg["task"], "detector": cfg["detector"],
            "decoder": _decoder(cfg, card), "onnx": "" if is_off(cfg["exporter"]) else str(export / "model.onnx"),
            "int8": _written(compress / "model.onnx")}  # fmt: skip

    def eager(pixels_BHWC: Pixels) -> object:
        with torch.inference_mode():
            return task.decode(model(to_batch(list(pixels_BHWC))))

    bench = Bench(
        made, np.stack(list(subset.pixels())), options["batches"], options["timed"], int(options["repeats"]), eager
    )
    trials = [attempt(name, part, out / name, bench) for name, part in track(parts.items(), what="targets", total=len(parts))]
    found = _judged(task, trials, trained_NK, subset, cfg=cfg)
    opened = made_of(made)
    _publish(out, cfg, card, facts={source: opened_facts(opened.facts(source)) for source in SOURCES}, parts=parts, found=found)
    wrong = [one for one in found if one.refused]
    if wrong:
        told, rest = "; ".join(f"{one.trial.name}: {one.refused}" for one in wrong), [one for one in found if not one.refused]
        raise PersonError(
            f"{told}, on {len(subset)} samples: such a file does not ship; leave it out with  "
            f"target=[{','.join(one.trial.name for one in rest) or 'none'}]"
        )
    return write_section(out, _section(task, found, len(subset), options))


def _written(path: Path) -> str:
    """The file's name; "" where it is missing or empty, as an option that is off leaves it."""
    return str(path) if path.is_file() and path.stat().st_size else ""


def _decoder(cfg: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """How images are read: as ingest read them, at the size that is stored."""
    return {key: cfg["ingest"][key] for key in DECODER} | {key: card[key] for key in ("height", "width", "channels")}


def _judged(
    task: Any, trials: list[Trial], trained_NK: NDArray[np.float32], subset: Subset, *, cfg: dict[str, Any]
) -> list[Judged]:
    options = cfg["ship"]
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}

    def metric(found_NK: NDArray[np.float32]) -> dict[str, float]:
        entry: dict[str, float] = bootstrap(
            lambda *parts: {task.headline: task.metrics(*parts)[task.headline]}, found_NK, subset.truth, subset.weight,
            subset.groups, **measure,
        ).get(task.headline, {})  # fmt: skip
        return entry

    limits = {"tolerance": float(options["tolerance"]), "drop": float(options["max_drop"])}
    limits["sign"] = 1 if task.higher_is_better else -1
    return [judge(trial, trained_NK, metric, limits) for trial in trials]


def _publish(
    out: Path, cfg: dict[str, Any], card: dict[str, Any], *, facts: dict[str, Any], parts: dict[str, Any], found: list[Judged]
) -> None:
    best = choose(found, int(cfg["ship"]["batch"]))
    write_json(out / "timings.json", page.timings(found, best, cfg["ship"]))
    write_csv(out / "targets.csv", page.COLUMNS, [page.row(one) for one in found])
    paths = [path for one in found for path in sorted((out / one.trial.name).rglob("*")) if path.is_file()]
    files = {str(path.relative_to(out)): sha256(path) for path in paths}
    inside = {one.trial.name: facts[parts[one.trial.name].get("source", "export")].get("unknown", {}) for one in found}
    targets = {one.trial.name: {**one.facts(), "unknown": inside[one.trial.name] if one.detector else {},
                                "target": parts[one.trial.name]} for one in found}  # fmt: skip
    write_json(out / "targets.json", targets)
    headline = found[0].trained if found else {}
    write_json(out / "model.json", {**facts["export"], "decoder": _decoder(cfg, card), "headline": headline})
    write_json(out / "bom.cdx.json", bill_of_materials(card, facts["export"], files))


def _section(task: Any, found: list[Judged], samples: int, options: dict[str, Any]) -> Section:
    ran = [one for one in found if one.agreement is not None]
    rows = [page.shown(one) for one in found]
    label = task.meanings[task.headline][0]
    columns = ["target", "state", "precision", "same class", "largest difference", "size (MB)"]
    columns += [f"{label} on these", "change", "detector"]
    text = ["Each target was written and then run in processes of its own; one that could not be tried says why."]
    text.append(
        f"The fastest that passes at batch {options['batch']}, and is faster than the trained model, is the one that serve and "
        "predict take; times differ from machine to machine, so they are no part of what is cached."
    )
    text += [f"{one.trial.name}: {one.trial.why}." for one in found if one.trial.why]
    if ran and any(one.trial.state == FAILED for one in found):
        text.append(f"This network was taken by {', '.join(one.trial.name for one in ran)}.")
    for one in found:
        if one.trial.footprint:
            told = ", ".join(f"{name} {size / 1e3:.1f} KB" for name, size in one.trial.footprint.items())
            text.append(f"{one.trial.name}, compiled: {told}.")
    summary = f"{len(ran)} of {len(found)} targets ran here and were compared on {samples} samples"
    same = [one for one in ran if one.trial.precision == "fp32"]
    if same:
        worst, flips = max(one.difference for one in same), sum(one.flips for one in same)
        summary += f"; {len(same)} in fp32 with {flips} other classes, largest difference {worst:.1e}"
    warnings = [f"The target {one.trial.name} is not fit to ship: {one.unfit}." for one in found if one.unfit]
    return Section("Targets", summary, text=text, warnings=warnings, tables=[page.table(columns, rows)])


def _none(out: Path, why: str) -> str:
    for name in ("targets.json", "model.json", "timings.json"):
        write_json(out / name, {})
    write_csv(out / "targets.csv", page.COLUMNS, [])
    return write_section(out, Section("Targets", why))
