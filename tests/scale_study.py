"""A matrix study over toy stages, with real git, DVC and Snakemake; and what it takes to hold it against `dvc repro`, cell by cell."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from tests import searching

HOME = Path(__file__).resolve().parents[1]
MATRIX = {
    "matrix": {
        "experiments": ["toy"], "overrides": {"plain": [], "wide": ["model=wide"], "large": ["prep.amount=2"]}, "seeds": [0, 1],
    },
    "overrides": ["train.max_steps=3"], "target": "train",
}  # fmt: skip
CELLS, JOBS = 6, 6 + 4 + 4 + 6  # compose of each cell, prep and split of each amount and seed, train of each cell
RAN = {"prep": 4, "split": 4, "train": 6}


def project(folder):
    """The toy project in git, with DVC and this repository's Snakefile."""
    searching.project(folder, HOME)
    shutil.copy(HOME / "pipeline/stages/compose.py", folder / "pipeline/stages")
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        stage["cmd"] = f"python -m pipeline {name}"
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    for name in ("Snakefile", ".dvcignore", ".gitignore", "profiles", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (HOME / name).is_dir() else shutil.copy)(HOME / name, folder / name)
    for words in (["init", "--quiet", "-b", "main"], ["add", "-A"], ["commit", "--quiet", "-m", "start"]):
        subprocess.run(["git", *words], cwd=folder, env=surroundings(folder), check=True)
    return folder


def surroundings(folder):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DVC_", "GIT_", "RANK", "LOCAL_RANK"))}
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "t"), ("EMAIL", "t@example.org"))}
    return {**kept, **who, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "DVC_NO_ANALYTICS": "1",
            "TOY_LOG": str(folder / "ran.log"), "OMP_NUM_THREADS": "1"}  # fmt: skip


def call(folder, *words, check=True, **options):
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=surroundings(folder), capture_output=True, text=True,
                          timeout=900, **options)  # fmt: skip
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def write(folder, name="m", **changes):
    (folder / f"conf/study/{name}.yaml").write_text(yaml.safe_dump({**MATRIX, **changes}, sort_keys=False))


def snake(folder, name="m", *words, **options):
    return call(folder, "snakemake", "-c2", "--config", f"study={name}", *words, **options)


def ran(folder):
    """Stage -> how often its code was entered, in whatever cell."""
    return Counter(word for word in searching.ran(folder) if " " not in word)


def notes(folder, kind, name="m"):
    return {path.stem: json.loads(path.read_text()) for path in (folder / f".run/study/{name}/.state/{kind}").glob("*.json")}


def artifacts(folder):
    """Stage -> file -> bytes, of what a workspace holds."""
    return {
        path.name: {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
        for path in sorted((folder / "data").iterdir()) if path.is_dir()
    }  # fmt: skip


def cell_by_cell(folder, beside, name="m"):
    """Every cell of a study by plain `dvc repro` in a clone of its own; cell -> artifacts."""
    plan = json.loads((folder / f".run/study/{name}/.state/plan.json").read_text())
    subprocess.run(["git", "clone", "--quiet", str(folder), str(beside)], check=True)
    shutil.copytree(folder / "raw", beside / "raw", dirs_exist_ok=True)
    found = {}
    for cell, facts in plan["cells"].items():
        params = {"experiment": facts["experiment"], "overrides": facts["overrides"], "source": str(folder / "raw")}
        (beside / "params.yaml").write_text(yaml.safe_dump(params))
        call(beside, "dvc", "repro", "--quiet", "train")
        found[cell] = artifacts(beside)
    return found
