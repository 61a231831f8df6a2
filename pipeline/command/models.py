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
  python -m pipeline models write resnet start.onnx --image 64x64x3 --outputs 5     untrained, to try a converter or a device with
`pull` alone uses the network. Stages read files, and download only where  model.weights=hub  asks for it.
"""


def main(argv: list[str]) -> int:
    """Run `python -m pipeline models`; 0 when done."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline models", description=(__doc__ or "").strip(), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    words = parser.add_subparsers(dest="word", required=True, metavar="list | pull | write")
    listing = words.add_parser("list", help="names that fit a pattern; the options of conf/model without one")
    listing.add_argument("pattern", nargs="?", help="with * and ?, as in 'resnet*'")
    pulling = words.add_parser("pull", help="download published weights as .safetensors")
    pulling.add_argument("name", help="torchvision/NAME or timm/NAME")
    pulling.add_argument("--out", default="weights", help="folder for the file (weights)")
    writing = words.add_parser("write", help="an untrained network as ONNX, without what stands around it")
    writing.add_argument("name", help="an option of conf/model")
    writing.add_argument("file", type=Path, help="a new .onnx file")
    writing.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of the option, as in name=resnet18")
    writing.add_argument("--image", default="32x32x3", metavar="HxWxC", help="size of the images (32x32x3)")
    writing.add_argument("--outputs", type=int, default=2, help="classes, or 1 for a value (2)")
    options = parser.parse_args(argv)
    if options.word == "list":
        return _list(options.pattern, Path.cwd())
    return pull(options.name, Path(options.out)) if options.word == "pull" else write(options)


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


def write(asked: argparse.Namespace) -> int:
    """Write a network as it is before training.

    Raises:
        PersonError: an unknown option or key, a size that it does not take, or an operator that ONNX does not have.
    """
    import torch
    import yaml

    from pipeline.backbone.preparation import image_size
    from pipeline.core.parts import build, check_arguments
    from pipeline.exporter.onnx import Onnx

    options = {path.stem: path for path in Path("conf/model").glob("*.yaml")}
    if asked.name not in options:
        raise PersonError(f"there is no model={asked.name}: {near_match(asked.name, options)}")
    if asked.file.exists():
        raise PersonError(f"{asked.file} exists already: name a new file; nothing was overwritten")
    if asked.outputs < 1:
        raise PersonError(f"--outputs must be at least 1: received {asked.outputs}")
    height, width, channels = image_size(asked.image)
    changes = dict(text.partition("=")[::2] for text in asked.changes)
    part = yaml.safe_load(options[asked.name].read_text(encoding="utf-8"))
    part |= {key: yaml.safe_load(value) for key, value in changes.items()}
    check_arguments("model", part)
    facts: dict[str, Any] = {"mean": [0.5] * channels, "std": [0.25] * channels, "outputs": asked.outputs}
    torch.manual_seed(0)
    network = build(part, channels=channels, height=height, width_pixels=width, **facts).eval()
    proto = Onnx().proto(network, torch.rand(2, channels, height, width), ["output"])
    asked.file.write_bytes(proto.SerializeToString(deterministic=True))
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{asked.file}: {asked.name}, untrained, {count / 1e6:.2f} M weights, {asked.file.stat().st_size / 1e6:.2f} MB")
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
