"""What the training would take - time, memory, money - from a few timed steps; changes nothing.

Composes conf/ as it stands, with further overrides where you give them, and trains for a moment in a temporary folder on what
the earlier stages published.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.core import launch
from pipeline.core.artifact import begin, digest, read_json
from pipeline.core.config import compose
from pipeline.core.cost import TIMINGS, Price, duration, price, size
from pipeline.core.dag import Stage, read_params, read_stage
from pipeline.core.errors import PersonError

EXAMPLES = """examples:
  python -m pipeline forecast                                   the training as it is configured
  python -m pipeline forecast model=resnet train.batch_size=128    another one
  PIPELINE_PRICE_PER_HOUR="2.50 EUR" python -m pipeline forecast   with money
a price may also stand in the configuration: report.price_per_hour and report.currency
"""
STEPS = 12  # timed ones
ALONE = ("PIPELINE_DEVICES", "PIPELINE_NODES", "PIPELINE_STRATEGY", "PIPELINE_LAUNCH")  # one process is timed, whatever trains


def main(argv: list[str]) -> int:
    """Run `python -m pipeline forecast`; 0 when the forecast was made."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline forecast", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps to time, after a few to warm up (default {STEPS})")
    options = parser.parse_args(argv)
    if options.steps < 1:
        raise PersonError(f"--steps must be at least 1: received {options.steps}")
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    params = read_params(root)
    words = [*(str(override) for override in params.get("overrides") or []), *options.overrides]
    config = compose(root / "conf", experiment=str(params["experiment"]), overrides=words)
    for name in ALONE:
        os.environ.pop(name, None)
    stage = read_stage(root, "train")
    for path in stage.inputs.values():
        digest(root / path)
    scratch = root / ".run" / "forecast"
    launch.enter("forecast", threads=int(config["threads"]), scratch=(scratch / "tmp").resolve())
    launch.seed_everything(int(config["seed"]))
    cfg = {key: config[key] for key in stage.keys if key in config}
    timings = timed(cfg, root, stage, scratch=scratch, steps=options.steps)
    for line in lines(cfg["train"], timings, price(config["report"])):
        print(line)
    return 0


def timed(cfg: dict[str, Any], root: Path, stage: Stage, *, scratch: Path, steps: int) -> dict[str, Any]:
    """Train for a moment, with one validation and two checkpoints, and return what `timings.json` says of it.

    Args:
        cfg: what the stage train reads.
        root: the repository.
        stage: train.
        scratch: where a temporary folder is made.
        steps: to time.
    """
    from pipeline.stages import train
    from pipeline.training.forecast import WARM

    last = WARM + steps + 2
    short = {"max_steps": last, "validate_every": last, "checkpoint_every": last - 1, "log_every": last, "health_samples": 0,
             "patience": 0, "keep": "last", "snapshots": []}  # fmt: skip
    recipe = {**cfg["train"], **{key: value for key, value in short.items() if key in cfg["train"]}}
    inputs = {keyword: root / path for keyword, path in stage.inputs.items()}
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder, contextlib.redirect_stdout(io.StringIO()):
        work = begin(Path(folder) / "scratch")
        train.run({**cfg, "train": recipe, "logger": None}, begin(Path(folder) / "train"), **inputs, scratch=work)
        found: dict[str, Any] = read_json(work / TIMINGS)
    return found


def lines(recipe: Mapping[str, Any], timings: Mapping[str, Any], paid: Price) -> list[str]:
    """The forecast in words.

    Args:
        recipe: conf/train.
        timings: of a short training.
        paid: price of an hour.
    """
    from pipeline.training.forecast import Costs, whole
    from pipeline.training.resources import device_free_bytes, free_bytes

    one = Costs(**timings["measured"])
    all_of_it = whole(recipe, one)
    free = device_free_bytes() or free_bytes()
    speed = f"{one.samples_per_second or 0:,.0f} samples/s, {recipe['batch_size']} a step"
    rows = [
        ("one step", f"{duration(one.step_seconds or 0)} ({speed})"),
        ("one validation", duration(one.validate_seconds or 0)),
        ("one checkpoint", duration(one.checkpoint_seconds or 0)),
        (f"all {recipe['max_steps']:,} steps", f"about {duration(all_of_it.seconds)}"),
        ("memory", size(one.device_peak_bytes or one.peak_bytes or 0) + (f", {size(free)} are free" if free else "")),
        ("money", f"about {paid.of(all_of_it.seconds)}, at {paid.per_hour:g} {paid.currency} an hour" if paid.per_hour else
         "no price is known: see --help"),
    ]  # fmt: skip
    if sys.platform != "linux":
        rows.append(("note", "the memory limit of this system is not read"))
    return ["training, as it is configured, on this machine and one process:", *(f"  {name:<20}{words}" for name, words in rows)]
