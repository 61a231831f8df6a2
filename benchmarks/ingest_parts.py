"""What `benchmarks.ingest` measures, each a process of its own: `python -m benchmarks.ingest_parts PART ARGUMENTS`.

Nothing is imported before it is needed: the processes that decode import this module too.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def settings(*groups: str) -> dict[str, Any]:
    """The numbers of conf/config.yaml, and options of groups, as `dataset/image_folder`."""
    import yaml

    def read(name: str) -> Any:
        return yaml.load((ROOT / f"conf/{name}.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)

    conf = read("config")
    return {**conf, **{group.split("/")[0]: read(group) for group in groups}}


def empty(folder: str) -> Path:
    """A folder without anything in it."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    return Path(folder)


def ours(source: str, out: str, items: str, side: str) -> None:
    """The stage `ingest`, which stores squares of `side` pixels; prints the peak of its memory in KB."""
    import resource
    from multiprocessing import forkserver

    from pipeline.stages import ingest

    cfg = settings("dataset/image_folder")
    cfg["ingest"] = {**cfg["ingest"], "height": int(side), "width": int(side), "channels": 3}
    Path(items).mkdir(exist_ok=True)
    ingest.run(cfg, empty(out), source=Path(source), items=Path(items))
    if forkserver._forkserver._forkserver_pid is not None:  # type: ignore[attr-defined]  # noqa: SLF001
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - so that the time of the workers is counted
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def validate(ingest: str, items: str) -> None:
    """What the stage `quality` computes of each sample by itself; prints how many samples were looked at."""
    from pipeline.core.store import open_samples
    from pipeline.findings.items import gather

    Path(items).mkdir(exist_ok=True)
    print(gather(open_samples(Path(ingest)), Path(items), {}).computed)


def divide(ingest: str, out: str) -> None:
    """The stage `split` by `splitter=stable`; not measured."""
    from pipeline.stages import split

    (empty(f"{out}.quality") / "clusters.json").write_text("{}", encoding="utf-8")
    split.run(settings("splitter/stable"), empty(out), ingest=Path(ingest), quality=Path(f"{out}.quality"))


def augment(ingest: str, split: str, out: str, items: str) -> None:
    """The stage `augment`: one copy of each training sample by `transform=photo`; prints how many parents were drawn from."""
    from pipeline.stages import augment as stage

    drawn: list[str] = []

    class Counting(stage.Drawing):
        def _drawn(self, samples: Any, position: int, key: str, copy: int) -> Any:
            drawn.append(key)
            return super()._drawn(samples, position, key, copy)

    stage.Drawing = Counting  # type: ignore[misc]
    cfg = settings("transform/photo", "embedder/none", "task/classification")
    cfg["augment"] = {**cfg["augment"], "copies": 1, "fraction": 1.0}
    Path(items).mkdir(exist_ok=True)
    stage.run(cfg, empty(out), ingest=Path(ingest), embed=empty(f"{out}.embed"), split=Path(split), items=Path(items))
    print(len(drawn))


def start(part: str) -> None:
    """Only import what a part needs."""
    import importlib

    import yaml  # noqa: F401

    names = {"ingest": "stages.ingest", "validate": "findings.items", "augment": "stages.augment"}
    importlib.import_module(f"pipeline.{names[part]}")
    if part == "augment":
        from pipeline.augmentation.library import import_albumentations

        import_albumentations()
        importlib.import_module("pipeline.transform.policy")


def bare(source: str, decoder: str) -> None:
    """Read, hash and decode every file, and keep nothing."""
    import hashlib
    from io import BytesIO

    import numpy as np

    if decoder == "pillow":
        from PIL import Image
    else:
        import simplejpeg  # type: ignore[import-untyped]
    for path in sorted(Path(source).rglob("*.jpg")):
        data = path.read_bytes()
        hashlib.sha256(data).digest()
        if decoder == "pillow":
            np.asarray(Image.open(BytesIO(data)).convert("RGB"))
        else:
            simplejpeg.decode_jpeg(data, "RGB")


if __name__ == "__main__":
    parts = {"ours": ours, "validate": validate, "divide": divide, "augment": augment, "start": start, "bare": bare}
    parts[sys.argv[1]](*sys.argv[2:])
