"""Run the pipeline's own stages on one split of the solar cells, below a temporary folder; shared by three benchmarks."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Metrics = dict[str, dict[str, dict[str, float]]]


def prepare(*overrides: str) -> dict[str, Any]:
    """Compose `solar_cells` with some overrides, and refuse to start without the artifacts of ingest and embed that it reads.

    Returns:
        The composed configuration.
    """
    os.chdir(ROOT)
    from pipeline.core import artifact, config, launch

    composed = config.compose(ROOT / "conf", experiment="solar_cells", overrides=["logger=none", *overrides])
    os.environ.update(launch.environment(threads=composed["threads"], scratch=Path(tempfile.gettempdir())))
    card = ROOT / "data/ingest/card.json"
    embedded = (ROOT / "data/embed/features.npy").is_file()
    if not embedded or not card.is_file() or artifact.read_json(card)["name"] != "ELPV solar cells":
        sys.exit("error: this reads data/ingest and data/embed of the solar cells: run  make repro  first")
    return composed


def _scratch() -> Path:
    """A folder that is gone when this process is."""
    folder = Path(tempfile.mkdtemp(prefix="elpv-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def measure(
    cfg: dict[str, Any], *, splitter: dict[str, Any], seed: int, ingest: Path = ROOT / "data/ingest", baselines: bool = True
) -> tuple[Metrics, Path]:
    """Split, train, evaluate and fit the baselines as the stages do.

    Args:
        cfg: what `prepare` composed.
        splitter: the splitter's configuration.
        seed: of the split and of the training.
        ingest: the samples, where they are stored at another size than the default's.
        baselines: also fit them; they read the embedded samples of the default size.

    Returns:
        Metrics of `ours` and of each baseline on the test split, and the folder with evaluate's predictions.
    """
    import torch

    from pipeline.core import launch
    from pipeline.core.artifact import begin, read_json
    from pipeline.stages import baseline, calibrate, evaluate, split, train

    torch.set_num_threads(cfg["threads"])
    chosen = {**cfg, "splitter": splitter, "seed": seed}
    data = {"ingest": ingest, **{name: ROOT / "data" / name for name in ("embed", "augment", "synthesize")}}
    folder = _scratch()
    out = {name: begin(folder / name) for name in ("split", "train", "calibrate", "evaluate", "baseline", "scratch")}
    launch.seed_everything(seed)
    split.run(chosen, out["split"], ingest=data["ingest"], quality=ROOT / "data/quality")
    train.run(chosen, out["train"], **data, split=out["split"], scratch=out["scratch"])
    given = {"ingest": data["ingest"], "split": out["split"], "train": out["train"]}
    calibrate.run(chosen, out["calibrate"], **given)
    evaluate.run(chosen, out["evaluate"], **given, calibrate=out["calibrate"])
    metrics = {"ours": read_json(out["evaluate"] / "metrics.json")}
    if baselines:
        baseline.run(chosen, out["baseline"], ingest=ingest, embed=data["embed"], split=out["split"])
        metrics.update(read_json(out["baseline"] / "metrics.json"))
    return metrics, out["evaluate"]


def stored(cfg: dict[str, Any], side: int) -> Path:
    """Ingest of the same cells at another size, below a temporary folder."""
    from pipeline.core.artifact import begin
    from pipeline.stages import ingest

    out = begin(_scratch() / "ingest")
    chosen = {**cfg, "ingest": {**cfg["ingest"], "height": side, "width": side}}
    ingest.run(chosen, out, source=ROOT / "conf/no_source")
    return out


@contextmanager
def table(title: str, columns: list[str]) -> Iterator[Any]:
    """A table on the terminal; yields its `add_row`."""
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title)
    for column in columns:
        made.add_column(column, justify="left" if column == columns[0] else "right")
    yield lambda *cells: made.add_row(*map(str, cells))
    Console(width=120).print(made)
