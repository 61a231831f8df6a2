"""`python -m pipeline forecast` times a few steps, says what the whole takes, and leaves everything as it was."""

import hashlib
import os
import re
import subprocess
import sys

import pytest

from pipeline.command.forecast import lines, main
from pipeline.core.artifact import begin, write_json
from pipeline.core.cost import Price
from pipeline.core.errors import PersonError
from pipeline.core.store import write_shards
from tests import toy

RECIPE = {"max_steps": 1000, "validate_every": 100, "checkpoint_every": 100, "batch_size": 64}
ONE = {"seconds": 1.0, "step_seconds": 0.5, "validate_seconds": 2.0, "checkpoint_seconds": 1.0, "samples_per_second": 128.0,
       "peak_bytes": 612_000_000, "device_peak_bytes": None}  # fmt: skip


def test_the_words_are_those_of_the_whole_training():
    said = "\n".join(lines(RECIPE, {"measured": ONE}, Price(2.5, "EUR")))
    assert re.search(r"one step +500 ms \(128 samples/s, 64 a step\)", said)
    assert re.search(r"all 1,000 steps +about 8 min 50 s", said)  # 500 + 10 * 2 + 10 * 1
    assert re.search(r"memory +612 MB, .* are free", said)
    assert re.search(r"money +about 0.37 EUR, at 2.5 EUR an hour", said)
    assert "no price is known" in "\n".join(lines(RECIPE, {"measured": ONE}, Price()))


def test_what_is_missing_or_mistyped_is_said(root):
    with pytest.raises(PersonError, match=r"data/ingest is not a whole artifact.*dvc repro ingest"):
        main([])
    with pytest.raises(PersonError, match=r"unknown key train.batchsize: did you mean 'batch_size'"):
        main(["train.batchsize=3"])
    with pytest.raises(PersonError, match="--steps must be at least 1"):
        main(["--steps", "0"])


def state(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*")
            if path.is_file() and not path.is_relative_to(root / ".git")}  # fmt: skip


def test_it_changes_nothing(root):
    data = root / "data"
    made = toy.ingest(data, classes=["bar", "disc"], count=120)
    toy.split(data, made)
    toy.embed(data, made, off=True)
    for name in ("augment", "synthesize"):
        out = begin(data / name)
        write_shards(out, [])
        write_json(out / "gates.json", {"share": 0, "why": "off"})
        toy.publish(data, name)
    (root / "params.yaml").write_text("experiment: digits\noverrides: [transform=none]\nsource: data/raw\n")
    before = state(root)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    environment = {**kept, "PYTHONPATH": str(toy.PROJECT), "PIPELINE_PRICE_PER_HOUR": "3 EUR"}
    done = subprocess.run([sys.executable, "-m", "pipeline", "forecast", "train.max_steps=100000", "--steps", "4"], cwd=root, env=environment,
                          capture_output=True, text=True, timeout=280)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"all 100,000 steps +about \d+ (min|h)", done.stdout)
    assert re.search(r"money +about [\d.]+ EUR, at 3 EUR an hour", done.stdout)
    assert {name for name, digest in state(root).items() if before.get(name) != digest} == set()
    assert not list((root / ".run" / "forecast").glob("tmp?*"))
