"""Queue unlabelled images for people, with a model's proposals, and read the reviewed labels back as new data."""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.command.add import check_name, copy, shell_word, version
from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.progress import track
from pipeline.core.table import write_csv
from pipeline.labelling import new_version
from pipeline.labelling.annotation import Proposal, check_answers, check_classes, listed, settle
from pipeline.labelling.label_queue import FORMATS, Waiting, read_review, write_page, write_queue
from pipeline.labelling.new_version import COLUMNS, TABLE, Item
from pipeline.labelling.ranking import MEASURES, Wish, choose
from pipeline.source.folder import files_below, is_image

if TYPE_CHECKING:
    from pipeline.training.prelabel import Labeller, Opinion

EXAMPLES = """examples:
  python -m pipeline label queue ~/new_photos                        the 100 images that a label would teach most
  python -m pipeline label queue ~/new_photos --format cvat --count 500
  python -m pipeline label read export.json --images ~/new_photos --name parts2 --base data/raw/parts
  python -m pipeline label read annotations.xml --images ~/new_photos --name parts2
`queue` needs a trained model in data/ (dvc repro). Proposals are no labels: only what a person gave or confirmed is read back.
"""
EXPERIMENT = """# @package _global_
# {title}
defaults:
  - {parent}
  - override /dataset: image_table
  - _self_
dataset: {{group: group}}
"""


def main(argv: list[str]) -> int:
    """Run `python -m pipeline label`."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline label", description=(__doc__ or "").strip(), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    words = parser.add_subparsers(dest="word", required=True, metavar="queue | read")
    _queue_arguments(words.add_parser("queue", help="rank a folder of unlabelled images and write what people review"))
    _read_arguments(words.add_parser("read", help="make a new version of the data of what people have reviewed"))
    options = parser.parse_args(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    return queue(options, root) if options.word == "queue" else read(options, root)


def _queue_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="the folder of unlabelled images; sub-folders are read too")
    add("--count", type=int, default=100, help="images in the queue (100)")
    add("--format", choices=FORMATS, default="labelstudio", help="what the labelling tool imports (labelstudio)")
    add("--out", help="a new folder for the queue (data/label/NAME_OF_FOLDER)")
    add("--measure", choices=list(MEASURES), default="margin", help="how doubt is measured (margin)")
    add("--diversity", type=float, default=0.5, help="0: only doubt counts; 1: only distance from what is labelled (0.5)")
    add("--space", choices=("features", "predictions"), default="features", help="where distance is measured (features)")
    add("--near", type=float, default=3.0, help="grey levels; images that differ by less are asked about once (3)")
    add("--url", help="what stands before each path in Label Studio (/data/local-files/?d=NAME_OF_FOLDER/)")


def _read_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", help="what the tool exported: Label Studio JSON or JSON-MIN, CVAT for images 1.1, or the filled-in queue.csv")
    add("--images", required=True, help="the folder that the queue was made of")
    add("--name", required=True, help="of the new version: lower-case letters, digits, - and _")
    add("--base", help="data that the new version continues, for example data/raw/parts")
    add("--classes", help="every class, comma between; without it those of the base and of data/ingest")
    add("--disagreement", choices=("stop", "drop"), default="stop", help="images that people label differently (stop)")


def queue(options: argparse.Namespace, root: Path) -> int:
    """Rank, write, and say what to do next; nothing is left behind when it fails."""
    if options.count < 1 or not 0 <= options.diversity <= 1 or options.near < 0:
        raise PersonError(
            f"--count must be at least 1, --diversity in [0, 1], --near not negative: received {options.count}, "
            f"{options.diversity}, {options.near}"
        )
    folder = _folder(options.folder, what="FOLDER")
    out = Path(os.path.abspath(Path(options.out).expanduser())) if options.out else root / "data/label" / folder.name
    if out.exists():
        raise PersonError(f"{out} exists already: move it away, or name another folder with --out; nothing was overwritten")
    files = [path for path in files_below(folder) if is_image(path)]
    if not files:
        raise PersonError(f"{folder} holds no image")
    from pipeline.training.prelabel import judge, open_labeller

    labeller = open_labeller(root, space=options.space)
    check_classes(labeller.classes)
    waiting = Waiting(folder, labeller.decode, labeller.seen)
    opinion = judge(labeller, waiting.images(track(files, what="look at", total=len(files))))
    proposals = _propose(labeller, waiting, opinion, options)
    written = _publish(out, proposals, options, folder=folder, classes=labeller.classes, model=labeller.model)
    _tell_queue(out, written, waiting, proposals, form=options.format)
    return 0


def _propose(labeller: "Labeller", waiting: Waiting, opinion: "Opinion", options: argparse.Namespace) -> list[Proposal]:
    """The queue, the most wanted first."""
    doubt_N = MEASURES[options.measure](opinion.probability_NK)
    wish = Wish(options.count, options.diversity, options.near)
    choice = choose(opinion.feature_ND, doubt_N, opinion.thumbnail_NP, wish=wish, known_MD=labeller.known_MD)
    return [
        Proposal(
            path=waiting.names[place], label=labeller.classes[int(opinion.probability_NK[place].argmax())],
            probabilities=dict(zip(labeller.classes, map(float, opinion.probability_NK[place]), strict=True)),
            doubt=float(doubt_N[place]), height=waiting.sizes[place][0], width=waiting.sizes[place][1],
            twins=tuple(waiting.names[twin] for twin in choice.twins.get(place, [])),
        )
        for place in choice.positions
    ]  # fmt: skip


def _publish(
    out: Path, proposals: list[Proposal], options: argparse.Namespace, *, folder: Path, classes: list[str], model: str
) -> list[str]:
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        url = options.url or f"/data/local-files/?d={folder.name}/"
        written = write_queue(partial, proposals, classes, form=options.format, url=url, model=model)
        write_page(partial / "sheet.html", folder, proposals, model=model)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [*written, "sheet.html"]


def _tell_queue(out: Path, written: Sequence[str], waiting: Waiting, proposals: Sequence[Proposal], *, form: str) -> None:
    twins = sum(len(one.twins) for one in proposals)
    print(f"{len(proposals)} of {len(waiting.names)} new images wait in {out}: {', '.join(written)}")
    left_out = {"have a label already": waiting.labelled, "repeat another one": waiting.repeated,
                "are near duplicates of one in the queue": twins, "cannot be read": len(waiting.bad)}  # fmt: skip
    for why, number in left_out.items():
        if number:
            print(f"  left out: {number} {why}")
    for name, reason in waiting.bad[:5]:
        print(f"    {name}: {reason}")
    steps = {
        "labelstudio": "Label Studio: paste labels.xml as the labelling interface, import tasks.json, serve the folder as local "
                       "files",
        "cvat": "CVAT: paste labels.json into the task's raw labels, upload the images of images.txt under these names, upload "
                "annotations.xml as `CVAT 1.1`; a reviewer ticks `reviewed` on each tag that is right",
        "csv": "fill in the column `label` of queue.csv",
    }  # fmt: skip
    print(f"look at {out / 'sheet.html'}; then {steps[form]}; then")
    folder = shell_word(str(waiting.folder))
    print(f"  python -m pipeline label read EXPORT --images {folder} --name NEW_NAME --base data/raw/OLD_NAME")


def read(options: argparse.Namespace, root: Path) -> int:
    """Check what came back, copy it under data/raw, version it and write its experiment."""
    experiment, target = check_name(options.name, root)
    folder = _folder(options.images, what="--images")
    base = new_version.read_base(_folder(options.base, what="--base")) if options.base else []
    classes = _classes(options.classes, base, root)
    review = read_review(Path(options.file).expanduser())
    check_answers(review.answers, classes)
    answers, dropped = settle(review.answers, stop=options.disagreement == "stop")
    if not answers:
        raise PersonError(f"{options.file} holds no reviewed label ({review.unanswered} images wait): nothing was written")
    items, changed = new_version.join(base, new_version.reviewed(folder, answers, name=options.name))
    _bring(items, target, scratch=root / ".run/label" / options.name)
    version(root, target)
    source = target.relative_to(root).as_posix()
    title = f"{options.name}: {len(items)} images, {len(answers)} of them reviewed; source {source}"
    experiment.write_text(EXPERIMENT.format(title=title, parent=_parent(options.base, root)), encoding="utf-8")
    print(f"{len(answers)} reviewed labels are read; {review.unanswered} images still wait; {changed} labels of the base changed")
    if dropped:
        print(f"  left out, because people differ: {listed(dropped)}")
    print(f"{source} holds {len(items)} images: {new_version.counts(items)}. Next:")
    print(f"  python -m pipeline exp experiment={options.name} source={shell_word(source)}")
    return 0


def _bring(items: Sequence[Item], target: Path, *, scratch: Path) -> None:
    """Gather the images and the table beside each other, then copy them as `add` does."""
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for item in items:
            place = scratch / item.path
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(item.file, place, follow_symlinks=False)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(item.file, place, follow_symlinks=False)
        write_csv(scratch / TABLE, COLUMNS, [item.row() for item in items])
        copy(scratch, target, sorted(path for path in scratch.rglob("*") if path.is_file()))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _classes(asked: str | None, base: Sequence[Item], root: Path) -> list[str]:
    """Every class that a label may be.

    Raises:
        PersonError: none is known.
    """
    card = root / "data/ingest/card.json"
    if asked:
        classes = [name.strip() for name in asked.split(",")]
    else:
        known = read_json(card)["classes"] if card.is_file() and not base else []
        classes = sorted({*known, *(item.label for item in base)})
    if not classes:
        raise PersonError("no class is known here: name every class with  --classes a,b,c")
    check_classes(classes)
    return classes


def _parent(base: str | None, root: Path) -> str:
    """The experiment that the new one continues: that of the base, where it has one of its name."""
    name = Path(base).name if base else ""
    return name if name and (root / "conf/experiment" / f"{name}.yaml").is_file() else "own_images"


def _folder(path: str, *, what: str) -> Path:
    folder = Path(os.path.abspath(Path(path).expanduser()))
    if not folder.is_dir():
        raise PersonError(f"{what} {folder} is not a folder")
    return folder
