"""A toy project for the search: real core, search and commands; two stages of a few lines whose results are a planted surface.

`prep` is shared by whatever does not change `prep`; `train` follows a planted learning curve, keeps a checkpoint each step, pauses where it is
asked to, and fails in the ways that a training fails. Every stage that runs, and every step that is taken, is counted in a log outside.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

HOME = Path(__file__).resolve().parents[1]
DVC = """
stages:
  compose: {cmd: x, deps: [conf, pipeline], params: [experiment, overrides], outs: [data/compose]}
  prep:
    cmd: x
    deps: ["${source}"]
    params: [{data/compose/config.yaml: [prep, seed, code.prep]}]
    outs: [data/prep]
  split:
    cmd: x
    deps: [data/prep]
    params: [{data/compose/config.yaml: [splitter, seed, code.split]}]
    outs: [data/split]
  train:
    cmd: x
    deps: [data/prep, data/split]
    params: [{data/compose/config.yaml: [model, task, train, seed, threads, code.train]}]
    outs: [data/train]
  evaluate:
    cmd: x
    deps: [data/split, data/train]
    params: [{data/compose/config.yaml: [task, seed, threads, code.evaluate]}]
    outs: [data/evaluate]
    meta: {opens: test}
"""
COUNT = """
import os

def count(word):
    with open(os.environ["TOY_LOG"], "a") as file:
        file.write(word + "\\n")
"""
PREP = """
from pathlib import Path
from pipeline.stages.counting import count

def run(cfg, out: Path, *, source: Path) -> str:
    count("prep")
    (out / "size.txt").write_text(str(cfg["prep"]["amount"]))
    return "made"
"""
SPLIT = """
import json
from pathlib import Path
from pipeline.stages.counting import count

def run(cfg, out: Path, *, prep: Path) -> str:
    count("split")
    fold, folds = cfg["splitter"].get("test_fold", 0), cfg["splitter"].get("folds", 5)
    ids = [str(i) for i in range(20)]
    test = [i for i in ids if int(i) % folds == fold]
    val = [i for i in ids if int(i) % folds == (fold + 1) % folds]
    (out / "split.json").write_text(json.dumps({"test": test, "val": val, "train": [i for i in ids if i not in test + val]}))
    return "parted"
"""
TRAIN = """
import json, math, os, random, time
from pathlib import Path
from pipeline.core.interrupt import Interrupted
from pipeline.stages.counting import count

def value(cfg, size, split, step):
    lr, width = cfg["train"]["lr"], cfg["train"]["width"]
    top = 0.9 - 0.05 * math.log10(lr / 0.02) ** 2 - 0.002 * abs(width - 20) + (0.03 if cfg["model"]["name"] == "wide" else 0)
    noise = random.Random(f"{cfg['seed']} {lr} {width} {split}").gauss(0, 0.002)
    return (top + noise + 0.001 * size) * (1 - 0.5 ** (1 + step / 3))

def run(cfg, out: Path, *, prep: Path, split: Path, scratch: Path) -> str:
    count("train")
    recipe, size, held = cfg["train"], int((prep / "size.txt").read_text()), (split / "split.json").read_text()
    history, state = scratch / "history.jsonl", scratch / "state"
    start = int(state.read_text()) if state.exists() else 0
    pause = int(os.environ.get("PIPELINE_PAUSE_AT", 10**9))
    rows = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    rows = [row for row in rows if row["step"] <= start]
    history.write_text("".join(json.dumps(row) + "\\n" for row in rows))
    if start >= pause:
        raise Interrupted("pause")
    if recipe["width"] == 13:
        raise MemoryError
    if recipe["width"] == 14:
        os.kill(os.getpid(), 9)
    if recipe["width"] == 15:
        raise ZeroDivisionError("planted")
    if recipe["width"] == 16:
        time.sleep(60)
    if recipe["width"] == 17:
        bytearray(2**31)
    for step in range(start + 1, recipe["max_steps"] + 1):
        count(f"step {cfg['train']['lr']!r} {step}")
        time.sleep(recipe["seconds"])
        if step % recipe["validate_every"] == 0 or step == recipe["max_steps"]:
            found = math.nan if recipe["width"] == 18 else value(cfg, size, held, step)
            rows.append({"step": step, "val_accuracy": found, "val_loss": 1 - found})
            with history.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\\n")
        partial = state.with_suffix(".part")
        partial.write_text(str(step))
        partial.replace(state)
        if step == pause:
            raise Interrupted("pause")
    lines = ["step,val_accuracy,val_loss"]
    lines += [f"{row['step']},{row['val_accuracy']:.6g},{row['val_loss']:.6g}" for row in rows if row["val_accuracy"] == row["val_accuracy"]]
    (out / "history.csv").write_text("\\n".join(lines) + "\\n")
    return "trained"
"""
EVALUATE = """
import json
from pathlib import Path
from pipeline.stages.counting import count

def run(cfg, out: Path, *, split: Path, train: Path) -> str:
    count("evaluate")
    last = (train / "history.csv").read_text().splitlines()[-1]
    (out / "metrics.json").write_text(json.dumps({"accuracy": {"value": float(last.split(",")[1]) - 0.01}}))
    return "judged"
"""
CONFIG = """
defaults: [{task: classification}, {model: plain}, {splitter: stratified}, _self_]
seed: 0
threads: 1
task: {headline: accuracy}
prep: {amount: 1}
train: {max_steps: 27, validate_every: 1, lr: 0.5, width: 8, seconds: 0.0}
logger: none
"""
STUDY = {
    "experiment": "toy", "trials": 9, "space": {"train.lr": {"low": 1e-3, "high": 1.0, "log": True}, "train.width": {"low": 4, "high": 12}},
    "sampler": {"startup": 4},
}  # fmt: skip


def project(folder: Path, home: Path) -> Path:
    """The toy project below `folder`; `home` is the real one."""
    shutil.copytree(home / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("stages", "__pycache__"))
    stages = {"__init__": "", "counting": COUNT, "prep": PREP, "split": SPLIT, "train": TRAIN, "evaluate": EVALUATE}
    (folder / "pipeline/stages").mkdir()
    for name, text in stages.items():
        (folder / f"pipeline/stages/{name}.py").write_text(text)
    for group, options in {"model": ("plain", "wide"), "task": (), "splitter": (), "experiment": (), "study": ()}.items():
        (folder / "conf" / group).mkdir(parents=True)
        for option in options:
            (folder / f"conf/{group}/{option}.yaml").write_text(f"name: {option}\n")
    shutil.copy(home / "conf/task/classification.yaml", folder / "conf/task")
    for option in ("stratified", "kfold"):
        shutil.copy(home / f"conf/splitter/{option}.yaml", folder / "conf/splitter")
    (folder / "conf/experiment/toy.yaml").write_text("# @package _global_\ntrain: {lr: 0.3}\n")
    (folder / "conf/config.yaml").write_text(CONFIG)
    rules = yaml.safe_load((home / "conf/schema.yaml").read_text())
    own = {"lr": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}, "width": {"type": "integer", "minimum": 1, "maximum": 64}}
    rules = {"$defs": rules["$defs"], "properties": {"train": {"properties": own}}}
    (folder / "conf/schema.yaml").write_text(yaml.safe_dump(rules))
    (folder / "dvc.yaml").write_text(DVC)
    (folder / "params.yaml").write_text("experiment: toy\noverrides: []\nsource: raw\n")
    (folder / "raw").mkdir()
    (folder / "raw/file.txt").write_text("raw")
    return folder


def study(root: Path, name: str = "s", **changes) -> None:
    """Write a study of the toy project."""
    (root / f"conf/study/{name}.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))


def start(root: Path, *words: str, **options) -> "subprocess.Popen[str]":
    """Start `python -m pipeline ...` there."""
    environment = {**os.environ, "TOY_LOG": str(root / "ran.log"), "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "pipeline", *words], cwd=root, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)  # fmt: skip


def run(root: Path, *words: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    process = start(root, *words, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def ran(root: Path) -> list[str]:
    """What the stages counted, in order."""
    path = root / "ran.log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def trials(root: Path, name: str = "s") -> list[dict]:
    """What the journal of a study holds, as plain values; read without our own code."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(root / f".run/studies/{name}/journal.log")))
    found = optuna.load_study(study_name="study", storage=storage).trials
    return [
        {"state": t.state.name, "params": t.params, "values": t.intermediate_values, "reason": t.user_attrs.get("reason", ""),
         "steps": t.user_attrs.get("steps", 0)} for t in found
    ]  # fmt: skip


def ledger(root: Path) -> list[dict]:
    """Looks at the test split."""
    path = root / ".run/looks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
