"""What simple methods reach on the test split, with the metrics and the resamples of evaluate.

Every baseline is fitted on the train split alone. Without features (`embedder=none`) only those that need none are run.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build, is_off
from pipeline.core.section import Section, Table, metric_rows, write_section
from pipeline.core.store import Samples, open_samples


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path) -> str:
    """Fit and measure every baseline; write `metrics.json` and the section.

    Raises:
        PersonError: embed's features are not those of ingest's samples, or a baseline predicts something that is not finite.
    """
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    task.check()
    samples = open_samples(ingest)
    parts = {name: build(node) for name, node in cfg["baseline"].items() if not is_off(node)}
    features = _features(embed, samples)
    skipped = [name for name, part in parts.items() if part.needs_features and not features.size]
    assigned = read_json(split / "split.json")
    train, test = samples.positions(assigned["train"]), samples.positions(assigned["test"])
    truth = task.truth(samples.columns)
    weight = samples.columns["weight"].astype(np.float64)
    groups = [str(group) for group in samples.columns["group"][test]]
    measure: dict[str, Any] = {key: cfg["intervals"][key] for key in ("resamples", "coverage")}
    results = {}
    for name, part in parts.items():
        if name in skipped:
            continue
        prediction = part.fit_predict(features[train], truth[train], weight[train], features[test], categories=task.categories)
        if not np.isfinite(prediction).all():
            raise PersonError(f"the baseline {name} predicts values that are not finite: leave it out of  baseline=[...]")
        results[name] = bootstrap(
            task.metrics, task.bound(prediction), truth[test], weight[test], groups, seed=int(cfg["seed"]), **measure
        )
    write_json(out / "metrics.json", results)
    return write_section(out, _section(task, results, skipped, counts=(len(train), len(test)), coverage=measure["coverage"]))


def _features(embed: Path, samples: Samples) -> NDArray[Any]:
    """Features (N, D) in the order of the samples; (N, 0) when embed is off."""
    stored = np.load(embed / "features.npy", mmap_mode="r")
    if not stored.size:
        return np.zeros((len(samples), 0), dtype=np.float32)
    ids = (embed / "ids.txt").read_text(encoding="utf-8").split()
    row = {identity: number for number, identity in enumerate(ids)}
    missing = sum(identity not in row for identity in samples.ids)
    if missing or len(ids) != len(stored):
        raise PersonError(f"embed lacks features of {missing} of {len(samples)} samples: run  dvc repro --force embed")
    return np.asarray(stored[[row[identity] for identity in samples.ids]], dtype=np.float32)


def _section(
    task: Any, results: dict[str, Any], skipped: list[str], *, counts: tuple[int, int], coverage: float
) -> Section:  # fmt: skip
    label = task.meanings[task.headline][0]
    sign = 1 if task.higher_is_better else -1
    ranked = sorted(
        ((sign * entry[task.headline]["value"], name) for name, entry in results.items() if task.headline in entry), reverse=True
    )
    summary = f"no baseline with a defined {label}"
    if ranked:
        best = results[ranked[0][1]][task.headline]
        summary = f"best of {len(results)}: {ranked[0][1]}, {label} {best['value']:.3f} [{best['low']:.3f}, {best['high']:.3f}]"
    warnings = []
    if skipped:
        warnings.append(f"Without features (embedder=none) the baselines {', '.join(skipped)} were not run.")
    if not results:
        warnings.append("No baseline was run, so nothing says whether the model is worth its cost.")
    names = [name for name in task.meanings if any(name in entry for entry in results.values())]
    shown = {task.meanings[name][0]: {who: entry[name] for who, entry in results.items() if name in entry} for name in names}
    table = Table(
        caption=f"Baselines on the test split, with {100 * coverage:.0f} % intervals",
        columns=["metric", *results],
        rows=metric_rows(shown, list(results)),
    )
    text = [f"Fitted on the {counts[0]:,} samples of the train split, measured on the {counts[1]:,} of the test split."]
    return Section("Baselines", summary, text=text, warnings=warnings, tables=[table] if results else [])
