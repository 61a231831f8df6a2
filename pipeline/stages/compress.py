"""A smaller model: shrunk with the train split, calibrated on validation, measured beside the original on the test split.

H height, W width, C channels, K outputs, N samples.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Loaded
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Cell, Section, Table, metric_rows, write_section
from pipeline.runtime.further import bytes_of_further
from pipeline.training.chain import Files, open_chain, weights
from pipeline.training.detection import compare_detection, open_detection
from pipeline.training.paired import paired_change
from pipeline.training.predict import BATCH
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DROP = 0.005  # of the headline metric, from which a reader is warned: half a point
WIDE = 16  # bits of a weight, from which activations are not rounded
BLUNTER = 0.02  # AUROC that a detector may lose before a reader is warned
SPARE = 0.1  # share of the original's size, from which a reader is warned, beyond the bits that a weight takes of 32


@dataclass(frozen=True)
class _Pair:
    """The two files: `original` and `compressed` -> each of them.

    Attributes:
        loaded: open in the exporter's runtime.
        sizes: bytes.
        limits: threshold of the detector; empty where none travels.
        kept: bytes of it that the detector's numbers take.
    """

    loaded: dict[str, Loaded]
    sizes: dict[str, int]
    limits: dict[str, float]
    kept: dict[str, int]

    @property
    def ratio(self) -> float:
        """Of the sizes."""
        return self.sizes["compressed"] / self.sizes["original"]

    @property
    def network(self) -> float:
        """The same of what the detector's numbers leave."""
        left = {name: size - self.kept[name] for name, size in self.sizes.items()}
        return left["compressed"] / left["original"]


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path, ood: Path) -> str:
    """Compress, with the detector of unknown inputs inside; write `model.onnx`, `metrics.json` and the section.

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
    task, trained = build(cfg["task"], card=card), load_model(train)
    exporter, compressor = build(cfg["exporter"]), build(cfg["compressor"])
    network, steps = _shrunk(cfg, task, compressor, ingest=ingest, split=split, train=train)
    val, test = (read_subset(task, ingest, split, [name]) for name in ("val", "test"))
    calibration = val.spread(int(cfg["compress"]["calibration"]), int(cfg["seed"]), "calibration")
    detection = open_detection(cfg, trained, task, {"ingest": ingest, "split": split, "ood": ood})
    pair = _made(Files(task, card, exporter, detection), (trained, network), compressor, calibration, out=out)
    answers = {name: _answers(one, test, name) for name, one in pair.loaded.items()}
    predictions = {name: found["prediction"] for name, found in answers.items()}
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
    known = (test.truth, test.weight, test.groups)
    results = {name: bootstrap(task.metrics, found, *known, **measure) for name, found in predictions.items()}
    change = paired_change(task, predictions["original"], predictions["compressed"], test, **measure)
    stored = {name: {"size_bytes": pair.sizes[name], "metrics": results[name]} for name in results}
    unknown = {} if detection is None else compare_detection(
        detection, pair.loaded, answers, test.groups, thresholds=pair.limits, measure=measure
    )  # fmt: skip
    write_json(out / "metrics.json", {**stored, "change": change, "unknown": unknown})
    flips = int((predictions["original"].argmax(axis=1) != predictions["compressed"].argmax(axis=1)).sum())
    counts = (len(calibration), len(test), flips)
    section = _section(task, pair, results, change, counts=counts, steps=steps, bits=compressor.bits)
    if unknown:
        _tell_of_detector(section, unknown, pair, bits=compressor.bits)
    return write_section(out, section)


def _made(
    files: Files, networks: tuple[nn.Module, nn.Module | None], compressor: Any, calibration: Subset, *, out: Path
) -> _Pair:
    """The original file, which is not kept, and the compressed one in `out`.

    Args:
        files: how they are written.
        networks: the trained one, and the shrunk one, None where nothing was shrunk.
        compressor: makes a file smaller.
        calibration: samples for it.
        out: of the artifact.
    """
    trained, network = networks
    with tempfile.TemporaryDirectory() as folder:
        source = files.whole(trained, Path(folder))
        (Path(folder) / "small").mkdir()
        small = source if network is None else files.whole(network, Path(folder) / "small")
        compressed, limit = files.small(small, compressor, calibration, out)
        paths = {"original": source, "compressed": compressed}
        loaded = {name: files.exporter.load(path) for name, path in paths.items()}
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        kept = {name: bytes_of_further(path) for name, path in paths.items()}
    if files.detection is None or limit is None:
        return _Pair(loaded, sizes, {}, kept)
    return _Pair(loaded, sizes, {"original": files.detection.chosen.threshold, "compressed": limit}, kept)


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


def _answers(loaded: Loaded, test: Subset, name: str) -> dict[str, NDArray[Any]]:
    """Every output by name, of all samples: decoded predictions (N, K), and scores (N,) and flags (N,) of a detector."""
    total = -(-len(test) // BATCH)
    parts = [loaded.answers(pixels_BHWC) for pixels_BHWC in track(test.batches(BATCH), what=f"{name} model", total=total)]
    if not parts:
        raise PersonError("the test split is empty: set a larger test share")
    found = {output: np.concatenate([part[output] for part in parts]) for output in parts[0]}
    if not np.isfinite(found["prediction"]).all():
        raise PersonError(f"the {name} model predicts values that are not finite: choose  compressor=none")
    return found


def _section(
    task: Any, pair: _Pair, results: dict[str, Any], change: dict[str, Any], *, counts: tuple[int, int, int],
    steps: list[list[Cell]], bits: int,
) -> Section:  # fmt: skip
    headline, label = task.headline, task.meanings[task.headline][0]
    warnings = warn(task, results, change, ratio=pair.network, bits=bits)
    names = list(results["original"])
    rows: list[list[Cell]] = [
        [row[0], f"{pair.sizes[str(row[0])] / 1e6:.3f}", *row[1:]] for row in metric_rows(results, names)
    ]  # fmt: skip
    tables = [
        Table(f"Both models in the same runtime on {counts[1]} test samples, with intervals",
              ["model", "size (MB)", *(task.meanings[name][0] for name in names)], rows),
    ]  # fmt: skip
    if steps:
        tables.append(Table("Weights of the network after each step, before it became a file", ["step", "weights"], steps))
    summary = f"{pair.ratio:.2f} of the size ({pair.sizes['compressed'] / 1e6:.2f} MB)"
    told = f"Ranges were set on {counts[0]} samples of the validation split; the test split took no part."
    text = [told if bits < WIDE else f"Weights are stored in {bits} bits and computed with in 32; no sample was looked at."]
    if task.categories:
        text.append(f"{counts[2]} of {counts[1]} test samples get another most likely class.")
    if headline in change:
        entry = change[headline]
        summary += f", {label} {results['compressed'][headline]['value']:.3f} ({entry['value']:+.4f})"
        text.append(f"Change of {label}, paired over the samples: {_signed(entry)}.")
    return Section("Compression", summary, text=text, warnings=warnings, tables=tables)


def _tell_of_detector(section: Section, unknown: dict[str, Any], pair: _Pair, *, bits: int) -> None:
    """Add what became of the detector of unknown inputs: a table, a sentence, and what a reader is warned of."""
    name, asked, small = unknown["detector"], unknown["asked"], unknown["compressed"]
    rows: list[list[Cell]] = [
        [which, f"{unknown[which]['threshold']:.4g}", _percent(unknown[which]["false_alarm"]),
         f"{unknown[which]['validation_auroc']:.3f}"] for which in pair.limits
    ]  # fmt: skip
    caption = (
        f"The detector {name} in both: its threshold, test samples that it calls unknown (asked: {100 * asked:g} %), and AUROC "
        "of validation samples against outliers made of them"
    )
    section.tables.append(Table(caption, ["model", "threshold", "called unknown", "AUROC"], rows))
    alike = unknown["rank_correlation"]
    section.text.append(
        f"The detector {name} is inside the compressed file; its threshold is set on that file's own scores of "
        f"{unknown['validation']} validation samples. Of the test samples {unknown['other_flags']} get another flag"
        + ("." if alike is None else f"; the rank correlation of their scores is {alike:.3f}.")
    )
    lost = unknown["original"]["validation_auroc"] - small["validation_auroc"]
    if lost > BLUNTER:
        section.warnings.append(f"Compression takes {lost:.3f} off the AUROC of the detector {name} on outliers that were made.")
    if small["false_alarm"]["low"] > max(asked, unknown["original"]["false_alarm"]["high"]):
        section.warnings.append(f"The compressed file calls {_percent(small['false_alarm'])} of the test samples unknown.")
    if pair.ratio > bits / 32 + SPARE >= pair.network:
        section.warnings.append(
            f"The compressed file is {pair.ratio:.2f} of the original's size, and {pair.network:.2f} without the numbers of the "
            f"detector {name} ({pair.kept['compressed'] / 1e6:.2f} MB): another one, or fewer  ood.fitted , take less."
        )


def _percent(entry: dict[str, float]) -> str:
    return f"{100 * entry['value']:.1f} % [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


def _signed(entry: dict[str, float]) -> str:
    return f"{entry['value']:+.4f} [{entry['low']:+.4f}, {entry['high']:+.4f}]"


def warn(task: Any, results: dict[str, Any], change: dict[str, Any], *, ratio: float, bits: int = 8) -> list[str]:
    """What a reader must know.

    A headline that lost more than half a point (half a percent of itself where lower is better), or a network that stayed
    big; `ratio` is that of the sizes without the numbers of a detector.
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
            f"The compressed network is {ratio:.2f} of the original's size: one as small as this one hardly shrinks, because "
            "the graph, the scales and the layers that stay float outweigh its weights."
        )
    return warnings
