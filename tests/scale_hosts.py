"""A dry project - the real Snakefile, DVC and publication, stages that only write bytes - and what is done to its cache."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from pipeline.core.artifact import damaged

PROJECT = Path(__file__).resolve().parents[1]
UPSTREAM = {"a": ["raw"], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "f": ["d", "e"]}
STAGE = '''"""Write files that are a function of the inputs alone, slowly where DRY_SECONDS says so; publish as every stage does."""
import hashlib, os, random, sys, time
from pathlib import Path
from pipeline.core import artifact

name, size, inputs = sys.argv[1], int(sys.argv[2]), [Path(word) for word in sys.argv[3:]]
final = Path("data") / name
out = artifact.begin(final)
read = b"".join(path.read_bytes() for folder in inputs for path in sorted(folder.rglob("*")) if path.is_file())
key = hashlib.sha256(name.encode() + read).hexdigest()
for number in range(4):
    (out / f"{number}.bin").write_bytes(random.Random(f"{key} {number}").randbytes(size))
    time.sleep(float(os.environ.get("DRY_SECONDS", "0")) / 4)
(out / "lines.txt").write_text(key + "\\r\\n")
artifact.publish(out, final, {"inputs": {path.name: artifact.digest(path) for path in inputs if path.name != "raw"}})
with open("ran.log", "a") as log:
    log.write(name + "\\n")
'''


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DVC_", "GIT_"))}
    return {
        **kept, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "PYTHONPATH": str(PROJECT),
        "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **more,
    }  # fmt: skip


class Dry:
    """One workspace of the dry project; each has a memory (DVC's state) of its own."""

    def __init__(self, root):
        self.root = Path(root)

    @classmethod
    def make(cls, root, *, size=4000):
        self = cls(root)
        (self.root / "data" / "raw").mkdir(parents=True)
        (self.root / "data" / "raw" / "one.txt").write_text("one\n")
        (self.root / "data" / "raw" / "two.txt").write_text("two\n")
        (self.root / "stage.py").write_text(STAGE)
        (self.root / "params.yaml").write_text("source: data/raw\n")
        (self.root / ".dvcignore").write_text("__pycache__\n.run\ndata/*.partial\ndata/*.old\n")
        (self.root / ".gitignore").write_text("/data/*\n!/data/raw/\n/.snakemake/\n/.run/\n/ran.log\n/home/\n")
        stages = {
            name: {
                "cmd": f"python stage.py {name} {size} " + " ".join(f"data/{other}" for other in others),
                "deps": [f"data/{other}" for other in others], "outs": [f"data/{name}"],
            }
            for name, others in UPSTREAM.items()
        }  # fmt: skip
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        shutil.copy(PROJECT / "Snakefile", self.root)
        shutil.copytree(PROJECT / "profiles", self.root / "profiles")
        shutil.copytree(PROJECT / ".dvc", self.root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        for words in (["init", "--quiet", "-b", "main"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
            subprocess.run(["git", *words], cwd=self.root, env=environment(), check=True)
        self.commit()
        return self

    def commit(self):
        for words in (["add", "-A"], ["commit", "--quiet", "--allow-empty", "-m", "state"]):
            subprocess.run(["git", *words], cwd=self.root, env=environment(), check=True)

    def copy(self, root):
        """The same with its cache, its lock and its times."""
        shutil.copytree(self.root, root, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "tmp", "home", ".snakemake"))
        return Dry(root)

    def environment(self, **more):
        """A home of its own, so that workspaces of one test share nothing that DVC remembers."""
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        return environment(HOME=str(home), DVC_SITE_CACHE_DIR=str(home / "dvc"), **more)

    def call(self, *words, check=True, timeout=300, **more):
        done = subprocess.run([sys.executable, "-m", *words], cwd=self.root, env=self.environment(**more), capture_output=True, text=True,
                              timeout=timeout)  # fmt: skip
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def start(self, *words, log, **more):
        with Path(log).open("ab") as file:
            return subprocess.Popen([sys.executable, "-m", *words], cwd=self.root, env=self.environment(**more), stdout=file,
                                    stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def outputs(self):
        """Stage -> hash of its output, from dvc.lock."""
        return {name: block["outs"][0]["md5"] for name, block in yaml.safe_load((self.root / "dvc.lock").read_text())["stages"].items()}

    def content(self):
        """File -> hash of its bytes, of everything published."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for name in UPSTREAM for path in sorted((self.root / "data" / name).rglob("*")) if path.is_file()
        }  # fmt: skip

    def visible_is_whole(self):
        """Whatever stands under a final name has a manifest and equals it."""
        for name in UPSTREAM:
            folder = self.root / "data" / name
            with contextlib.suppress(FileNotFoundError):
                if folder.is_dir() and any(folder.iterdir()) and (not (folder / "manifest.json").is_file() or damaged(folder)):
                    return False
        return True

    def wipe(self):
        """Remove what is published; the cache stays."""
        for name in UPSTREAM:
            shutil.rmtree(self.root / "data" / name, ignore_errors=True)

    @property
    def cache(self):
        return self.root / ".dvc" / "cache"

    def objects(self):
        return sorted(path for path in (self.cache / "files" / "md5").glob("*/*"))


CORRUPTIONS = ("flip", "truncate", "zero", "swap", "remove")


def corrupt(path, how, *, keep, other=None):
    """Do to a file of a cache what disks and people do; `keep` its time and mode, or let both change."""
    content, middle = path.read_bytes(), path.stat().st_size // 2
    if how == "remove":
        path.unlink()
    elif how == "swap":
        swapped = other.read_bytes()
        _overwrite(other, content, keep)
        _overwrite(path, swapped, keep)
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
        _overwrite(path, {"flip": flipped, "truncate": content[:middle], "zero": bytes(len(content))}[how], keep)


def _overwrite(path, content, keep):
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    if keep:
        path.chmod(before.st_mode & 0o777)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def kill_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rng(name):
    seed = int(os.environ.get("SCALE_SEED", time.time_ns() % 10**6))
    print(f"SCALE_SEED={seed} repeats {name}")
    return random.Random(seed)


def killed_and_recovered(root, log, *, times):
    """Kill Snakemake and all below it at random moments, `times` times; the same command must go on each time.

    Returns:
        How many starts were killed while they ran, how many of these were recovered, and what stood in the way.
    """
    moments, dry = rng("these kills"), Dry.make(root)
    texts = {"one\n": None, "another\n": None}
    for text in texts:
        (dry.root / "data" / "raw" / "one.txt").write_text(text)
        dry.call("dvc", "repro")
        texts[text] = dry.content()
    killed, recovered, troubles = 0, 0, []
    while killed < times:
        text = list(texts)[killed % 2]
        (dry.root / "data" / "raw" / "one.txt").write_text(text)
        dry.wipe()
        shutil.rmtree(dry.cache / "runs" if killed % 4 < 2 else dry.cache, ignore_errors=True)  # or everything would be restored
        (dry.root / "dvc.lock").unlink(missing_ok=True)
        log.write_bytes(b"")
        process = dry.start("snakemake", "-c2", log=log, DRY_SECONDS="0.6")
        while process.poll() is None and b"rule a:" not in log.read_bytes():
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 8.0))
        if process.poll() is not None:
            assert process.returncode == 0, f"it ended by itself: {log.read_text(errors='replace')[-2000:]}"
            continue
        kill_group(process)
        killed += 1
        whole = dry.visible_is_whole()
        done = dry.call("snakemake", "-c2", check=False)
        if whole and done.returncode == 0 and dry.content() == texts[text]:
            recovered += 1
        else:
            troubles.append(f"kill {killed}: visible whole {whole}, exit {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
    left = [path.name for path in (dry.root / "data").iterdir() if path.suffix in {".partial", ".old"}]
    return killed, recovered, troubles + [f"left behind: {left}"] * bool(left)


TOLD = ("another snakemake runs in this folder", "Unable to acquire lock", "is busy", "missing data")


def side_by_side(root, logs, *, times):
    """Two runs at once in one repository, by DVC, by Snakemake and by one of each in turn.

    Returns:
        How often something was corrupt, and how each second one fared.
    """
    dry = Dry.make(root)
    dry.call("dvc", "repro")
    whole, corrupt_, fates = dry.content(), 0, []
    commands = [("snakemake", "-c2"), ("dvc", "repro")]
    for number in range(times):
        dry.wipe()
        shutil.rmtree(dry.cache)
        (dry.root / "dvc.lock").unlink()
        pair = [commands[number % 2], commands[(number // 2) % 2]]
        started = [dry.start(*words, log=logs / f"{number}-{place}", DRY_SECONDS="0.3") for place, words in enumerate(pair)]
        codes = [process.wait(300) for process in started]
        said = [(logs / f"{number}-{place}").read_text(errors="replace") for place in range(2)]
        for code, text in zip(codes, said, strict=True):
            if code == 0:
                fates.append("ended well")
            else:
                told = [line for line in text.splitlines() if line.lower().startswith("error:") and any(word in line for word in TOLD)]
                fates.append(f"was told: {told[0][:90]}" if told else f"failed: {text[-3000:]}")
        again = dry.call("dvc", "repro", check=False)
        same = again.returncode == 0 and dry.content() == whole and dry.visible_is_whole()
        corrupt_ += not same or dry.call("pipeline", "verify", "--deep", check=False).returncode != 0
        assert 0 in codes, f"neither of {pair} came through: {said}"
    return corrupt_, fates


def corrupted(root, work):
    """Forty corruptions of a cache: what DVC alone does of each, what `verify --deep` says, and what is served after it.

    Returns:
        Rows (name, served by DVC alone, detected, served after `verify --deep`).
    """
    dry = Dry.make(root, size=800_000)
    dry.call("dvc", "repro")
    whole, rows, draw = dry.content(), [], rng("these corruptions")
    outputs = set(dry.outputs().values())
    kinds = {
        "file": [path for path in dry.objects() if path.suffix != ".dir" and path.stat().st_size == 800_000],
        "directory": [path for path in dry.objects() if path.suffix == ".dir" and path.parent.name + path.name in outputs],
        "run": sorted(path for path in (dry.cache / "runs").glob("*/*/*")),
    }  # fmt: skip
    for how in CORRUPTIONS:
        for keep in (True, False):
            for kind in ("file", "directory", "file", "file" if how == "remove" else "run"):
                one, other = draw.sample(kinds[kind], 2)
                alone, twin = (dry.copy(work / f"{len(rows)}-{name}") for name in ("alone", "verified"))
                for copy in (alone, twin):  # DVC mends some of it by itself, so each is asked on a copy of its own
                    at, another = (copy.root / path.relative_to(dry.root) for path in (one, other))
                    corrupt(at, how, keep=keep, other=another)
                said = twin.call("pipeline", "verify", "--deep", check=False)
                name = str(at.relative_to(twin.cache)) if how != "remove" else at.parent.name + at.name
                rows.append((f"{how} {kind}{', time and mode kept' if keep else ''}", _served(alone, whole),
                             said.returncode == 1 and name in said.stdout, _served(twin, whole)))  # fmt: skip
                for copy in (alone, twin):
                    shutil.rmtree(copy.root)
    return rows


def _served(dry, whole):
    """Whether a rebuild hands out anything that is not what the stages made; where it hands out nothing, it does not."""
    dry.wipe()
    dry.call("dvc", "repro", check=False)
    found = dry.content()
    return any(found.get(name, digest) != digest for name, digest in whole.items()) or not found.keys() <= whole.keys()
