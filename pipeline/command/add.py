"""Bring a folder or an archive of your own images under data/raw, version it with DVC, and write its experiment."""

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import yaml

from pipeline.core.errors import PersonError
from pipeline.core.progress import track
from pipeline.source.archive import kind_of, unpack
from pipeline.source.folder import unwrapped
from pipeline.source.recognise import Layout, recognise

SAFE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
EXAMPLES = """examples:
  python -m pipeline add ~/photos --name parts          copy the folder; DVC keeps every version of it
  python -m pipeline add ~/photos --name parts --link   leave it where it lies; only its experiment is written
  python -m pipeline add photos.zip --name parts        unpack an archive (zip, tar, tar.gz, tar.xz)
The folder holds one sub-folder a class (photos/cat/1.jpg, photos/dog/2.png), a table (labels.csv), COCO or Pascal VOC
annotations, images/ and masks/, or idx files; docs/data.md shows each.
"""
EXPERIMENT = """# @package _global_
# {title}
defaults:
  - own_images
{overrides}  - _self_
{settings}"""
MEMBERS, FILE_BYTES, RATIO = 2_000_000, 4 << 30, 200.0  # caps of an archive; all its bytes must fit on the disk twice


def main(argv: list[str]) -> int:
    """Run `python -m pipeline add`; nothing is left behind when it fails before the copy is whole."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline add", description=(__doc__ or "").strip(), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("path", help="the folder of images, or an archive of it")
    parser.add_argument("--name", required=True, help="its name: lower-case letters, digits, - and _")
    parser.add_argument("--link", action="store_true", help="do not copy and do not version: use the folder where it lies")
    options = parser.parse_args(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    path = Path(os.path.abspath(Path(options.path).expanduser()))
    experiment, target = check_name(options.name, root)
    source = target.relative_to(root).as_posix()
    if path.is_file() and kind_of(path) is not None:
        if options.link:
            raise PersonError(f"--link needs a folder: {path} is an archive; leave out --link to unpack it")
        files, layout = unpacked(path, target)
    else:
        files = check_folder(path, root)
        layout = recognise(path)
        if options.link:
            source = str(path)
        else:
            copy(path, target, files)
    if not options.link:
        version(root, target)
    experiment.write_text(_experiment(f"{options.name}: {len(files)} files, source {source}", layout), encoding="utf-8")
    print(f"{len(files)} files are ready, read as {layout.dataset}: {layout.told}.")
    print(f"{experiment.relative_to(root)} is their experiment. Next, one of:")
    print(f"  python -m pipeline exp experiment={options.name} source={shell_word(source)}")
    print(f"  set  experiment: {options.name}  and  source: {source}  in params.yaml, then  dvc repro")
    return 0


def unpacked(archive: Path, target: Path) -> tuple[list[Path], Layout]:
    """Unpack an archive; a folder that holds everything else in it is left out.

    Returns:
        The files, and their layout.

    Raises:
        PersonError: the archive is refused; nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(target.name + ".unpacked")
    shutil.rmtree(staging, ignore_errors=True)
    room = shutil.disk_usage(target.parent).free // 2  # once here, once in DVC's cache
    try:
        unpack(archive, staging, max_members=MEMBERS, max_bytes=room, max_file_bytes=FILE_BYTES, max_ratio=RATIO)
        inner = unwrapped(staging)
        layout = recognise(inner)
        inner.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [path for path in sorted(target.rglob("*")) if path.is_file()], layout


def _experiment(title: str, layout: Layout) -> str:
    if layout == Layout("image_folder", layout.told):
        return EXPERIMENT.format(title=title, overrides="", settings="")
    overrides = f"  - override /dataset: {layout.dataset}\n  - override /splitter: {layout.splitter}\n"
    settings = yaml.safe_dump({"dataset": layout.settings}, sort_keys=False, allow_unicode=True) if layout.settings else ""
    return EXPERIMENT.format(title=title, overrides=overrides, settings=settings)


def check_name(name: str, root: Path) -> tuple[Path, Path]:
    """Where the experiment and the folder of this name will lie.

    Raises:
        PersonError: the name is unsafe as a file, an option or a word of a command, or one of the two exists.
    """
    if not SAFE.fullmatch(name):
        raise PersonError(f"--name {name!r}: expected a lower-case letter, then up to 62 lower-case letters, digits, - or _")
    experiment, raw = root / "conf" / "experiment" / f"{name}.yaml", root / "data" / "raw"
    for path in (experiment, raw / name, raw / f"{name}.dvc"):
        if path.exists() or path.is_symlink():
            raise PersonError(f"--name {name!r}: {path} exists already; choose another name, nothing was overwritten")
    return experiment, raw / name


def check_folder(folder: Path, root: Path) -> list[Path]:
    """Every file below the folder, sorted.

    Raises:
        PersonError: it is no folder, holds nothing, contains the project, or holds a link or a special file.
    """
    if any(ord(character) < 32 for character in str(folder)):
        raise PersonError(f"{str(folder)!r} holds a control character: rename the folder")
    if not folder.is_dir():
        raise PersonError(
            f"{folder} is neither a folder nor an archive (zip, tar, tar.gz, tar.xz): give the folder of the images"
        )
    if root.is_relative_to(folder.resolve()):
        raise PersonError(f"{folder} contains this project: give the folder of the images alone")
    files = []
    for path in sorted([folder, *folder.rglob("*")]):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise PersonError(f"{path} is a link: DVC would follow it out of the folder; replace it by the file itself")
        if stat.S_ISREG(mode):
            files.append(path)
        elif not stat.S_ISDIR(mode):
            raise PersonError(f"{path} is neither a file nor a folder: remove it")
    if not files:
        raise PersonError(f"{folder} holds no file")
    return files


def copy(folder: Path, target: Path, files: list[Path]) -> None:
    """Copy into a folder beside the target, then rename it, so that a killed copy never passes for a whole one."""
    needed = sum(path.stat().st_size for path in files)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < 2 * needed:  # once here, once in DVC's cache
        raise PersonError(f"{needed / 1e6:.0f} MB are kept twice (here and in DVC's cache), and {free / 1e6:.0f} MB are free")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path in track(files, what="copy", total=len(files)):
            place = partial / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place, follow_symlinks=False)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def version(root: Path, target: Path) -> None:
    """Put a folder under DVC's care; it is removed again where that fails.

    Raises:
        PersonError: dvc add failed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", "add", "--quiet", target.relative_to(root).as_posix()]
    done = subprocess.run(command, cwd=root, env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}, check=False)
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        target.with_name(target.name + ".dvc").unlink(missing_ok=True)
        raise PersonError(f"dvc add failed, as it says above; data/raw/{target.name} was removed again, your folder is untouched")


def shell_word(path: str) -> str:
    """The path as one word of a shell command."""
    return path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("'", "'\\''") + "'"
