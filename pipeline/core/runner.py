"""Run one stage hermetically: it is handed the keys and directories that dvc.yaml declares for it, and no others.

`run(cfg, out, **inputs)` never knows DVC, Snakemake or Hydra. Reading an undeclared key, or opening a file under `data/`,
`conf/` or `.run/` that was not declared, is an error and never a stale result.
"""

import fcntl
import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.core import artifact, interrupt, launch, ledger
from pipeline.core.dag import COMPOSED, Stage, read_params, read_stage
from pipeline.core.errors import PersonError
from pipeline.core.ranks import place

SCRATCH = ".run"
ITEMS = "items"  # under a stage's scratch: what it keeps of single items from one run to the next, keyed by their content
GUARDED = ("data", "conf", SCRATCH)
READS = ("open", "os.listdir", "os.scandir")


class Declared(dict[str, Any]):
    """The configuration that a stage declared; a key that it did not declare is an error, not None."""

    def __missing__(self, key: str) -> Any:
        raise PersonError(f"this stage reads the configuration key {key!r}, which dvc.yaml does not list under its params")


def run_stage(root: Path, name: str) -> str:
    """Run one stage of dvc.yaml in the repository at `root` and publish its artifact.

    Returns:
        One line for a person: what was done, how long it took, where the result is.

    Raises:
        PersonError: whatever the person can mend; nothing was published.
        Interrupted: a signal asked the stage to end; nothing was published.
    """
    began = time.monotonic()
    stage = read_stage(root, name)
    here = place()
    shared = stage.resources.get("processes") == "many"
    if here.rank != 0 and not shared:
        return f"{name}: runs on one process; process {here.rank} of {here.world} has nothing to do"
    cfg = stage_config(root, stage)
    launch.enter(name, threads=int(cfg.get("threads", 1)), scratch=(root / SCRATCH / name / "tmp").resolve())
    if shared:
        launch.by_launcher(here)
    interrupt.listen()
    inputs = {keyword: root / path for keyword, path in stage.inputs.items()}
    _check_source(root, inputs.get("source"))
    resumes = "scratch" in inspect.signature(importlib.import_module(f"pipeline.stages.{name}").run).parameters
    if resumes and here.rank == 0:
        launch.end_with_parent()
    said = perform(root, stage, cfg=cfg, inputs=inputs, out=root / stage.out, base=root / SCRATCH / name)
    return f"{name:<11}{time.monotonic() - began:7.1f} s   {said}   {stage.out}" if launch.rank() == 0 else said


def perform(root: Path, stage: Stage, *, cfg: Declared, inputs: dict[str, Path], out: Path, base: Path) -> str:
    """Run one stage in this process, whose environment stands already, and publish its artifact.

    Args:
        root: the repository, whose data, configuration and scratch are guarded.
        stage: what dvc.yaml says of it.
        cfg: the keys that it declares.
        inputs: keyword -> the file or folder to hand it.
        out: the folder to publish.
        base: of the stage's lock and scratch.

    Returns:
        What the stage said.

    Raises:
        PersonError: whatever the person can mend; nothing was published.
        Interrupted: a signal asked the stage to end; nothing was published.
    """
    name = stage.name
    digests = {keyword: _input_digest(stage.inputs[keyword], path) for keyword, path in inputs.items()}
    identity = hashlib.sha256(json.dumps([cfg, digests], sort_keys=True).encode()).hexdigest()
    scratch, items = base / identity[:16], base / ITEMS
    module = importlib.import_module(f"pipeline.stages.{name}")
    arguments = dict(inputs)
    for keyword, folder in (("scratch", scratch), ("items", items)):
        if keyword in inspect.signature(module.run).parameters:
            folder.mkdir(parents=True, exist_ok=True)
            arguments[keyword] = folder
    here = place()
    if here.rank != 0:
        launch.seed_everything(int(cfg.get("seed", 0)))
        module.run(cfg, out.with_name(f"{out.name}.rank{here.rank}"), **arguments)
        return f"{name}: process {here.rank} of {here.world} is done"
    with _alone(base / "lock"):
        if ledger.opens_test(stage):
            ledger.record(root, stage=name, identity=identity, digests=digests)
        partial = artifact.begin(out)
        allowed = [partial, *inputs.values(), scratch, items, base / "tmp", root / SCRATCH / "wandb"]
        versions = cfg.get("code", {}).get(name, {}).get("versions", {})  # not the hash of the code: equal output, equal digest
        facts = {"stage": name, "inputs": digests, "seed": cfg.get("seed", 0), "versions": versions}
        try:
            launch.seed_everything(int(cfg.get("seed", 0)))
            with guard(root, name, allowed):
                said = module.run(cfg, partial, **arguments)
            with interrupt.held():  # what is whole is published whole
                artifact.publish(partial, out, facts)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # what failed leaves nothing; what was published has another name now
        _forget(base)
    return str(said or "")


def stage_config(root: Path, stage: Stage) -> Declared:
    """The keys that the stage declares, from the composed configuration and from params.yaml below `root`."""
    params = read_params(root)
    cfg = Declared({key: params.get(key) for key in stage.params})
    if stage.keys:
        path = root / COMPOSED
        if not path.is_file():
            raise PersonError(f"{COMPOSED} is missing: run  dvc repro {stage.name}  which composes it first")
        composed = OmegaConf.load(path)
        for key in stage.keys:
            value = OmegaConf.select(composed, key, throw_on_missing=True)
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            _put(cfg, key.split("."), value)
    return cfg


@contextmanager
def guard(root: Path, stage: str, allowed: list[Path]) -> Iterator[None]:
    """Inside, opening or listing what was not declared of the repository's data, configuration or scratch is an error.

    The error is raised where it happens and again at the end, should the stage have swallowed it. An audit hook cannot be
    removed, so it is switched off instead.

    Raises:
        PersonError: an undeclared file or folder was read.
    """
    base = str(root.resolve())
    kept = tuple(str(path.resolve()) for path in allowed)
    watched = tuple(os.path.join(base, name) for name in GUARDED)
    active = True
    found: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active or event not in READS or not arguments or not isinstance(arguments[0], str | bytes | Path):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not _below(path, watched) or _below(path, kept):
            return
        if os.path.isfile(path) if event == "open" else os.path.isdir(path):
            found.append(f"stage {stage} opens {os.path.relpath(path, base)}, which dvc.yaml does not list under its deps")
            raise PersonError(found[0])

    sys.addaudithook(hook)
    try:
        yield
    finally:
        active = False
    if found:
        raise PersonError(found[0])


def _check_source(root: Path, source: Path | None) -> None:
    """Refuse a person's data where stages publish: DVC removes those folders before it runs them."""
    below = source.resolve() if source is not None else root
    data = (root / "data").resolve()
    if below == data or (data in below.parents and below.relative_to(data).parts[0] != "raw"):
        where = os.path.relpath(below, root.resolve())
        raise PersonError(
            f"the source {where} lies where stages publish and DVC removes: move it to data/raw or elsewhere, and set source"
        )


def _below(path: str, directories: tuple[str, ...]) -> bool:
    return any(path == directory or path.startswith(directory + os.sep) for directory in directories)


def _input_digest(declared: str, path: Path) -> str:
    """Digest of an artifact; for other inputs (raw data, conf, pipeline) DVC alone decides whether they changed."""
    if Path(declared).parent == Path("data") and Path(declared).name != "raw":
        return artifact.digest(path)
    return "tracked by DVC"


def _put(cfg: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        cfg = cfg.setdefault(name, {})
    cfg[path[-1]] = value


def _forget(folder: Path) -> None:
    """Remove the scratch of a finished stage; its artifact is published. What it keeps of single items stays."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != ITEMS:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the stage's lock: a second run of the same stage in this workspace waits, an orphan is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        deadline = time.monotonic() + 60
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise PersonError(f"another process runs the stage {path.parent.name} here: wait for it") from error
                time.sleep(0.5)
        yield
