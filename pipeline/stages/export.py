"""The model for other runtimes, with pre- and post-processing inside, proven equal to the trained one on real samples.

B batch, C channels, H height, W width, K outputs, N samples.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.record import Floats, Pixels
from pipeline.core.section import Cell, Section, Table, write_section
from pipeline.core.table import write_csv
from pipeline.outlier.watch import load_watch
from pipeline.training.deploy import deploy
from pipeline.training.predict import predict, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.seen import examples
from pipeline.training.subset import Subset, parity_samples
from pipeline.training.watched import Agreement, compare_watch, gate_watch

TIMED_BATCHES = (1, 32)
PATIENCE = 10.0  # seconds for one latency; fewer calls are made when they would take longer
COLUMNS = ("batch_size", "samples", "max_abs_diff", "mean_abs_diff", "top1_flips")
Run = Callable[[Pixels], Floats]


@dataclass(frozen=True)
class Parity:
    """How far the exported model is from the trained one at one batch size."""

    batch_size: int
    samples: int
    max_abs_diff: float
    mean_abs_diff: float
    top1_flips: int


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path, ood: Path) -> str:
    """Export with the chosen detector of unknown inputs, compare, time.

    It writes `model.onnx`, `parity.csv`, `metrics.json`, `timings.json` and the section.

    Raises:
        PersonError: the exported model, or its detector, is not equal to the trained one; the message holds the numbers.
    """
    if is_off(cfg["exporter"]):
        return _none(out)
    options, card = cfg["export"], read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    exporter, model = build(cfg["exporter"]), load_model(train)
    watch = load_watch(ood, model, cfg["detector"] or {}, examples(card))
    path = deploy(model, task, card, exporter=exporter, directory=out, watch=watch)
    exported = exporter.load(path)
    subset, wanted = parity_samples(task, ingest, split, int(options["parity_samples"])), int(options["parity_samples"])
    trained = predict(model, task, subset.pixels(), total=len(subset), what="trained model")
    rows, answers = compare(trained, exported, subset, options["batch_sizes"])
    tolerance = float(options["tolerance"])
    gate(rows, trained, tolerance=tolerance)
    watched = None if watch is None else compare_watch(watch, exported, subset, tolerance=tolerance)
    if watched is not None:
        gate_watch(watched, tolerance=tolerance)
    before, after = (task.metrics(found, subset.truth, subset.weight) for found in (trained, answers))
    gate_metric(task.headline, before, after, limit=max(tolerance, 1 / len(subset)))
    write_csv(out / "parity.csv", COLUMNS, [list(asdict(row).values()) for row in rows])
    facts = {"samples": len(subset), "size_bytes": path.stat().st_size, "max_abs_diff": max(row.max_abs_diff for row in rows)}
    unknown = {} if watched is None else watched.facts()
    write_json(out / "metrics.json", {**facts, "unknown": unknown, "trained": _finite(before), "exported": _finite(after)})
    write_json(out / "timings.json", _timings(model, task, exported, subset, repeats=int(options["timing_repeats"])))
    return write_section(out, _section(task, rows, (before, after), size=path.stat().st_size, wanted=wanted, watched=watched))


def compare(
    trained_NK: NDArray[np.float32], exported: Run, subset: Subset, sizes: list[int]
) -> tuple[list[Parity], NDArray[np.float32]]:
    """Run the exported model at each batch size.

    Returns:
        One row a batch size, and the predictions (N, K) at the last one.
    """
    rows = []
    answer_NK = np.zeros_like(trained_NK)
    for size in track(sizes, what="exported model", total=len(sizes)):
        answer_NK = np.concatenate([exported(pixels_BHWC) for pixels_BHWC in subset.batches(size)])
        if answer_NK.shape != trained_NK.shape:
            raise PersonError(f"the exported model answers {answer_NK.shape}, the trained one {trained_NK.shape}")
        difference = np.abs(answer_NK - trained_NK)
        flips = int((answer_NK.argmax(axis=1) != trained_NK.argmax(axis=1)).sum())
        rows.append(Parity(size, len(trained_NK), float(difference.max()), float(difference.mean()), flips))
    return rows, answer_NK


def gate(rows: list[Parity], trained_NK: NDArray[np.float32], *, tolerance: float) -> None:
    """Refuse an exported model that is not the trained one.

    Args:
        rows: of `compare`.
        trained_NK: the trained model's decoded predictions; above 1 the tolerance grows with their largest magnitude.
        tolerance: largest difference of a decoded output.

    Raises:
        PersonError: a difference above the tolerance or not finite, or another most likely class for some sample.
    """
    limit = tolerance * max(1.0, float(np.abs(trained_NK).max()))
    bad = [row for row in rows if not row.max_abs_diff <= limit or row.top1_flips]
    if bad:
        told = (f"batch {row.batch_size}: difference {row.max_abs_diff:.3g}, {row.top1_flips} other classes" for row in rows)
        raise PersonError(
            f"the exported model is not the trained one on {rows[0].samples} samples ({'; '.join(told)}; "
            f"allowed: {limit:.3g} and 0): choose another exporter or opset, or raise export.tolerance if you know why"
        )


def gate_metric(headline: str, before: dict[str, float], after: dict[str, float], *, limit: float) -> None:
    """Refuse an exported model whose headline metric differs by more than `limit`, relative where it is above 1."""
    change = abs(after[headline] - before[headline])
    if change > limit * max(1.0, abs(before[headline])):
        raise PersonError(f"the exported model's {headline} is {after[headline]:.4f}, the trained model's {before[headline]:.4f}")


def _timings(model: nn.Module, task: Any, exported: Run, subset: Subset, *, repeats: int) -> dict[str, Any]:
    """Median latency in milliseconds, model by model and batch by batch; the only numbers of this artifact that a clock made."""
    images = list(subset.pixels())
    result: dict[str, Any] = {}
    with torch.inference_mode():
        for size in TIMED_BATCHES:
            pixels_BHWC = np.stack([images[number % len(images)] for number in range(size)])

            def eager(pixels_BHWC: Pixels = pixels_BHWC) -> object:
                return task.decode(model(to_batch(list(pixels_BHWC))))

            def other(pixels_BHWC: Pixels = pixels_BHWC) -> object:
                return exported(pixels_BHWC)

            for name, call in (("eager", eager), ("exported", other)):
                result.setdefault(f"batch_{size}", {})[name] = latency(call, repeats=repeats)
    return result


def latency(call: Callable[[], object], *, repeats: int) -> dict[str, float]:
    """Median of at most `repeats` calls after one that does not count, in milliseconds, and the number of calls."""
    call()
    spent: list[float] = []
    while len(spent) < repeats and (len(spent) < 3 or sum(spent) < PATIENCE):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return {"median_ms": 1000 * statistics.median(spent), "calls": len(spent)}


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _section(
    task: Any, rows: list[Parity], metrics: tuple[dict[str, float], dict[str, float]], *, size: int, wanted: int,
    watched: Agreement | None,
) -> Section:  # fmt: skip
    worst, count = max(row.max_abs_diff for row in rows), rows[0].samples
    cells: list[list[Cell]] = [
        [row.batch_size, row.samples, f"{row.max_abs_diff:.2e}", f"{row.mean_abs_diff:.2e}", row.top1_flips] for row in rows
    ]
    names = [name for name in metrics[0] if np.isfinite(metrics[0][name]) and np.isfinite(metrics[1][name])]
    compared: list[list[Cell]] = [[task.meanings[name][0], metrics[0][name], metrics[1][name]] for name in names]
    tables = [
        Table("Difference of decoded outputs from the trained model",
              ["batch size", "samples", "largest difference", "mean difference", "other most likely class"], cells),
        Table(f"Metrics of both on these {count} samples", ["metric", "trained", "exported"], compared),
    ]  # fmt: skip
    warnings = []
    if count < wanted:
        warnings.append(f"Only {count} samples (all of the test and validation splits) were compared; {wanted} were asked for.")
    text = [
        "The file takes uint8 images (batch, height, width, channels) and gives what a person reads.",
        "Scaling, normalisation and decoding are inside; labels, input, licence and the digest of the data are in its metadata.",
        "Latency beside the trained model is in timings.json.",
    ]
    summary = f"equal to the trained model on {count} samples at batch sizes {', '.join(str(row.batch_size) for row in rows)} "
    summary += f"(largest difference {worst:.1e}, 0 other classes), {size / 1e6:.2f} MB"
    if watched is not None:
        tables.append(_watch_table(watched))
        text.append("Its outputs unknown_score and unknown say of each image whether it is like the training data.")
        summary += f"; the detector {watched.detector} travels with it"
    return Section("Export", summary, text=text, warnings=warnings, tables=tables)


def _watch_table(found: Agreement) -> Table:
    return Table(
        f"The detector {found.detector} in both, on the same {found.samples} samples",
        ["largest difference of a score", "spread of the scores", "other flags", "called unknown"],
        [[f"{found.max_abs_diff:.2e}", f"{found.spread:.3g}", found.other_flags, found.flagged]],
    )


def _none(out: Path) -> str:
    (out / "model.onnx").write_bytes(b"")
    write_csv(out / "parity.csv", COLUMNS, [])
    write_json(out / "metrics.json", {})
    write_json(out / "timings.json", {})
    return write_section(out, Section(title="Export", summary="not exported (exporter: none)"))
