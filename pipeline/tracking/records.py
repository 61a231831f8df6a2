"""Offline runs of W&B read back through `wandb leet inspect --json`, the public way to read them.

A resumed training and the report each leave a folder of their own with the same run id; `merge` makes one run of them.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEDIA = "._type"  # ends the key that says what kind of medium the keys before it describe
PATIENCE = 60.0  # seconds for one folder


@dataclass
class Run:
    """One run, of one folder or merged from several.

    Attributes:
        id: of the run; the folders of one run share it.
        started: ISO time of its first start.
        state: finished, failed, or unfinished (killed, or still running).
        config: nested, as it was sent.
        history: step -> {metric: value}; media are not in it.
        summary: last value of each key; intervals are mappings.
        media: key -> (folder, description with `path`, `_type`, `caption`, ...), the last one of each key.
        folders: where it was read from, in the order of their starts.
    """

    id: str = ""
    name: str = ""
    project: str = ""
    started: str = ""
    state: str = "unfinished"
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    media: dict[str, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """Highest step of the run; -1 before the first."""
        return max(self.history, default=-1)


class UnreadableRunError(Exception):
    """A folder of a run that the reader refuses; the message is its reason."""


def folders(directory: Path, run_id: str = "*") -> list[Path]:
    """Folders of runs in a W&B directory, oldest first (their names begin with the time of their start)."""
    found = [path for path in directory.glob(f"*run-*-{run_id}") if not path.is_symlink() and next(path.glob("*.wandb"), None)]
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))


def read(folder: Path) -> Run:
    """Read one folder.

    Raises:
        UnreadableRunError: wandb is not installed or cannot read the folder.
    """
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder.resolve())]
    base = str(folder.resolve().parents[1])
    quiet = {**os.environ, "WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline", "WANDB_DIR": base}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, env=quiet,
                              stdin=subprocess.DEVNULL, cwd=folder)  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UnreadableRunError(f"no answer within {PATIENCE:g} s") from error
    run = Run(folders=[folder])
    for line in done.stdout.splitlines():
        _take(run, folder, _record(line))
    if not run.id:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise UnreadableRunError(said[-1].strip() if said else "it holds no run")
    return run


def read_all(directory: Path) -> tuple[list[Run], dict[str, str]]:
    """All runs of a W&B directory in the order of their starts, and the folders that could not be read with the reason."""
    found = folders(directory)
    parts: dict[str, list[Run]] = {}
    refused: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for folder, outcome in zip(found, pool.map(_try, found), strict=True):
            if isinstance(outcome, Run):
                parts.setdefault(outcome.id, []).append(outcome)
            else:
                refused[folder.name] = outcome
    return sorted((merge(group) for group in parts.values()), key=lambda run: (run.started, run.id)), refused


def merge(parts: Iterable[Run]) -> Run:
    """One run from its parts, in the order of their starts; a later part completes and overrides the earlier ones."""
    whole = Run()
    for part in parts:
        whole.id, whole.project = part.id, part.project or whole.project
        whole.name = part.name or whole.name
        whole.started = min(filter(None, (whole.started, part.started)), default="")
        whole.state = part.state
        _deepen(whole.config, part.config)
        for step, values in part.history.items():
            whole.history.setdefault(step, {}).update(values)
        whole.summary.update(part.summary)
        whole.media.update(part.media)
        whole.folders += part.folders
    return whole


def _try(folder: Path) -> Run | str:
    try:
        return read(folder)
    except UnreadableRunError as error:
        return str(error)


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _take(run: Run, folder: Path, record: Mapping[str, Any]) -> None:
    kind = str(record.get("type", ""))
    body = record.get(kind) or {}
    if kind == "run":
        run.id, run.project = body.get("run_id", ""), body.get("project", "")
        run.name, run.started = body.get("display_name", ""), body.get("start_time", "")
        _deepen(run.config, _public((body.get("config") or {}).get("update") or {}))
    elif kind == "config":
        _deepen(run.config, _public(body.get("update") or {}))
    elif kind == "history":
        numbers, media = _split(body.get("item") or {})
        run.history.setdefault(int(body.get("step", {}).get("num", 0)), {}).update(numbers)
        run.media.update({key: (folder, description) for key, description in media.items()})
    elif kind == "summary":
        update = _public(body.get("update") or {})
        media_keys = tuple(key.removesuffix(MEDIA) + "." for key in update if key.endswith(MEDIA))
        run.summary.update({key: value for key, value in update.items() if not (media_keys and key.startswith(media_keys))})
    elif kind == "exit":
        run.state = "failed" if body.get("exit_code") else "finished"


def _split(item: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """The numbers and the media of one row of the history."""
    media: dict[str, dict[str, Any]] = {key.removesuffix(MEDIA): {} for key in item if key.endswith(MEDIA)}
    numbers = {}
    for key, value in item.items():
        owner = next((name for name in media if key.startswith(name + ".")), None)
        if owner is not None:
            media[owner][key[len(owner) + 1 :]] = value
        elif not key.startswith("_") and (number := _number(value)) is not None:
            numbers[key] = number
    return numbers, media


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) if isinstance(value, str) else None
    return float(value)


def _public(update: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in update.items() if not key.startswith("_")}


def _deepen(into: dict[str, Any], update: Mapping[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _deepen(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
