"""A study of the real digits: a trial's artifacts are the bytes that `dvc repro` makes of its overrides."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests import searching

STUDY = {
    "experiment": "digits", "trials": 3, "objective": {"metric": "val_loss"},
    "overrides": ["train.validate_every=5", "train.max_steps=45", "generator=none"],
    "space": {"train.lr": {"low": 3e-3, "high": 3e-2, "log": True}, "model": ["resnet_small", "mlp"]}, "sampler": {"startup": 2},
}  # fmt: skip


@pytest.fixture
def copy(tmp_path, project):
    """The real project's code and configuration in a repository of its own."""
    for name in ("pipeline", "conf"):
        shutil.copytree(project / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(project / name, tmp_path)
    (tmp_path / "conf/study/s.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_trial_that_was_paused_has_the_bytes_of_dvc_repro(copy):
    assert searching.run(copy, "tune", "s", seconds=1500).returncode == 0
    trials = searching.trials(copy)
    number, best = next((n, t) for n, t in enumerate(trials) if t["state"] == "COMPLETE")
    assert sorted(best["values"]) == [0, 1, 2], "it was paused twice"
    cell = copy / f".run/studies/s/cells/{number:04d}"
    shutil.copy(cell / "params.yaml", copy / "params.yaml")
    for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], [sys.executable, "-m", "dvc", "repro", "train"]):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        done = subprocess.run(words, cwd=copy, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr[-3000:]
    made = {path.parent.parent.name: path for path in (copy / ".run/studies/artifacts").glob("*/*/manifest.json")}
    assert set(made) == {"ingest", "embed", "quality", "split", "augment", "synthesize", "train"}
    for name in made:
        wanted = (copy / f"data/{name}/manifest.json").read_bytes()
        found = [path.read_bytes() for path in (copy / ".run/studies/artifacts").glob(f"{name}/*/manifest.json")]
        assert wanted in found, f"{name} differs from what dvc repro makes"
