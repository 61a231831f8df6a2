"""List the networks that conf/model can name, and bring published weights to this machine, with their hash."""

import argparse
import fnmatch
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.artifact import sha256
from pipeline.core.errors import PersonError, near_match

LIBRARIES = ("own", "torchvision", "timm")
EXAMPLES = """examples:
  python -m pipeline models list                          the options of conf/model
  python -m pipeline models list 'vgg*'                   every network of torchvision and timm whose name fits
  python -m pipeline models pull torchvision/vgg16        its ImageNet weights into weights/, and the words that use them
  python -m pipeline models pull timm/resnet18.a1_in1k --out ~/weights
`pull` alone uses the network. Stages read files, and download only where  model.weights=hub  asks for it.
"""


def main(argv: list[str]) -> int:
    """Run `python -m pipeline models`; 0 when done."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline models", description=(__doc__ or "").strip(), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    words = parser.add_subparsers(dest="word", required=True, metavar="list | pull")
    listing = words.add_parser("list", help="names that fit a pattern; the options of conf/model without one")
    listing.add_argument("pattern", nargs="?", help="with * and ?, as in 'resnet*'")
    pulling = words.add_parser("pull", help="download published weights as .safetensors")
    pulling.add_argument("name", help="torchvision/NAME or timm/NAME")
    pulling.add_argument("--out", default="weights", help="folder for the file (weights)")
    options = parser.parse_args(argv)
    return _list(options.pattern, Path.cwd()) if options.word == "list" else pull(options.name, Path(options.out))


def _list(pattern: str | None, root: Path) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    if pattern is None:
        for column in ("option", "what it is"):
            table.add_column(column)
        for path in sorted((root / "conf/model").glob("*.yaml")):
            table.add_row(f"model={path.stem}", path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "))
    else:
        for column in ("network", "published weights", "in conf"):
            table.add_column(column)
        found = _fitting(pattern)
        if not found:
            raise PersonError(f"no network of torchvision or timm fits {pattern!r}: try a wider pattern, such as  '*{pattern}*'")
        for library, name, published in found:
            table.add_row(f"{library}/{name}", published or "none", f"model={library} model.name={name}")
    Console(width=120).print(table)
    return 0


def _fitting(pattern: str) -> list[tuple[str, str, str]]:
    """Library, name and what weights there are, of each network whose name fits."""
    import timm
    import torchvision

    rows = []
    for name in torchvision.models.list_models(module=torchvision.models):
        if fnmatch.fnmatch(name, pattern):
            weights: Any = torchvision.models.get_model_weights(name).DEFAULT
            rows.append(("torchvision", name, f"{weights.name} ({weights.meta['num_params'] / 1e6:.1f} M parameters)"))
    tags: dict[str, list[str]] = {}
    for tagged in timm.list_pretrained():
        name, _, tag = tagged.partition(".")
        tags.setdefault(name, []).append(tag)
    rows += [("timm", name, ", ".join(tags.get(name, []))) for name in timm.list_models() if fnmatch.fnmatch(name, pattern)]
    return rows


def pull(name: str, folder: Path) -> int:
    """Download the weights of one network and say how conf names them.

    Raises:
        PersonError: an unknown network, no published weights, or no way to them.
    """
    library, _, short = name.partition("/")
    if library not in LIBRARIES[1:] or not short:
        raise PersonError(f"models pull {name}: expected torchvision/NAME or timm/NAME; {near_match(library, LIBRARIES[1:])}")
    from pipeline.backbone import hub

    if library == "timm":
        import timm

        if not timm.is_model(short):
            raise PersonError(f"timm has no network {short!r}: {near_match(short, timm.list_models())}")
        file = hub.timm_file(short)
    else:
        import torchvision

        known: Sequence[str] = torchvision.models.list_models(module=torchvision.models)
        if short not in known:
            raise PersonError(f"torchvision has no classification network {short!r}: {near_match(short, known)}")
        file = hub.torchvision_file(short)
    folder = Path(os.path.abspath(folder.expanduser()))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{short}.safetensors"
    partial = target.with_suffix(".part")
    shutil.copyfile(file, partial)
    partial.replace(target)
    print(f"{target} ({target.stat().st_size / 1e6:.0f} MB). To start from it:")
    words = f"model={library} model.name={short} model.weights={target} model.weights_sha256={sha256(target)}"
    print(f"  python -m pipeline exp {words}")
    return 0
