"""Toy artifacts made by code: pictures of blobs whose brightness is the target and whose shape is the class.

    directories = toy.artifacts(tmp_path, classes=["bar", "disc"])

gives every directory that `report` reads, the ones of ingest, embed, split and train filled with real samples and a small
trained network, so that evaluate, explain, robustness, compress and export can run on them in a second or two.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.core import artifact, pictures
from pipeline.core.parts import build
from pipeline.core.record import Sample
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.core.store import open_samples, write_shards

STAGES = ("compose", "ingest", "embed", "quality", "split", "augment", "synthesize", "baseline", "train", "calibrate", "evaluate", "explain",
          "robustness", "ood", "compress", "export", "ship", "certify", "assure")  # fmt: skip
CALIBRATE = {"coverage": 0.9, "conformal": "lac", "costs": None}
EVALUATE = {"mistakes": 6, "kinds": 2, "each": 4, "groups": ["class", "group", "confidence", "brightness"], "smallest_group": 5,
            "human": None}
PROJECT = Path(__file__).resolve().parents[1]


def option(room: str, name: str, **changes: Any) -> dict[str, Any]:
    """The configuration of one part, as conf/ has it, with changes."""
    return {**yaml.safe_load((PROJECT / "conf" / room / f"{name}.yaml").read_text(encoding="utf-8")), **changes}


def image(label: int, level: float, rng: np.random.Generator, *, side: int = 16, channels: int = 1) -> np.ndarray:
    """A bar (even label) or a disc (odd label) of some brightness at a random place on noise, uint8 (side, side, channels)."""
    row, column = np.mgrid[:side, :side] - rng.integers(side // 3, side - side // 3, size=2)[:, None, None]
    shape = (np.abs(row) <= 1) if label % 2 == 0 else (row**2 + column**2 <= (side / 4) ** 2)
    pixels = rng.normal(90 + 12 * (label // 2), 45, size=(side, side, channels))
    return np.clip(pixels + shape[..., None] * (25 + 60 * level), 0, 255).astype(np.uint8)


def samples(count: int, classes: int, *, seed: int = 0, side: int = 16, channels: int = 1, group_size: int = 8) -> list[Sample]:
    """Samples with a class, a target in [0, 1], a confidence and groups of neighbours."""
    rng = np.random.default_rng(seed)
    made = []
    for order in range(count):
        label, level = int(rng.integers(classes)), float(rng.random())
        pixels = image(label, level, rng, side=side, channels=channels)
        identity = hashlib.sha256(pixels.tobytes()).hexdigest()[:20]
        made.append(Sample(
            id=identity, pixels_HWC=pixels, label=label, target=level, weight=float(rng.choice([0.5, 1.0])),
            group=f"g{order // group_size:04d}", order=order, name=f"photo-{order:04d}.png",
        ))  # fmt: skip
    return made


def publish(directory: Path, stage: str, inputs: dict[str, Path] | None = None) -> Path:
    """Seal what was written into `<directory>/<stage>.partial` and return its final place."""
    digests = {name: artifact.digest(path) for name, path in (inputs or {}).items()}
    facts = {"stage": stage, "inputs": digests, "seed": 0, "versions": {"numpy": np.__version__}}
    artifact.publish(directory / f"{stage}.partial", directory / stage, facts)
    return directory / stage


def ingest(directory: Path, *, classes: list[str], count: int = 240, card: dict[str, Any] | None = None, **shape: int) -> Path:
    """An ingest artifact."""
    out = artifact.begin(directory / "ingest")
    made = samples(count, len(classes), **shape)
    write_shards(out, made)
    height, width, channels = made[0].pixels_HWC.shape
    facts = {
        "name": "Toy shapes", "source": "made by tests/toy.py", "license": "CC-BY-NC-SA-4.0", "citation": "none needed",
        "classes": classes, "counts": {name: sum(s.label == k for s in made) for k, name in enumerate(classes)},
        "target": {"name": "brightness", "unit": "cd/m²", "low": 0.0, "high": 1.0}, "samples": len(made), "height": height,
        "width": width, "channels": channels, "quarantined": 1, "groups": len({s.group for s in made}), "digest": "0" * 64,
    }  # fmt: skip
    artifact.write_json(out / "card.json", {**facts, **(card or {})})
    (out / "quarantine.csv").write_text("name,reason\nbroken.jpg,truncated\n", encoding="utf-8")
    pictures.sheet([s.pixels_HWC for s in made[:12]], [classes[s.label] for s in made[:12]], out / "contact_sheet.png")
    table = Table("Samples of each class", ["class", "samples"], [[name, n] for name, n in facts["counts"].items()])
    write_section(out, Section("Data", f"{len(made)} samples of {len(classes)} classes", tables=[table],
                               pictures=[Picture("contact_sheet.png", "Twelve samples.")]))  # fmt: skip
    return publish(directory, "ingest")


def split(directory: Path, ingested: Path) -> Path:
    """A split by blocks of the order: 60 % train, 15 % validation, 25 % test."""
    out = artifact.begin(directory / "split")
    stored = open_samples(ingested)
    first, second = int(0.6 * len(stored)), int(0.75 * len(stored))
    ids = stored.ids
    artifact.write_json(out / "split.json", {"train": ids[:first], "val": ids[first:second], "test": ids[second:]})
    pixels = np.stack([stored.pixels(position) for position in range(first)]) / 255
    statistics = {"mean": pixels.mean((0, 1, 2)).tolist(), "std": pixels.std((0, 1, 2)).tolist()}
    artifact.write_json(out / "statistics.json", statistics)
    write_section(out, Section("Split", f"{first} train, {second - first} validation, {len(stored) - second} test"))
    return publish(directory, "split", {"ingest": ingested})


def embed(directory: Path, ingested: Path, *, off: bool = False) -> Path:
    """Pixels as features, or the empty artifact of the option none."""
    out = artifact.begin(directory / "embed")
    stored = open_samples(ingested)
    features = np.stack([stored.pixels(position).ravel() for position in range(len(stored))]).astype(np.float32) / 255
    np.save(out / "features.npy", np.zeros((0, 0), dtype=np.float32) if off else features)
    (out / "ids.txt").write_text("" if off else "".join(f"{identity}\n" for identity in stored.ids), encoding="utf-8")
    artifact.write_json(out / "embedder.json", {"name": "none" if off else "pixels"})
    write_section(out, Section("Features", "off" if off else f"{features.shape[1]} features a sample"))
    return publish(directory, "embed", {"ingest": ingested})


def train(directory: Path, ingested: Path, parted: Path, *, task: dict[str, Any], steps: int = 60) -> Path:
    """A small perceptron, trained for a moment with Adam on the train split."""
    import torch

    from pipeline.training.saved_model import save_model

    out = artifact.begin(directory / "train")
    card, stored = artifact.read_json(ingested / "card.json"), open_samples(ingested)
    goal = build(task, card=card)
    positions = stored.positions(artifact.read_json(parted / "split.json")["train"])
    pixels_BHWC = np.stack([stored.pixels(int(position)) for position in positions])
    x_BCHW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255
    truth_B = torch.from_numpy(goal.truth({name: values[positions] for name, values in stored.columns.items()}))
    facts = {"channels": card["channels"], "height": card["height"], "width_pixels": card["width"], "outputs": goal.outputs(),
             **artifact.read_json(parted / "statistics.json")}  # fmt: skip
    part = option("model", "mlp", hidden=[32], dropout=0.0)
    torch.manual_seed(0)
    model = build(part, **facts)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        goal.losses(model(x_BCHW), truth_B).mean().backward()
        optimiser.step()
    save_model(model, {"part": part, "facts": facts, "task": task}, out)
    artifact.write_json(out / "run.json", {"run_id": "0123456789abcdef"})
    (out / "history.csv").write_text("step,loss,lr,grad_norm,val_loss\n1,1.0,0.003,1.0,1.0\n", encoding="utf-8")
    write_section(out, Section("Training", f"Mlp, {steps} steps"))
    return publish(directory, "train", {"ingest": ingested, "split": parted})


def empty(directory: Path, stage: str) -> Path:
    """The artifact of a stage that is off."""
    out = artifact.begin(directory / stage)
    if stage == "baseline":
        artifact.write_json(out / "metrics.json", {})
    write_section(out, Section(stage.capitalize(), "off"))
    return publish(directory, stage)


def artifacts(
    directory: Path, *, classes: list[str], task: str = "classification", card: dict[str, Any] | None = None, count: int = 320
) -> dict[str, Path]:
    """Every directory that report reads; compose, ingest, embed, split, baseline, train, calibrate and evaluate are real ones."""
    from pipeline.stages import baseline, calibrate, evaluate

    cfg: dict[str, Any] = {
        "task": option("task", task), "seed": 0, "threads": 1,
        "intervals": {"resamples": 100, "coverage": 0.95}, "calibrate": CALIBRATE, "evaluate": {**EVALUATE, "mistakes": 12},
        "baseline": {name: option("baseline", name) for name in ("majority", "linear", "svm")},
    }  # fmt: skip
    made = {"ingest": ingest(directory, classes=classes, card=card, count=count)}
    made["embed"] = embed(directory, made["ingest"])
    made["split"] = split(directory, made["ingest"])
    made["train"] = train(directory, made["ingest"], made["split"], task=cfg["task"])
    code = {stage: {"modules": hashlib.sha256(stage.encode()).hexdigest()[:16], "versions": {}} for stage in STAGES}
    out = artifact.begin(directory / "compose")
    (out / "config.yaml").write_text(yaml.safe_dump({**cfg, "code": code}, sort_keys=True), encoding="utf-8")
    write_section(out, Section("Configuration", "experiment toy"))
    made["compose"] = publish(directory, "compose")
    inputs = {name: made[name] for name in ("ingest", "split")}
    baseline.run(cfg, artifact.begin(directory / "baseline"), embed=made["embed"], **inputs)
    made["baseline"] = publish(directory, "baseline", {**inputs, "embed": made["embed"]})
    inputs = {**inputs, "train": made["train"]}
    calibrate.run(cfg, artifact.begin(directory / "calibrate"), **inputs)
    made["calibrate"] = publish(directory, "calibrate", inputs)
    inputs = {**inputs, "calibrate": made["calibrate"]}
    evaluate.run(cfg, artifact.begin(directory / "evaluate"), **inputs)
    made["evaluate"] = publish(directory, "evaluate", inputs)
    return {stage: made.get(stage) or empty(directory, stage) for stage in STAGES}
