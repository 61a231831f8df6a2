"""What a cell came to: its values with their intervals, read from what its stages published; and its looks at the test split."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core import ledger
from pipeline.core.artifact import digest, read_json, write_json
from pipeline.core.dag import COMPOSED

FORWARDED = Path(".run") / "forwarded.json"  # in a cell: how many of its looks the repository's ledger holds


def facts_of(folder: Path, stages: Sequence[str]) -> dict[str, Any]:
    """The headline of a cell, on the test split where evaluate ran, else on the validation split where train ran.

    Args:
        folder: the cell's workspace, whole.
        stages: of the study.

    Returns:
        `metric`, `label`, `higher`, `value`, `low`, `high` (None where there is none), `model`, and where the value is of the
        validation split `held` (which samples) and `share` (how many for one that trains); nothing where no model was trained.
    """
    data = folder / "data"
    if "evaluate" in stages:
        headline = read_json(data / "evaluate" / "headline.json")
        name = str(headline["metric"])
        entry = read_json(data / "evaluate" / "metrics.json")[name]
        label = str(headline.get("labels", {}).get(name, name))
        return {"metric": name, "label": label, "higher": bool(headline["higher_is_better"]), "value": entry["value"],
                "low": entry.get("low"), "high": entry.get("high"), "model": digest(data / "train")}  # fmt: skip
    if "train" in stages:
        return _validated(folder)
    return {}


def _validated(folder: Path) -> dict[str, Any]:
    """The headline on the validation split, of the weights that training ships."""
    from omegaconf import OmegaConf

    from pipeline.search.objective import directions, shipped

    loaded = OmegaConf.to_container(OmegaConf.load(folder / COMPOSED))
    assert isinstance(loaded, dict)
    config = {str(key): value for key, value in loaded.items()}
    better = directions(config)
    name = list(better)[-1]
    with (folder / "data" / "train" / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: float(text) for key, text in row.items() if text} for row in csv.DictReader(file)]
    value, _ = shipped(rows, config["train"], name, better)
    label = f"{name.removeprefix('val_')} (validation)"
    split = read_json(folder / "data" / "split" / "split.json")
    held = hashlib.sha256("\n".join(sorted(split["val"])).encode()).hexdigest()[:16]
    share = len(split["val"]) / max(1, len(split["train"]))
    return {"metric": name, "label": label, "higher": better[name], "value": value, "low": None, "high": None,
            "model": digest(folder / "data" / "train"), "held": held, "share": share}  # fmt: skip


def forward_looks(root: Path, folder: Path) -> int:
    """Count a cell's looks at the test split in the repository's ledger, each once; the number of new ones."""
    entries = ledger.read(folder).entries
    path = folder / FORWARDED
    known = int(read_json(path)["looks"]) if path.is_file() else 0
    for entry in entries[known:]:
        ledger.record(root, stage=entry["stage"], identity=entry["identity"], digests={"train": entry["model"]})
    if len(entries) != known:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"looks": len(entries)})
    return max(0, len(entries) - known)
