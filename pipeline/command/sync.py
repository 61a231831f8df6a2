"""Upload the runs in .run/wandb to a W&B server; what is there already is skipped."""

import argparse
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import PersonError
from pipeline.core.redact import redact
from pipeline.tracking import live, records

RUNS = Path(".run") / "wandb"
EXAMPLES = """
examples:
  WANDB_API_KEY=... python -m pipeline sync                        to the server of your W&B settings
  WANDB_API_KEY=... python -m pipeline sync --url https://wandb.example.com
  WANDB_MODE=online dvc repro                                      no sync needed: runs go there as they are made

The key comes from the environment (WANDB_API_KEY) or from `wandb login`, never from the command line.
"""


def main(argv: Sequence[str]) -> int:
    """Upload; 0 when every run is on the server.

    Raises:
        PersonError: no server, no key, or no end within the timeout.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline sync", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--url", default=os.environ.get("WANDB_BASE_URL", ""), help="server (default: WANDB_BASE_URL)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for the whole upload (default: 600)")
    asked = parser.parse_args(argv)
    if asked.timeout <= 0:
        raise PersonError(f"--timeout must be above 0 seconds: received {asked.timeout:g}")
    waiting, running, done = sort_out(RUNS)
    for name in running:
        print(f"left alone: {name} is still being written")
    if not waiting:
        print(f"nothing to upload: {done} folders are on the server already" if done else
              "nothing to upload: there is no run in .run/wandb yet; make one with  dvc repro")  # fmt: skip
        return 0
    if asked.url:
        reach(asked.url)
    said = upload(waiting, url=asked.url, timeout=asked.timeout)
    left = [folder.name for folder in waiting if not is_synced(folder)]
    if left:
        raise PersonError(f"{len(left)} of {len(waiting)} folders were not uploaded ({redact(said) or 'wandb gave no reason'}); "
                          "the same command continues")  # fmt: skip
    print(f"uploaded {len(waiting)} folders ({len({folder.name.rpartition('-')[2] for folder in waiting})} runs); "
          f"{done} were on the server already")  # fmt: skip
    return 0


def sort_out(directory: Path) -> tuple[list[Path], list[str], int]:
    """Folders to upload, names of those still written to, and how many are on the server already.

    Runs that were made online count when their upload was cut short.
    """
    waiting: list[Path] = []
    running: list[str] = []
    done = 0
    for folder in records.folders(directory):
        if is_synced(folder):
            done += 1
        elif live.is_live(directory, next(folder.glob("*.wandb")).stem.removeprefix("run-")):
            running.append(folder.name)
        elif folder.name.startswith("offline-") or _cut_short(folder):
            waiting.append(folder)
        else:
            done += 1
    return waiting, running, done


def is_synced(folder: Path) -> bool:
    """Whether wandb has marked the folder as uploaded."""
    return next(folder.glob("*.wandb.synced"), None) is not None


def reach(url: str) -> None:
    """Make sure that something answers there: wandb itself would try for minutes.

    Raises:
        PersonError: nothing does, or it is not an http address.
    """
    if not url.startswith(("http://", "https://")):
        raise PersonError(f"the server's address must begin with http:// or https://: received {redact(url)!r}")
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - the scheme was checked
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise PersonError(f"no W&B server answers at {redact(url)} ({reason}): check the address") from error


def upload(folders: Sequence[Path], *, url: str, timeout: float) -> str:
    """Run `wandb sync` over the folders; return the reason that it gave for stopping, "" where it gave none.

    Raises:
        PersonError: it did not end within the timeout.
    """
    state = RUNS.resolve() / "state"
    own = {
        "WANDB_DIR": str(RUNS.resolve().parent), "WANDB_CACHE_DIR": str(state / "cache"), "WANDB_DATA_DIR": str(state / "data"),
        "WANDB_MODE": "online", "WANDB_ERROR_REPORTING": "false", **({"WANDB_BASE_URL": url} if url else {}),
    }  # fmt: skip
    words = [sys.executable, "-m", "wandb", "sync", "--include-online", *(str(folder) for folder in folders)]
    child = subprocess.Popen(words, env={**os.environ, **own}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip
    try:
        said, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise PersonError(f"the upload did not end within {timeout:g} s; the same command continues, or give it more time with "
                          "--timeout SECONDS") from error  # fmt: skip
    reasons = [line for line in said.splitlines() if line.startswith("Error:") or "No module named" in line]
    return reasons[-1].removeprefix("Error:").strip() if reasons else ""


def _cut_short(folder: Path) -> bool:
    try:
        return records.read(folder).state == "unfinished"
    except records.UnreadableRunError:
        return False
