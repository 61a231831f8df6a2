"""Compare the tracked runs in one static page, without an account or a server."""

import argparse
import base64
import hashlib
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core import ledger
from pipeline.core.errors import PersonError
from pipeline.core.redact import redact
from pipeline.tracking import chart, records
from pipeline.tracking.compare import compare

RUNS = Path(".run") / "wandb"
PAGE = Path(".run") / "review.html"
SCRIPT = Path(__file__).with_name("review.js")
EXAMPLES = """
examples:
  python -m pipeline review                          write .run/review.html and open it
  python -m pipeline review --last 4                 the four newest runs
  python -m pipeline review --out runs.html --no-browser
  wandb leet .run/wandb                              the same runs in the terminal
"""


def main(argv: Sequence[str]) -> int:
    """Write the page and open it; 0 also when there is no run yet.

    Raises:
        PersonError: a wrong option.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline review", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help=f"where to write the page (default: {PAGE})")
    parser.add_argument("--last", type=int, default=12, metavar="N", help="only the N newest runs (default: 12)")
    parser.add_argument("--no-browser", action="store_true", help="do not open it")
    asked = parser.parse_args(argv)
    if asked.last < 1:
        raise PersonError(f"--last must be at least 1: received {asked.last}")
    runs, refused = records.read_all(RUNS)
    for name, reason in refused.items():
        print(f"left out: {name} cannot be read ({reason})", file=sys.stderr)
    if not runs:
        print(f"there is no run in {RUNS} yet: make one with  dvc repro  or  python -m pipeline exp experiment=digits")
        return 0
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    looks = ledger.read(Path.cwd()).sentence()
    shown = page(runs[-asked.last :], refused=refused, older=max(len(runs) - asked.last, 0), looks=looks)
    asked.out.write_text(shown, encoding="utf-8")
    print(f"{len(runs[-asked.last :])} of {len(runs)} runs compared: {asked.out}")
    if not asked.no_browser and has_display():
        webbrowser.open(asked.out.resolve().as_uri())
    return 0


def page(runs: Sequence[records.Run], *, refused: dict[str, str], older: int, looks: str) -> str:
    """The page as one self-contained text; whatever the runs say is escaped, and only our own script may run.

    Args:
        runs: oldest first.
        refused: folders that could not be read, with the reason.
        older: how many further runs there are.
        looks: how often the test split was opened in this workspace.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    template = environment.get_template("review.html.j2")
    return template.render(runs=runs, it=compare(runs), chart=chart, refused=redact(refused, names=False), older=older,
                           looks=looks, script=script, allowed=allowed)  # fmt: skip


def has_display() -> bool:
    """Whether a browser could show a window here."""
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
