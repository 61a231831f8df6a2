"""Run a case through the real code: in this process, or through the command line in a workspace of its own."""

import csv
import functools
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from pipeline.core import config
from pipeline.core.store import open_samples
from pipeline.stages import ingest, split
from tests.bad_inputs.case import Case, Result

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"height": 16, "width": 16, "channels": 3, "min_side": 8}
LIMIT = 10.0  # CPU seconds that a command may take, its start included; a test's own time-out catches what waits

# What a line must hold beside what went wrong: a word that tells a person what to do about it.
REMEDY = re.compile(
    r"\b(add|allow|annotate|check|choose|compress|convert|copy|correct|expected|export|fetch|fill|give|leave|make|mend|merge|must|name|"
    r"needs|pack|put|raise|remove|rename|repack|repair|replace|run|save|set|shorten|split|store|unpack|use|write|did you mean|options|"
    r"accepted|for example)\b", re.IGNORECASE,
)  # fmt: skip
NOISE = re.compile(r"Traceback|Error\(|<class |object at 0x|\bNone\b|NoneType|\bErrno\b")


def tree(folder: Path) -> dict[str, str]:
    """Every file, folder and link below a folder with what it holds; pipes are named and not read."""
    found = {}
    for path in sorted(folder.rglob("*"), key=os.fsencode) if folder.is_dir() else [folder] if folder.exists() else []:
        name = os.fsdecode(os.fsencode(path.relative_to(folder.parent)))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def settings(case: Case, **ingest_changes: Any) -> dict[str, Any]:
    """The configuration of ingest as conf/ has it, with the changes of the case."""
    conf = yaml.safe_load((PROJECT / "conf/config.yaml").read_text(encoding="utf-8"))
    part = yaml.safe_load((PROJECT / f"conf/dataset/{case.dataset}.yaml").read_text(encoding="utf-8"))
    asked = {**conf["ingest"], **SMALL, **case.ingest, **ingest_changes}
    return {**conf, "dataset": {**part, **case.options}, "ingest": asked, "code": {"ingest": {"modules": "", "versions": {}}}}


def ingested(case: Case, source: Path, out: Path, **ingest_changes: Any) -> Result:
    """Run the stage in this process."""
    arguments: dict[str, Path] = {"source": source}
    for name in ("items", "scratch"):
        if name in inspect.signature(ingest.run).parameters:
            arguments[name] = out.parent / name
            arguments[name].mkdir(exist_ok=True)
    out.mkdir(parents=True)
    ingest.run(settings(case, **ingest_changes), out, **arguments)
    with (out / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        quarantine = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    read = {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in ("card", "section")}
    result = Result(out, read["card"], read["section"], quarantine, open_samples(out))
    return replace(result, split=parted(case, result)) if case.splitter else result


def parted(case: Case, result: Result) -> dict[str, list[str]]:
    """Run split on what ingest published, with the clusters that the case says quality found."""
    quality, out = result.out.with_name("quality"), result.out.with_name("split")
    for folder in (quality, out):
        folder.mkdir()
    names = dict(zip(result.samples.columns["name"].tolist(), result.samples.ids, strict=True))
    clusters = {names[name]: f"c{number}" for number, cluster in enumerate(case.clusters) for name in cluster}
    (quality / "clusters.json").write_text(json.dumps(clusters), encoding="utf-8")
    conf = settings(case)
    part = yaml.safe_load((PROJECT / f"conf/splitter/{case.splitter}.yaml").read_text(encoding="utf-8"))
    cfg = {"splitter": {**part, **case.parting}, "split": {**conf["split"], **case.splitting}, "seed": 0}
    split.run(cfg, out, ingest=result.out, quality=quality)
    found: dict[str, list[str]] = json.loads((out / "split.json").read_text(encoding="utf-8"))
    return found


@functools.cache
def composed(dataset: str) -> Any:
    """The configuration of an experiment with this dataset, as compose writes it."""
    words = [f"dataset={dataset}", "logger=none", *(f"ingest.{key}={value}" for key, value in SMALL.items())]
    return config.compose(PROJECT / "conf", experiment="digits", overrides=words)


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    output: str
    errors: str
    cpu_seconds: float
    peak_bytes: int


def workspace(case: Case, root: Path) -> Path:
    """A toy project: the DAG, params.yaml and a composed configuration; returns the folder of the person's data."""
    source = root / "photos"
    (root / "data/compose").mkdir(parents=True)
    (root / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    params = {"experiment": "digits", "overrides": [], "source": str(source)}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    made = OmegaConf.create(composed(case.dataset))
    for room, changes in (("dataset", case.options), ("ingest", case.ingest)):
        for key, value in changes.items():
            OmegaConf.update(made, f"{room}.{key}", value, force_add=True)
    OmegaConf.update(made, "code", {"ingest": {"modules": "0", "versions": {}}}, force_add=True)
    OmegaConf.save(made, root / "data/compose/config.yaml")
    case.build(source)
    return source


def command(root: Path, *words: str) -> Said:
    """Run `python -m pipeline ...` in a workspace."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with (root.parent / "stdout").open("w+b") as out, (root.parent / "stderr").open("w+b") as err:
        process = subprocess.Popen([sys.executable, "-m", "pipeline", *words], cwd=root, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = [(file.seek(0), file.read().decode("utf-8", "replace"))[1] for file in (out, err)]
    return Said(process.returncode, *said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
