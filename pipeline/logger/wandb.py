"""Weights & Biases, in a process of its own: whatever becomes of it, the training neither fails nor waits.

This side never imports wandb. It takes secrets out of every message and writes it to a bounded pipe (`pipeline.tracking`);
the child talks to wandb. One run per digest of the train stage: a resumed training and the report continue the same run.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.core import artifact, launch
from pipeline.core.errors import PersonError, near_match
from pipeline.core.redact import is_secret_name, known_secrets, redact
from pipeline.core.section import SECTION, read_section
from pipeline.tracking.channel import Channel

MODES = ("offline", "online", "disabled")
FOLDER = Path(".run")
WENT_OFFLINE = 3  # exit code of the child: the server could not be reached, the run was kept here
LARGEST_CONFUSION = 100  # classes; a larger table is no picture any more


class Wandb:
    """Tracker on Weights & Biases; every method is a no-op once it is off, for whatever reason.

    Args:
        project: name of the project on the server.
        mode: offline (no network, no account, no prompt), online or disabled; the environment variable WANDB_MODE wins.
        timeout_seconds: longest wait for the tracker's process, in `finish`.
        images: most pictures that one run sends.

    Raises:
        PersonError: an unknown mode, or a number out of range.
    """

    def __init__(self, *, project: str, mode: str, timeout_seconds: float, images: int) -> None:
        if mode not in MODES:
            raise PersonError(f"logger.mode must be one of {', '.join(MODES)}: received {mode!r}; {near_match(mode, MODES)}")
        if not project or timeout_seconds <= 0 or images < 0:
            raise PersonError("logger: project must not be empty, timeout_seconds above 0 and images at least 0: "
                              f"received {project!r}, {timeout_seconds}, {images}")  # fmt: skip
        self.project = project
        self.mode = mode
        self.timeout_seconds = timeout_seconds
        self.images = images
        self._channel: Channel | None = None
        self._pictures = 0
        self._secrets: list[str] = []

    def open(self, run_id: str, name: str, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Start the tracker's process and begin the run, or continue the one of this id.

        Args:
            run_id: derived from what is trained, so that the same training is the same run.
            name: for people; "" keeps the name that the run had.
            config: what was configured.
            facts: what else led to the result: digests of the inputs; the git commit is added.
        """
        mode = self._mode()
        if mode == "disabled" or launch.rank() != 0 or self._channel is not None:
            return
        folder = FOLDER.resolve()
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        known = {**({"git_commit": commit} if (commit := git_commit()) else {}), **facts}
        self._pictures, self._secrets = 0, known_secrets()
        self._channel = Channel([sys.executable, "-m", "pipeline.tracking.process"], _environment(folder, mode))
        self._send("open", project=self.project, mode=mode, run_id=run_id, name=name, patience=self.timeout_seconds / 2,
                   config={**config, "facts": known})  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step. Steps only rise; one that the run holds already is left out, as after a resumed training."""
        self._send("log", step=int(step), values={key: float(value) for key, value in values.items() if key != "step"})

    def picture(self, key: str, path: Path, caption: str, step: int | None = None) -> None:
        """One picture file, which must lie there until `finish`."""
        if self._channel is not None and self._pictures < self.images:
            self._pictures += 1
            self._send("picture", key=key, path=str(path.resolve()), caption=caption, step=step)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
        """A small table."""
        self._send("table", key=key, columns=list(columns), rows=[list(row) for row in rows])

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final values of the run; a mapping `{value, low, high}` is a metric with its interval."""
        self._send("summary", values=dict(values))

    def finish(self) -> None:
        """End the run; waits at most `timeout_seconds`. A tracker in trouble is worth one line on standard error."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        channel.send({"do": "finish"})
        code = channel.close(self.timeout_seconds)
        if code == WENT_OFFLINE:
            _warn(f"W&B could not be reached ({channel.said}); the run is kept in .run/wandb: upload it with  make sync")
        elif channel.problem or code:
            _warn(f"the tracker is off ({redact(channel.said) or channel.problem}); "
                  "the run itself is whole, its numbers are in data/")  # fmt: skip
        elif channel.dropped:
            _warn(f"the tracker was too slow and missed {channel.dropped} records; all of them are in data/")

    def finish_report(self, directories: Mapping[str, Path], run_id: str) -> None:
        """Continue the run with all that followed the training: metrics, baselines, tables, confusion and pictures.

        Steps of history.csv that the run lacks (its tracker was off, or its folder is gone) are logged again first.

        Args:
            directories: stage -> published artifact.
            run_id: as it was in the training.
        """
        if self._mode() == "disabled" or self._channel is not None:
            return
        inputs = {stage: artifact.digest(path) for stage, path in sorted(directories.items()) if path.is_dir()}
        config = _config(directories)
        self.open(run_id, "", config, {"inputs": inputs})
        for row in _rows(directories, "train", "history.csv"):
            numbers = {key: float(value) for key, value in row.items() if key != "step" and value}
            self.log(int(float(row["step"])), numbers)
        self.summary(_results(directories, config))
        confusion = _confusion(_rows(directories, "evaluate", "confusion.csv"))
        if confusion:
            self._send("confusion", key="confusion", rows=confusion)
        for stage, directory in directories.items():
            if (directory / SECTION).is_file():
                self._section(stage, directory)
        self.finish()

    def _section(self, stage: str, directory: Path) -> None:
        section = read_section(directory)
        self.summary({f"section/{stage}": section.summary})
        for number, table in enumerate(section.tables, start=1):
            if table.rows:
                self.table(f"{stage}/table_{number}", table.columns, table.rows)
        for picture in section.pictures:
            self.picture(f"{stage}/{Path(picture.file).stem}", directory / picture.file, picture.caption)

    def _send(self, what: str, **message: Any) -> None:
        if self._channel is not None:
            config = {"config": redact(message.pop("config"), self._secrets)} if "config" in message else {}
            self._channel.send({"do": what, **redact(message, self._secrets, names=False), **config})

    def _mode(self) -> str:
        wanted = os.environ.get("WANDB_MODE", "").strip().lower() or self.mode
        if wanted not in MODES:
            _warn(f"WANDB_MODE must be one of {', '.join(MODES)}: received {wanted!r}; the run is tracked offline")
            return "offline"
        return wanted


def git_commit() -> str:
    """The commit of the working directory; "" where there is none."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _environment(folder: Path, mode: str) -> dict[str, str]:
    """The child's environment: no secret but the key that it needs to go online, and no folder outside `.run`."""
    kept = {name: value for name, value in os.environ.items() if not is_secret_name(name) and name != "TMPDIR"}
    if mode == "online" and "WANDB_API_KEY" in os.environ:
        kept["WANDB_API_KEY"] = os.environ["WANDB_API_KEY"]
    if mode == "offline":
        kept = {name: value for name, value in kept.items() if redact(value) == value}
    root = str(Path(__file__).resolve().parents[2])
    state = folder / "wandb" / "state"
    own = {"WANDB_DIR": folder, "WANDB_CACHE_DIR": state / "cache", "WANDB_DATA_DIR": state / "data",
           "WANDB_ARTIFACT_DIR": state / "artifacts"}  # fmt: skip
    return {
        **kept, **{name: str(path) for name, path in own.items()}, "WANDB_MODE": mode, "WANDB_ERROR_REPORTING": "false",
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }  # fmt: skip


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {' '.join(text.split())}\n")


def _config(directories: Mapping[str, Path]) -> dict[str, Any]:
    path = directories["compose"] / "config.yaml" if "compose" in directories else None
    if path is None or not path.is_file():
        return {}
    loaded = OmegaConf.to_container(OmegaConf.load(path))
    return {str(key): value for key, value in loaded.items() if key != "code"} if isinstance(loaded, dict) else {}


def _rows(directories: Mapping[str, Path], stage: str, file: str) -> list[dict[str, str]]:
    path = directories[stage] / file if stage in directories else None
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def _confusion(rows: Sequence[Mapping[str, str]]) -> list[list[str | int]]:
    """Counts of each (actual, predicted), zeros included."""
    if not rows or not {"actual", "predicted"} <= rows[0].keys():
        return []
    names = sorted({row[column] for row in rows for column in ("actual", "predicted")})
    if len(names) > LARGEST_CONFUSION:
        return []
    counts = {(actual, predicted): 0 for actual in names for predicted in names}
    for row in rows:
        counts[row["actual"], row["predicted"]] += 1
    return [[actual, predicted, count] for (actual, predicted), count in counts.items()]


def _results(directories: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as `test/<metric>` and `baseline/<name>/<metric>`, and the headline beside those of the baselines."""
    found: dict[str, Any] = {}
    for stage, prefix in (("evaluate", "test"), ("baseline", "baseline"), ("compress", "compress"), ("robustness", "robustness")):
        path = directories[stage] / "metrics.json" if stage in directories else None
        if path is not None and path.is_file():
            _flatten(prefix, artifact.read_json(path), found)
    told = directories["evaluate"] / "headline.json" if "evaluate" in directories else None
    headline = artifact.read_json(told)["metric"] if told and told.is_file() else (config.get("task") or {}).get("headline")
    if f"test/{headline}" in found:
        found |= {"headline": found[f"test/{headline}"], "headline_metric": headline}
    return found


def _flatten(name: str, node: Any, into: dict[str, Any]) -> None:
    if isinstance(node, dict) and "value" not in node:
        for key, child in node.items():
            _flatten(f"{name}/{key}", child, into)
    else:
        into[name] = node
