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
from pipeline.training.chain import CALIBRATION_BATCH, open_chain, weights
from pipeline.training.deploy import deploy
from pipeline.training.paired import paired_change
from pipeline.training.predict import BATCH
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DROP = 0.005  # of the headline metric, from which a reader is warned: half a point
WIDE = 16  # bits of a weight, from which activations are not rounded
SPARE = 0.1  # share of the original's size, from which a reader is warned, beyond the bits that a weight takes of 32


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
    network, steps = _shrunk(cfg, task, compressor, ingest=ingest, split=split, train=train)
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
    counts = (len(calibration), len(test), flips)
    return write_section(out, _section(task, sizes, results, change, counts=counts, steps=steps, bits=compressor.bits))


def _shrunk(
    cfg: dict[str, Any], task: Any, compressor: Any, *, ingest: Path, split: Path, train: Path
) -> tuple[nn.Module | None, list[list[Cell]]]:
    """The network after each shrinker and training under rounding, None where neither is chosen; a row of a table for each."""
    parts = {name: build(part) for name, part in cfg["shrinker"].items() if not is_off(part)}
    if not parts and not hasattr(compressor, "simulate"):
        return None, []
    chain = open_chain(task, cfg["compress"], seed=int(cfg["seed"]), ingest=ingest, split=split, train=train)
    network = chain.trained
    rows: list[list[Cell]] = [["trained", weights(network)]]
    for name in sorted(parts, key=lambda name: parts[name].order):
        network = chain.shrunk(network, parts[name])
        rows.append([name, weights(network)])
    if hasattr(compressor, "simulate"):
        network = chain.aware(network, compressor)
        rows.append(["trained on under rounding", weights(network)])
    return network, rows


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


def _section(
    task: Any, sizes: dict[str, int], results: dict[str, Any], change: dict[str, Any], *, counts: tuple[int, int, int],
    steps: list[list[Cell]], bits: int,
) -> Section:  # fmt: skip
    headline, label = task.headline, task.meanings[task.headline][0]
    ratio = sizes["compressed"] / sizes["original"]
    warnings = warn(task, results, change, ratio=ratio, bits=bits)
    names = list(results["original"])
    rows: list[list[Cell]] = [
        [row[0], f"{sizes[str(row[0])] / 1e6:.3f}", *row[1:]] for row in metric_rows(results, names)
    ]  # fmt: skip
    tables = [
        Table(f"Both models in the same runtime on {counts[1]} test samples, with intervals",
              ["model", "size (MB)", *(task.meanings[name][0] for name in names)], rows),
    ]  # fmt: skip
    if steps:
        tables.append(Table("Weights of the network after each step, before it became a file", ["step", "weights"], steps))
    summary = f"{ratio:.2f} of the size ({sizes['compressed'] / 1e6:.2f} MB)"
    told = f"Ranges were set on {counts[0]} samples of the validation split; the test split took no part."
    text = [told if bits < WIDE else f"Weights are stored in {bits} bits and computed with in 32; no sample was looked at."]
    if task.categories:
        text.append(f"{counts[2]} of {counts[1]} test samples get another most likely class.")
    if headline in change:
        entry = change[headline]
        summary += f", {label} {results['compressed'][headline]['value']:.3f} ({entry['value']:+.4f})"
        text.append(f"Change of {label}, paired over the samples: {_signed(entry)}.")
    return Section("Compression", summary, text=text, warnings=warnings, tables=tables)


def _signed(entry: dict[str, float]) -> str:
    return f"{entry['value']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"


def warn(task: Any, results: dict[str, Any], change: dict[str, Any], *, ratio: float, bits: int = 8) -> list[str]:
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
    if ratio > bits / 32 + SPARE:
        warnings.append(
            f"The compressed file is {ratio:.2f} of the original's size: a network as small as this one hardly shrinks, because "
            "the graph, the scales and the layers that stay float outweigh its weights."
        )
    return warnings
