"""A smaller model: shrunk with the train split, calibrated on validation, measured beside the original on the test split.

H height, W width, C channels, K outputs, N samples.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Cell, Section, Table, metric_rows, write_section
from pipeline.training.deploy import deploy
from pipeline.training.finetune import finetune
from pipeline.training.predict import BATCH, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

CALIBRATION_BATCH = 8  # images; bounds the memory of the calibration
DROP = 0.005  # of the headline metric, from which a reader is warned: half a point
SIZE = 0.35  # share of the original's size, from which a reader is warned: 8 of 32 bits and what surrounds them


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Compress; write `model.onnx`, `metrics.json` and the section.

    Raises:
        PersonError: there is no exporter, no validation sample, or a compressed model whose predictions are not finite.
    """
    if is_off(cfg["compressor"]):
        (out / "model.onnx").write_bytes(b"")
        write_json(out / "metrics.json", {})
        return write_section(out, Section(title="Compression", summary="not compressed (compressor: none)"))
    if is_off(cfg["exporter"]):
        raise PersonError("a compressor works on the exported model: choose  exporter=onnx , or  compressor=none")
    card = read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    exporter, compressor = build(cfg["exporter"]), build(cfg["compressor"])
    network, steps = _shrunk(cfg, task, ingest=ingest, split=split, train=train)
    val, test = (read_subset(task, ingest, split, [name]) for name in ("val", "test"))
    calibration = val.spread(int(cfg["compress"]["calibration"]), int(cfg["seed"]), "calibration")
    with tempfile.TemporaryDirectory() as folder:
        source = deploy(load_model(train), task, card, exporter=exporter, directory=Path(folder))
        (Path(folder) / "small").mkdir()
        small = source if network is None else deploy(network, task, card, exporter=exporter, directory=Path(folder) / "small")
        files = {"original": source, "compressed": compressor(small, calibration.batches(CALIBRATION_BATCH), out)}
        sizes = {name: path.stat().st_size for name, path in files.items()}
        predictions = {name: _predict(exporter.load(path), test, name) for name, path in files.items()}
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
    known = (test.truth, test.weight, test.groups)
    results = {name: bootstrap(task.metrics, found, *known, **measure) for name, found in predictions.items()}
    change = paired_change(task, predictions["original"], predictions["compressed"], test, **measure)
    stored = {name: {"size_bytes": sizes[name], "metrics": results[name]} for name in results}
    write_json(out / "metrics.json", {**stored, "change": change})
    flips = int((predictions["original"].argmax(axis=1) != predictions["compressed"].argmax(axis=1)).sum())
    return write_section(out, _section(task, sizes, results, change, counts=(len(calibration), len(test), flips), steps=steps))


def _shrunk(
    cfg: dict[str, Any], task: Any, *, ingest: Path, split: Path, train: Path
) -> tuple[nn.Module | None, list[list[Cell]]]:
    """The network after each chosen shrinker and some training on, None where none is chosen; and a row of a table for each."""
    parts = {name: build(part) for name, part in cfg["shrinker"].items() if not is_off(part)}
    if not parts:
        return None, []
    options = cfg["compress"]
    trained = load_model(train).requires_grad_(requires_grad=False)
    known = read_subset(task, ingest, split, ["train"])
    looked_at = known.spread(int(options["looked_at"]), int(cfg["seed"]), "shrink")
    network = trained
    rows: list[list[Cell]] = [["trained", _weights(trained)]]
    for name in sorted(parts, key=lambda name: parts[name].order):
        network = parts[name].shrink(network, lambda: (to_batch(list(batch)) for batch in looked_at.batches(BATCH)))
        finetune(
            network, trained, task, known, steps=int(options["tune_steps"]), batch_size=int(options["tune_batch_size"]),
            lr=float(options["tune_lr"]), distil=float(options["distil"]), seed=int(cfg["seed"]),
        )  # fmt: skip
        rows.append([name, _weights(network)])
    return network, rows


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _predict(call: Any, test: Subset, name: str) -> NDArray[np.float32]:
    """Decoded predictions (N, K) in the runtime."""
    total = -(-len(test) // BATCH)
    parts = [call(pixels_BHWC) for pixels_BHWC in track(test.batches(BATCH), what=f"{name} model", total=total)]
    if not parts:
        raise PersonError("the test split is empty: set a larger test share")
    found_NK: NDArray[np.float32] = np.concatenate(parts)
    if not np.isfinite(found_NK).all():
        raise PersonError(f"the {name} model predicts values that are not finite: choose  compressor=none")
    return found_NK


def paired_change(
    task: Any, before_NK: NDArray[np.float32], after_NK: NDArray[np.float32], test: Subset, **measure: Any
) -> dict[str, dict[str, float]]:
    """Change of the headline metric, compressed minus original, with the interval of the paired difference.

    The same resamples serve both, so what both get wrong cancels; the intervals of the two alone are far wider.
    """
    width = before_NK.shape[1]

    def difference(both: Any, truth: Any, weight: Any) -> dict[str, float]:
        values = [task.metrics(part, truth, weight)[task.headline] for part in (both[:, :width], both[:, width:])]
        return {task.headline: values[1] - values[0]}

    both = np.concatenate([before_NK, after_NK], axis=1)
    return bootstrap(difference, both, test.truth, test.weight, test.groups, **measure)


def _section(
    task: Any, sizes: dict[str, int], results: dict[str, Any], change: dict[str, Any], *, counts: tuple[int, int, int],
    steps: list[list[Cell]],
) -> Section:  # fmt: skip
    headline, label = task.headline, task.meanings[task.headline][0]
    ratio = sizes["compressed"] / sizes["original"]
    warnings = warn(task, results, change, ratio=ratio)
    names = list(results["original"])
    rows: list[list[Cell]] = [
        [row[0], f"{sizes[str(row[0])] / 1e6:.3f}", *row[1:]] for row in metric_rows(results, names)
    ]  # fmt: skip
    tables = [
        Table(f"Both models in the same runtime on {counts[1]} test samples, with intervals",
              ["model", "size (MB)", *(task.meanings[name][0] for name in names)], rows),
    ]  # fmt: skip
    if steps:
        tables.append(Table("Weights of the network after each step, before quantisation", ["step", "weights"], steps))
    summary = f"{ratio:.2f} of the size ({sizes['compressed'] / 1e6:.2f} MB)"
    text = [f"Ranges were set on {counts[0]} samples of the validation split; the test split took no part."]
    if task.categories:
        text.append(f"{counts[2]} of {counts[1]} test samples get another most likely class.")
    if headline in change:
        entry = change[headline]
        summary += f", {label} {results['compressed'][headline]['value']:.3f} ({entry['value']:+.4f})"
        text.append(f"Change of {label}, paired over the samples: {_signed(entry)}.")
    return Section("Compression", summary, text=text, warnings=warnings, tables=tables)


def _signed(entry: dict[str, float]) -> str:
    return f"{entry['value']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"


def warn(task: Any, results: dict[str, Any], change: dict[str, Any], *, ratio: float) -> list[str]:
    """What a reader must know.

    A headline that lost more than half a point (half a percent of itself where lower is better), or a file that stayed big.
    """
    headline, label = task.headline, task.meanings[task.headline][0]
    warnings = []
    if headline not in change:
        warnings.append(f"{label} is undefined on this test split, so the cost of compression is unknown.")
    else:
        entry, before = change[headline], results["original"][headline]["value"]
        lost = -entry["value"] if task.higher_is_better else entry["value"]
        if lost > (DROP if task.higher_is_better else DROP * abs(before)):
            warnings.append(f"Compression changes {label} by {_signed(entry)}, for the worse.")
    if ratio > SIZE:
        warnings.append(
            f"The compressed file is {ratio:.2f} of the original's size: a network as small as this one hardly shrinks, because "
            "the graph, the scales and the layers that stay float outweigh its weights."
        )
    return warnings
