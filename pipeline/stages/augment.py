"""Materialise augmented samples of the train split, audit the policy, and ask a simple model whether the labels survive it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.augmentation import looked
from pipeline.augmentation.audit import Finding, audit, order_of_labels
from pipeline.augmentation.augmented import ATTEMPTS, FEATURES, Drawing, Memory, Sums, keep, remember
from pipeline.augmentation.library import import_albumentations
from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.columns import Some
from pipeline.core.contracts import Embedder, Transform
from pipeline.core.epoch import order
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.launch import collecting_rarely
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.record import Sample
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples, write_shards
from pipeline.training.preservation import Judged, Preservation, compare

JUDGES = 4000  # real samples that the judge of the labels is fitted on, at most

KEYED = (
    "Only samples of the train split are augmented. A draw depends on the seed, the copy and the sample alone, so that no "
    "worker, order or restart can change or repeat it. A mask, boxes and keypoints move with their image."
)
USED = (
    "The samples published here enter the training only with train.augmented; the policy itself is applied anew to every image "
    "at every step of a training on images."
)


@collecting_rarely()
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
    settings = {name: cfg.get(name) for name in ("transform", "seed", "embedder", "threads", "code")}
    memory = remember(items, settings)
    sums = Sums(memory.sums)
    drawing_ = Drawing(policy, seed=int(cfg["seed"]), taken=set(everyone.ids), memory=memory)
    chance = sorted(train, key=lambda identity: keyed_seed(cfg["seed"], "augment", "chosen", identity))  # whoever else is there
    chosen = set(chance[: round(cfg["augment"]["fraction"] * len(train))] if cfg["augment"]["copies"] else [])
    parents = [identity for identity in train if identity in chosen]
    copies = cfg["augment"]["copies"]
    made = track(drawing_.all(samples, parents, copies=copies), what="augment", total=len(parents) * copies)
    count = write_shards(out, made, kept=memory.shards, watch=sums)
    facts = {"transforms": policy.describe(), **cfg["augment"], "parents": len(parents), "samples": count}
    write_json(out / "policy.json", facts)
    stored = open_samples(out)
    _features(cfg, stored, memory, drawing_.sources)
    keep(items, settings, stored, drawing_.draws, sums=sums.sums, before=memory)
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    kept = _preserved(cfg, stored, samples=samples, embed=embed, task=task, chance=chance[: max(len(parents), JUDGES)])
    looks = looked.Looks(items, settings)
    findings = _audited(policy, samples, train, task=task, looks=looks, probe=chance[:1])
    pages = _pictures(out, policy, [samples.sample(samples.index[one]) for one in chance[: looked.SHOWN]], looks=looks)
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
    truth = task.truth(Some(samples.columns, positions))
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
    worst = np.flatnonzero(found.changed_M)[: looked.SHOWN]
    if len(worst):
        pairs = [samples.sample(samples.index[str(made.columns["parent"][number])]) for number in worst]
        images = [
            image for number, parent in zip(worst, pairs, strict=True) for image in (parent.pixels_HWC, made.pixels(number))
        ]
        titles = [title for parent in pairs for title in (pictures.shorten(parent.name, 22), "judged otherwise")]
        pictures.sheet(images, titles, out / "judged_otherwise.png", columns=6)
    return found


def _audited(
    policy: Transform, samples: Samples, train: Sequence[str], *, task: Any, looks: looked.Looks, probe: Sequence[str]
) -> list[Finding]:
    """The policy by one probe image, and the order in which the labels of the train split, as split lists it, come."""
    if not train:
        return []
    seed, identity = int(looks.settings["seed"]), probe[0]

    def make() -> tuple[Any, Sequence[str]]:
        passes = looked.passes(policy, samples.pixels(samples.index[identity]), seed=seed)
        return [vars(one) for one in audit(passes)], []

    found = [Finding(**one) for one in looks.again("audit", identity, samples.directory, make)]
    if not task.categories:
        return found
    truth = task.truth(Some(samples.columns, samples.positions(train)))
    orders = [order(len(train), seed=seed, epoch=epoch) for epoch in range(looked.EPOCHS)]
    again = all(np.array_equal(one, orders[0]) for one in orders[1:])
    labels = order_of_labels([truth[one] for one in orders], again=again)
    return found if labels is None else [*found, labels]


def _pictures(out: Path, policy: Transform, parents: Sequence[Sample], *, looks: looked.Looks) -> list[Picture]:
    def make() -> tuple[Any, Sequence[str]]:
        pages = looked.sheets(out, policy, parents, seed=int(looks.settings["seed"]))
        return [vars(page) for page in pages], [page.file for page in pages]

    said = [looked.DRAWS, [[sample.id, sample.name] for sample in parents]]
    return [Picture(**page) for page in looks.again("pictures", said, out, make)]


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
