"""Ingest, split and train one folder in a process of its own, under a limit on memory; prints what each stage took as JSON.

    python -m tests.bounded FOLDER COUNT ALLOWANCE

The same stages first run on FEW images, so that every import and buffer is there. Then the process may only grow by ALLOWANCE
MB of private memory (RLIMIT_DATA: what is allocated, not files that are mapped; the kernel refuses more) while it reads COUNT
images of SIDE x SIDE. Last, two ways of working that hold all pixels are planted, one after the other; the limit must refuse
both. ALLOWANCE 0 sets no limit and plants nothing.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

SIDE = 256
IMAGE = SIDE * SIDE  # bytes, grey
BATCH = 8
FEW = 256
PROJECT = Path(__file__).resolve().parents[1]


def images(folder: Path, count: int) -> None:
    """Write grey bitmaps of two classes, no two alike; a bitmap costs nothing to write or to read."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    level = np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.uint8)
    for number in range(count):
        kind = "ab"[number % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = level + np.uint8(40 * (number % 2)) + rng.integers(0, 30, (SIDE, 1), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / kind / f"{number:06d}.bmp")


def settings(steps: int) -> dict[str, Any]:
    """The configuration as compose writes it."""
    from omegaconf import OmegaConf

    from pipeline.core.config import compose

    words = ["dataset=image_folder", "embedder=none", "transform=none", "generator=none", "model=mlp", "model.hidden=[8]",
             "logger=none", f"ingest.height={SIDE}", f"ingest.width={SIDE}", f"train.batch_size={BATCH}", f"train.max_steps={steps}",
             f"train.validate_every={steps}", f"train.checkpoint_every={steps}", "train.synthetic_share=0"]  # fmt: skip
    composed = compose(PROJECT / "conf", experiment="digits", overrides=words)
    plain = OmegaConf.to_container(OmegaConf.create(composed), resolve=True)
    assert isinstance(plain, dict)
    return {**plain, "code": {"ingest": {"modules": "", "versions": {}}}}


def status(key: str) -> int:
    """A line of proc(5)'s status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def whole(folder: Path, source: Path, steps: int, told: dict[str, float]) -> None:
    """The stages in order; `told` receives the peak of each in MB."""
    from pipeline.core.artifact import begin, write_json
    from pipeline.core.store import write_shards
    from pipeline.stages import ingest, split, train

    cfg = settings(steps)
    names = ("ingest", "quality", "split", "train", "embed", "augment", "synthesize", "scratch")
    out = {name: begin(folder / name) for name in names}
    items = folder / "items"
    items.mkdir()
    write_json(out["quality"] / "clusters.json", {})
    write_json(out["embed"] / "embedder.json", {"name": "none"})
    write_json(out["synthesize"] / "gates.json", {"share": 0, "why": "off"})
    for name in ("augment", "synthesize"):
        write_shards(out[name], [])
    made = {name: out[name] for name in ("ingest", "embed", "split", "augment", "synthesize")}
    work: dict[str, Callable[[], object]] = {
        "ingest": lambda: ingest.run(cfg, out["ingest"], source=source, items=items),
        "split": lambda: split.run(cfg, out["split"], ingest=out["ingest"], quality=out["quality"]),
        "train": lambda: train.run(cfg, out["train"], **made, scratch=out["scratch"]),
    }
    for name, run in work.items():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far, proc(5)
        run()
        told[name] = status("VmHWM") / 2**20


def hold_at_ingest() -> None:
    """Every sample, with its pixels, before the first is written."""
    from pipeline.core.record import Sample
    from pipeline.stages import ingest

    accept = ingest.Intake.accept

    def hold(self: Any, found: Any) -> Any:
        copies = [replace(each, pixels_HWC=each.pixels_HWC.copy()) if isinstance(each, Sample) else each for each in found]
        return accept(self, copies)

    ingest.Intake.accept = hold


def hold_at_train() -> None:
    """Every image of the split, before the first step."""
    import numpy as np

    from pipeline.training.inputs import PixelInputs

    begin = PixelInputs.__init__

    def hold(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.held = np.concatenate([samples.batch(places) for samples, places in self.parts])

    PixelInputs.__init__ = hold


def refused(folder: Path, source: Path, steps: int) -> str:
    """How far a planted fault comes, and what stops it; "" if nothing does."""
    told: dict[str, float] = {}
    try:
        whole(folder, source, steps, told)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        return f"{type(error).__name__} after {', '.join(told) or 'nothing'}"
    return ""


def main(words: list[str]) -> None:
    """Warm up, set the limit, run, print."""
    folder, count, allowance = Path(words[0]), int(words[1]), int(words[2])
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    images(folder / "few", FEW)
    images(folder / "many", count)
    whole(folder / "warm", folder / "few", 4, {})
    told: dict[str, Any] = {"data": count * IMAGE / 2**20}
    if allowance:
        most = status("VmData") + (allowance << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    steps = count // BATCH // 4
    whole(folder / "run", folder / "many", steps, told)
    if allowance:
        hold_at_train()
        told["train holds all"] = refused(folder / "train fault", folder / "many", 4)
        hold_at_ingest()
        told["ingest holds all"] = refused(folder / "ingest fault", folder / "many", 4)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
