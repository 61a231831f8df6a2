"""The real command, `python -m pipeline train`, in a toy repository of its own: started, signalled, killed, and its result."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from pipeline.core import artifact
from pipeline.core.artifact import damaged
from pipeline.core.section import Section, write_section
from pipeline.core.store import write_shards
from tests import toy

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 180
OVERRIDES = [
    "model=resnet_small", "model.width=8", "model.dropout=0.2", "train=default", "transform=symmetries", "logger=none", "threads=1",
    "embedder=none", f"train.max_steps={STEPS}", "train.batch_size=32", "train.ema=0.9", "train.precision=bf16-mixed",
    "train.checkpoint_every=10", "train.log_every=1", "train.validate_every=200", "train.synthetic_share=0", "generator=gan_small",
    "generator.resolution=16", f"generator.max_steps={STEPS}", "generator.checkpoint_every=10", "generator.log_every=1",
    "synthesize.count=24", "synthesize.gate_steps=10", "synthesize.sheet=8",
]  # fmt: skip
KEPT = ("PIPELINE_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "SLURM_")
WEIGHTS = {"train": "model.safetensors", "synthesize": "generator.safetensors"}


class Repository:
    """A folder with the code as it is now, a composed configuration and toy artifacts of everything before training."""

    def __init__(self, root, overrides=()):
        self.root = root
        for name in ("pipeline", "conf"):
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "dvc.yaml", root)
        params = {"experiment": "digits", "overrides": [*OVERRIDES, *overrides], "source": "data/raw"}
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        done = subprocess.run(self.words("compose"), cwd=root, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        data = root / "data"
        ingested = toy.ingest(data, classes=["bar", "disc"], count=240)
        parted = toy.split(data, ingested)
        toy.embed(data, ingested, off=True)
        toy.empty(data, "synthesize")
        write_shards(out := artifact.begin(data / "augment"), [])
        write_section(out, Section("Augmented samples", "none"))
        toy.publish(data, "augment", {"ingest": ingested, "split": parted})

    def copy(self, root):
        """The same inputs in another folder, with nothing trained."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns(".run", "__pycache__"))
        for stage, weights in WEIGHTS.items():
            if (root / "data" / stage / weights).is_file():
                shutil.rmtree(root / "data" / stage)
        if not (root / "data" / "synthesize").is_dir():
            toy.empty(root / "data", "synthesize")
        twin = object.__new__(Repository)
        twin.root = root
        return twin

    def words(self, stage):
        return [sys.executable, "-m", "pipeline", stage]

    def environment(self, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(KEPT)}
        return {**clean, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", **more}

    def start(self, stage, **environment):
        return Started(self, stage, environment)

    def finish(self, stage, **environment):
        """Run to the end; returns the hash of what was published."""
        started = self.start(stage, **environment)
        assert started.code(600) == 0, started.said()
        return self.published(stage)

    def published(self, stage):
        folder = self.root / "data" / stage
        assert damaged(folder) == []
        files = [folder / WEIGHTS[stage], folder / "history.csv"]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def steps(self, stage):
        """Rows of the history of the training that is under way."""
        found = list((self.root / ".run" / stage).glob("*/history.jsonl"))
        return found[0].read_bytes().count(b"\n") if found else 0

    def refused(self, stage):
        return [path.name for path in (self.root / ".run" / stage).glob("*/refused-*")]

    def checkpoints(self, stage):
        return sorted(int(path.name[5:14]) for path in (self.root / ".run" / stage).glob("*/step=*.ckpt"))


class Started:
    """One start of the command."""

    def __init__(self, repository, stage, environment):
        self.repository, self.stage = repository, stage
        self.log = repository.root / "log.txt"
        self.begun = repository.steps(stage)
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(repository.words(stage), cwd=repository.root, env=repository.environment(**environment),
                                            stdout=file, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def under_way(self, more=3, timeout=240):
        """Wait until it has trained some steps; returns whether it still runs."""
        end, known = time.monotonic() + timeout, None
        while self.process.poll() is None:
            now = self.repository.steps(self.stage)
            known = now if known is None or now < known else known
            if now >= known + more:
                return True
            assert time.monotonic() < end, self.said()
            time.sleep(0.01)
        return False

    def processes(self):
        """The process and those below it, ranks and data workers."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        return []

    def ranks(self):
        """Process ids of the ranks, the first being the command itself."""
        found = {0: self.process.pid}
        for process in self.processes()[1:]:
            with contextlib.suppress(psutil.Error):
                if process.ppid() == self.process.pid and process.cmdline()[1:3] == ["-m", "pipeline"]:
                    found[int(process.environ().get("RANK", "0"))] = process.pid
        return found

    def kill(self):
        """kill -9 of everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def code(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout} s: {self.said()}") from None

    def said(self):
        return self.log.read_text(errors="replace")[-6000:]


def killed(repository, stage, kills, chance, **environment):
    """Start and kill -9 at random moments of the training, then run to the end; returns the hash and how many were killed."""
    done = 0
    while done < kills:
        started = repository.start(stage, **environment)
        if not started.under_way(more=chance.randint(1, STEPS // (kills + 1))):
            break
        time.sleep(chance.uniform(0.0, 0.05))
        done += started.process.poll() is None
        started.kill()
    return repository.finish(stage, **environment), done
