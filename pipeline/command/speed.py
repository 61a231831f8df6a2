"""Measure whether bf16, channels_last or more threads make the composed training faster on this machine.

They change bits, so they are configuration and never chosen silently: this prints what each gains and the overrides to paste.
Plain convolutions often gain from bf16, depthwise ones lose, and small networks lose by more threads.
"""

import argparse
import copy
import os
from pathlib import Path
from typing import Any

from pipeline.core.artifact import read_json
from pipeline.core.config import compose
from pipeline.core.dag import read_params
from pipeline.core.errors import PersonError

EXAMPLES = """examples:
  python -m pipeline speed                                the experiment of params.yaml
  python -m pipeline speed train.batch_size=256           with overrides, in Hydra's grammar
  python -m pipeline speed --seconds 60 --threads 1 2 4   longer, and these numbers of threads
It needs what  dvc repro split embed  publishes, for the true shape of a batch, and writes nothing.
"""
WORTH = 1.05  # gains below are within what two runs differ by


def main(argv: list[str]) -> int:
    """Run `python -m pipeline speed`; 0 when measured."""
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    params = read_params(root)
    overrides = [*(str(override) for override in params.get("overrides") or []), *options.words]
    cfg = compose(root / "conf", experiment=str(params["experiment"]), overrides=overrides)
    threads = sorted({*(options.threads or _powers(os.cpu_count() or 1)), cfg["threads"]})
    timings, present, shape = _measured(cfg, root, threads=threads, seconds=options.seconds)
    _show(timings, present, shape)
    return 0


def _measured(cfg: dict[str, Any], root: Path, *, threads: list[int], seconds: float) -> Any:
    """Timings, the present setting, and the shape of a batch."""
    import torch

    from pipeline.training.speed import Setting, compare, settings, stepper

    torch.set_deterministic_debug_mode("error")
    network, task, x_B, truth_B = _step(cfg, root)
    recipe = cfg["train"]
    images = x_B.ndim == 4
    present = Setting(recipe["precision"], recipe["channels_last"] and images, cfg["threads"])
    steps = {
        setting: stepper(copy.deepcopy(network), x_B, truth_B, task=task, recipe=recipe, setting=setting)
        for setting in settings(threads, layouts=images)
    }
    return compare(steps, present=present, seconds=seconds), present, tuple(x_B.shape)


def _step(cfg: dict[str, Any], root: Path) -> Any:
    """The network that is trained, the task, and a batch of the true shape."""
    import numpy as np
    import torch

    from pipeline.core.parts import build
    from pipeline.training.inputs import is_cached

    data = root / "data"
    for stage, file in (("ingest", "card.json"), ("split", "statistics.json"), ("embed", "manifest.json")):
        if not (data / stage / file).is_file():
            raise PersonError(f"data/{stage} is not there, and the shape of a batch is read from it: run  dvc repro split embed")
    card = read_json(data / "ingest/card.json")
    shape = {name: card[name] for name in ("channels", "height", "width")}
    wanted = {name: cfg["ingest"][name] for name in shape}
    if shape != wanted:
        raise PersonError(f"data/ingest holds images of {shape}, this configuration wants {wanted}: run  dvc repro split embed")
    task = build(cfg["task"], card=card)
    facts = {**read_json(data / "split/statistics.json"), "channels": shape["channels"], "height": shape["height"],
             "width_pixels": shape["width"], "outputs": task.outputs()}  # fmt: skip
    network: Any = build(cfg["model"], **facts)
    count = cfg["train"]["batch_size"]
    _, truth = task.toy(count, np.random.default_rng(0))
    if is_cached(network, data / "embed"):
        features = np.load(data / "embed/features.npy", mmap_mode="r")
        return network.head, task, torch.randn(count, features.shape[1]), torch.from_numpy(truth)
    return network, task, torch.rand(count, *shape.values()), torch.from_numpy(truth)


def _show(timings: Any, present: Any, shape: tuple[int, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"a training step on a batch of {' x '.join(map(str, shape))}")
    for name in ("precision", "channels_last", "threads"):
        table.add_column(name)
    for name in ("ms a step", "times as fast", "smallest to largest"):
        table.add_column(name, justify="right")
    for timing in timings:
        setting, ends = timing.setting, f"{min(timing.ratios):.2f} to {max(timing.ratios):.2f}"
        table.add_row(
            setting.precision, str(setting.channels_last).lower(), str(setting.threads), f"{1000 * timing.seconds:.2f}",
            "present" if setting == present else f"{timing.gain:.2f}", "" if setting == present else ends,
        )  # fmt: skip
    console = Console()
    console.print(table)
    best = timings[0]
    if best.gain < WORTH:
        console.print("the present setting is as fast as any")
        return
    found = " ".join(best.setting.overrides(present))
    console.print(f"{best.gain:.2f} times as fast with   {found}", highlight=False, soft_wrap=True)
    console.print("These change bits: a run with them is another result. Compare its validation metric before you keep it.")


def _powers(count: int) -> list[int]:
    """1, 2, 4, ... up to the processors of this machine."""
    return [2**power for power in range(count.bit_length()) if 2**power <= count]


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline speed", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="key=value", help="any Hydra override")
    parser.add_argument("--seconds", type=float, default=20.0, help="to spend on measuring (20)")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads to try (1, 2, 4, ... processors)")
    return parser.parse_intermixed_args(argv)
