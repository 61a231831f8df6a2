"""Materialise augmented samples of the train split, audit the policy, and ask a simple model whether the labels survive it."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.audit import Epoch, Finding, audit
from pipeline.augmentation.augmented import ATTEMPTS, FEATURES, Drawing, Memory, keep, remember
from pipeline.augmentation.library import import_albumentations
from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Embedder, Transform
from pipeline.core.epoch import drawing, order
from pipeline.core.keyed import generator
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.record import Pixels
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples, write_shards
from pipeline.images.decode import sample_id
from pipeline.training.preservation import Judged, Preservation, compare

SHOWN, DRAWS = 6, 5  # rows of the sheet, and draws beside each original
ALONE = 35  # pictures of single steps, at most
AUDITED, BATCH, EPOCHS, WORKERS = 128, 8, 2, 2  # draws of an epoch of the audit, of a batch; epochs; imitated workers
JUDGES = 4000  # real samples that the judge of the labels is fitted on, at most

KEYED = (
    "Only samples of the train split are augmented. A draw depends on the seed, the copy and the sample alone, so that no "
    "worker, order or restart can change or repeat it. A mask, boxes and keypoints move with their image."
)
USED = (
    "The samples published here enter the training only with train.augmented; the policy itself is applied anew to every image "
    "at every step of a training on images."
)


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, items: Path | None = None) -> str:
    """Publish `augment.copies` augmented samples of each of a seeded `augment.fraction` of the train split, and their features.

    Args:
        cfg: `transform`, `augment`, `embedder`, `task`, `seed`, and `code` where the runner hands it on.
        out: where to write.
        ingest: the samples.
        embed: features of the real samples.
        split: who is in the train split; no other sample is read.
        items: what an earlier run drew; only new or changed parents are drawn from again.

    Raises:
        PersonError: the policy has an argument that would have no effect, changes the shape of an image, or cannot move a mask,
            boxes or keypoints that the data has.
    """
    train: list[str] = read_json(split / "split.json")["train"]
    everyone = open_samples(ingest)
    samples = everyone.only(train)
    if is_off(cfg["transform"]):
        return _none(out)
    import_albumentations()
    policy: Transform = build(cfg["transform"])
    settings = {name: cfg[name] for name in ("transform", "seed", "embedder")} | {"code": cfg.get("code")}
    memory = remember(items, settings)
    drawing_ = Drawing(policy, seed=int(cfg["seed"]), taken=set(everyone.ids), memory=memory)
    chance = sorted(train, key=lambda identity: keyed_seed(cfg["seed"], "augment", "chosen", identity))  # whoever else is there
    chosen = set(chance[: round(cfg["augment"]["fraction"] * len(train))] if cfg["augment"]["copies"] else [])
    parents = [identity for identity in train if identity in chosen]
    copies = cfg["augment"]["copies"]
    made = track(drawing_.all(samples, parents, copies=copies), what="augment", total=len(parents) * copies)
    count = write_shards(out, made, kept=memory.shards)
    facts = {"transforms": policy.describe(), **cfg["augment"], "parents": len(parents), "samples": count}
    write_json(out / "policy.json", facts)
    stored = open_samples(out)
    _features(cfg, stored, memory, drawing_.sources)
    keep(items, settings, out, drawing_.draws)
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    kept = _preserved(cfg, stored, samples=samples, embed=embed, task=task, chance=chance[: max(len(parents), JUDGES)])
    findings = audit(_passes(policy, samples, chance, task=task, seed=int(cfg["seed"])))
    pages = _pictures(out, policy, samples, chance, seed=int(cfg["seed"]))
    return _section(out, facts, drawing_, train=len(train), kept=kept, findings=findings, pages=pages)


def _features(cfg: dict[str, Any], made: Samples, memory: Memory, sources: Sequence[int]) -> None:
    """`features.npy` and `ids.txt` of the augmented samples; one image a pass, so that no row depends on its neighbours."""
    out = made.directory
    matrix = np.zeros((0, 0), np.float32)
    if len(made) and not is_off(cfg["embedder"]):
        embedder: Embedder = build(cfg["embedder"])
        rows = [
            memory.features[source] if source >= 0 else embedder.features(made.batch([position]))[0]
            for position, source in track(enumerate(sources), what="features of augmented samples", total=len(made))
        ]
        matrix = np.stack(rows).astype(np.float32)
    np.save(out / FEATURES, matrix)
    ids = made.ids if len(matrix) else []
    (out / "ids.txt").write_text("".join(f"{identity}\n" for identity in ids), encoding="utf-8")


def _preserved(
    cfg: dict[str, Any], made: Samples, *, samples: Samples, embed: Path, task: Any, chance: Sequence[str]
) -> Preservation | None:
    """What a linear model on embed's features says of the labels; None where there are no features."""
    out = made.directory
    matrix = np.load(out / FEATURES)
    if not len(matrix):
        return None
    stored = (embed / "ids.txt").read_text(encoding="utf-8").split()
    row = {identity: number for number, identity in enumerate(stored)}
    real = np.load(embed / FEATURES, mmap_mode="r")
    positions = samples.positions(chance)
    truth = task.truth({name: column[positions] for name, column in samples.columns.items()})
    groups = [str(group) for group in samples.columns["group"][positions]]
    judged = Judged(np.asarray(real[[row[identity] for identity in chance]]), truth, groups, int(task.categories))
    place = {identity: number for number, identity in enumerate(chance)}
    parents = np.asarray([place[str(parent)] for parent in made.columns["parent"]], dtype=np.int64)
    found = compare(judged, matrix, parents, seed=int(cfg["seed"]))
    facts = {
        "judged": found.judged, "change": found.change, "learned": found.learned, "real": found.real, "augmented": found.made,
        "tolerance": found.tolerance,
    }  # fmt: skip
    write_json(out / "preservation.json", facts)
    worst = np.flatnonzero(found.changed_M)[:SHOWN]
    if len(worst):
        pairs = [samples.sample(samples.index[str(made.columns["parent"][number])]) for number in worst]
        images = [
            image for number, parent in zip(worst, pairs, strict=True) for image in (parent.pixels_HWC, made.pixels(number))
        ]
        titles = [title for parent in pairs for title in (pictures.shorten(parent.name, 22), "judged otherwise")]
        pictures.sheet(images, titles, out / "judged_otherwise.png", columns=6)
    return found


def _passes(policy: Transform, samples: Samples, train: Sequence[str], *, task: Any, seed: int) -> list[Epoch]:
    """Epochs of one probe image, drawn as one process would and as several workers would."""
    if not train:
        return []
    probe, some = samples.pixels(samples.index[train[0]]), train[:AUDITED]
    truth = task.truth({name: column[samples.positions(train)] for name, column in samples.columns.items()})
    found = []
    for workers in (0, WORKERS):
        for epoch in range(EPOCHS):
            ids = [some[place] for place in order(len(some), seed=seed, epoch=epoch)]
            labels = truth[order(len(train), seed=seed, epoch=epoch)].tolist() if task.categories else ()
            draws, steps = _drawn(policy, probe, [drawing(seed, epoch, identity) for identity in ids], workers=max(1, workers))
            found.append(Epoch(workers, epoch, ids, draws, BATCH, labels=labels, steps=steps))
    return found


def _drawn(
    policy: Transform, probe: Pixels, chances: Sequence[np.random.Generator], *, workers: int
) -> tuple[list[str], list[list[dict[str, float]]]]:
    """Hash and numbers of each draw; batches go round to workers, each with a copy of the policy, the last one working first."""
    found: dict[int, tuple[str, list[dict[str, float]]]] = {}
    for worker in reversed(range(workers)):
        copy: Transform = pickle.loads(pickle.dumps(policy))  # noqa: S301  # our own object, as a worker would get it
        for place in range(len(chances)):
            if place // BATCH % workers == worker:
                found[place] = sample_id(copy(probe, chances[place])), copy.applied()
    return [found[place][0] for place in sorted(found)], [found[place][1] for place in sorted(found)]


def _pictures(out: Path, policy: Transform, samples: Samples, shown: Sequence[str], *, seed: int) -> list[Picture]:
    parents = [samples.sample(samples.index[identity]) for identity in shown[:SHOWN]]
    if not parents:
        pictures.placard("no training samples", out / "before_after.png")
        return [Picture("before_after.png", "There are no training samples.")]
    images, titles = [], []
    for sample in parents:
        draws = [policy(sample.pixels_HWC, drawing(seed, copy, sample.id)) for copy in range(DRAWS)]
        images += [sample.pixels_HWC, *draws]
        titles += [pictures.shorten(sample.name, 22), *(f"draw {copy + 1}" for copy in range(DRAWS))]
    pictures.sheet(images, titles, out / "before_after.png", columns=1 + DRAWS)
    alone = [("original", parents[0].pixels_HWC), *_alone(policy, parents[0].pixels_HWC, seed=seed)]
    pictures.sheet([image for _, image in alone], [title for title, _ in alone], out / "alone.png", columns=6)
    return [
        Picture("before_after.png", "Training samples (left) and five draws of the policy for each."),
        Picture("alone.png", "Each step of the policy by itself, at the ends of its ranges; is it still what its label says?"),
    ]  # fmt: skip


def _alone(policy: Transform, pixels_HWC: Pixels, *, seed: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each step at its ends; of one without ranges, the three of sixteen draws that change the image most."""
    steps = policy.alone()
    names = [name for name, _ in steps[:ALONE]]
    for name, step in steps[:ALONE]:
        draws = {
            made.tobytes(): made for made in (step(pixels_HWC, generator(seed, "alone", name, number)) for number in range(16))
        }
        far = sorted(draws.values(), key=lambda made: -float(np.abs(made.astype(np.int16) - pixels_HWC).mean()))
        fixed = "end)" in name or len(names) > 6
        for image in far[: 1 if fixed else 3]:
            yield name, image


def _section(
    out: Path, facts: dict[str, Any], drawn: Drawing, *, train: int, kept: Preservation | None, findings: Sequence[Finding],
    pages: list[Picture],
) -> str:  # fmt: skip
    rows: list[list[Cell]] = [
        [entry["__class_fullname__"], ", ".join(f"{key}={value}" for key, value in entry.items() if not key.startswith("__"))]
        for entry in facts["transforms"]
    ]
    warnings = [
        f"Audit of the augmentation: {one.name}: {one.found}, expected {one.right}." for one in findings if not one.passed
    ]
    if drawn.repeated:
        warnings.append(
            f"{drawn.repeated} augmented copies were left out: {ATTEMPTS} draws each gave an image that exists already."
        )
    said, alarm = _verdict(kept, limit=facts["max_label_change"])
    if (out / "judged_otherwise.png").is_file():
        pages = [*pages, Picture("judged_otherwise.png", "Parents that were judged rightly, and copies that were not.")]
    checks: list[list[Cell]] = [[one.name, one.found, one.right, "passed" if one.passed else "FAILED"] for one in findings]
    return write_section(out, Section(
        title="Augmentation",
        summary=f"{facts['samples']} augmented samples of {facts['parents']} of the {train} training samples",
        text=[KEYED, USED, said],
        warnings=[*warnings, *alarm],
        tables=[
            Table("The policy, in the order of application", ["transform", "arguments"], rows),
            Table("Audit of its draws", ["question", "found", "right", "verdict"], checks),
        ],
        pictures=pages,
    ))  # fmt: skip


def _verdict(kept: Preservation | None, *, limit: float) -> tuple[str, list[str]]:
    """What the judge of the labels says, and the warning where that is too much."""
    if kept is None:
        return "Whether the labels survive was not checked: there are no augmented samples, or no features (embedder: none).", []
    if kept.change is None:
        return "Whether the labels survive could not be checked: the linear model judged no parent rightly.", []

    def text(entry: dict[str, float]) -> str:
        return f"{entry['value']:.1%} [{entry['low']:.1%}, {entry['high']:.1%}]"

    value, share = kept.change["value"], text(kept.change)
    otherwise = f"differ by more than {kept.tolerance:.3g}" if kept.tolerance else "fall into another class"
    said = (
        "Whether the labels survive is judged by a linear model on embed's features, in folds that leave out a parent and its "
        f"copies. It judges {kept.real:.1%} of the parents rightly; of the {kept.judged} copies of these, {share} {otherwise}."
    )
    if kept.learned is not None:
        said += f" For a model that has also learned from augmented samples of other parents it is {text(kept.learned)}."
    if value <= limit:
        return said, []
    alarm = (
        f"Augmentation may destroy labels: {share} of the augmented samples whose parent a linear model judges rightly "
        f"{otherwise} (augment.max_label_change {limit:g}). Look at the pictures of the policy, and make it milder if they no "
        "longer show what their label says."
    )
    return said, [alarm]


def _none(out: Path) -> str:
    write_shards(out, [])
    write_json(out / "policy.json", {"transforms": [], "samples": 0})
    np.save(out / FEATURES, np.zeros((0, 0), np.float32))
    (out / "ids.txt").write_text("", encoding="utf-8")
    pictures.placard("transform: none", out / "before_after.png")
    return write_section(out, Section(title="Augmentation", summary="no augmentation (transform: none)"))
