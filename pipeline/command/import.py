"""Bring somebody's network in: an ONNX file, a file of weights, or TorchScript; compared with the original before it is used."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifact import sha256
from pipeline.core.errors import PersonError

EXAMPLES = """
examples:
  python -m pipeline import net.onnx --name theirs          compares it with ONNX Runtime, writes conf/model/theirs.yaml
  python -m pipeline exp model=theirs                       trains on from its weights (model.head=fresh: with a new last layer)
  python -m pipeline import weights.pth                     a state dict, read without running code, as .safetensors
  python -m pipeline import net.pt --trust --image 224x224x3     TorchScript, which is a program: of somebody you trust
What a file holds is told by its bytes, not by its name.
"""
OPTION = """# {name}: imported from {file} (python -m pipeline import); see conf/model/onnx_file.yaml.
_target_: pipeline.model.onnx_file.OnnxFile
file: {path}          # keep it there: the model is built of it whenever it is opened
file_sha256: {digest}  # of that file
normalise: data     # pixels by the statistics of the data, by ImageNet's (network), or as they are, 0 to 1 (none)
head: keep          # keep the last layer, or fresh: a new one for as many outputs as the data needs
"""
SIZES = (1, 2, 7)  # batches that are compared
SIDE = 64  # pixels of a side that the file leaves free
TARGETS_ALONE = "a torch.export archive runs code when it is opened and is not imported: bring the network as ONNX"


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline import`; 0 when it was brought in.

    Raises:
        PersonError: the file is none of these, cannot be read safely, or does not say the same in torch.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline import", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("file", type=Path, help="an .onnx file, a state dict (.safetensors, .pth, .pt), or TorchScript")
    parser.add_argument("--name", help="of the option in conf/model and of the file in weights/ (the file's own)")
    parser.add_argument("--image", metavar="HxWxC", help="size of the images, where the file leaves it open")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference of an output, relative above 1 (1e-4)")
    parser.add_argument("--trust", action="store_true", help="open a TorchScript file, which is a program")
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder for the file (weights)")
    asked = parser.parse_args(argv)
    from pipeline.backbone.foreign import kind_of

    name = asked.name or asked.file.stem
    if not name.isidentifier():
        raise PersonError(f"--name {name!r}: letters, digits and _ alone, since it becomes an option of conf/model")
    kind = kind_of(asked.file)
    if kind == "export":
        raise PersonError(TARGETS_ALONE)
    asked.out.mkdir(parents=True, exist_ok=True)
    if kind in {"pickle", "safetensors"}:
        return _weights(asked.file, kind, asked.out / f"{name}.safetensors")
    return _network(asked, kind, name)


def _weights(file: Path, kind: str, out: Path) -> int:
    """A state dict as .safetensors, and the words that use it."""
    from safetensors.torch import save_file

    from pipeline.backbone.states import read_state

    tensors = read_state(file, kind)
    _new(out)
    save_file(tensors, out)
    count = sum(tensor.numel() for tensor in tensors.values())
    print(f"{out}: {len(tensors)} tensors, {count / 1e6:.2f} M numbers. With the network that they are of:")
    words = f"model.weights={out.absolute()} model.weights_sha256={sha256(out)}"
    print(f"  python -m pipeline exp model=timm model.name=NAME {words}")
    return 0


def _network(asked: argparse.Namespace, kind: str, name: str) -> int:
    """An ONNX file, or what TorchScript becomes as one, and an option of conf/model."""
    from pipeline.backbone.foreign import check_usable, open_onnx

    option, kept = Path("conf/model") / f"{name}.yaml", asked.out / f"{name}.onnx"
    if not option.parent.is_dir():
        raise PersonError(f"there is no {option.parent} here: run this in the folder of the project")
    _new(option)
    if kept.absolute() != asked.file.absolute():
        _new(kept)
    source: Path | bytes = asked.file
    if kind == "torchscript":
        source = _from_torchscript(asked)
    foreign = open_onnx(source, name=asked.file.name)
    for line in compare(foreign, _shape(foreign.shape, asked.image), asked.tolerance):
        print(line)
    check_usable(foreign, asked.file.name)
    if isinstance(source, bytes):
        kept.write_bytes(source)
    elif kept.absolute() != source.absolute():
        shutil.copyfile(source, kept)
    option.write_text(OPTION.format(name=name, file=asked.file.name, path=kept, digest=sha256(kept)), encoding="utf-8")
    print(f"{kept} and {option}: use it with  python -m pipeline exp model={name}  (model.head=fresh for other classes)")
    return 0


def _from_torchscript(asked: argparse.Namespace) -> bytes:
    if not asked.trust:
        raise PersonError(
            f"{asked.file} is TorchScript, which is a program: ask for the network as ONNX or its weights as .safetensors, or, "
            "if you trust who made it, add  --trust --image HxWxC"
        )
    if not asked.image:
        raise PersonError(f"{asked.file} does not say what images it takes: add  --image HxWxC , for example  --image 224x224x3")
    from pipeline.backbone.preparation import image_size
    from pipeline.backbone.torchscript import to_onnx

    return to_onnx(asked.file, image_size(asked.image))


def compare(foreign: Any, shape: tuple[int, ...], tolerance: float) -> list[str]:
    """The file in ONNX Runtime, in torch, and written by our exporter again, on the same random images.

    Args:
        foreign: see `pipeline.backbone.foreign.Foreign`.
        shape: of its input, with a batch of 1.
        tolerance: largest difference of an output, relative above 1.

    Returns:
        A line for each comparison.

    Raises:
        PersonError: torch says something else than the file, or cannot be run.
    """
    import torch

    from pipeline.exporter.onnx import Onnx
    from pipeline.runtime.ort import session_of

    rng = np.random.default_rng(0)
    batches = [_images(rng, (size, *shape[1:]), foreign.type) for size in SIZES]
    theirs = _answers(session_of(foreign.proto.SerializeToString()), batches)
    with torch.no_grad():
        ours = [_numbers(foreign.network(torch.from_numpy(batch))) for batch in batches]
    count = sum(len(batch) for batch in batches)
    lines = [f"onnx -> torch: largest difference {_difference(theirs, ours, tolerance, 'torch'):.1e} on {count} images"]
    try:
        names = [f"output_{at}" for at in range(len(foreign.outputs))]
        proto = Onnx().proto(foreign.network, torch.from_numpy(batches[1]), names)
        again = _answers(session_of(proto.SerializeToString()), batches)
    except PersonError as error:
        return [*lines, f"torch -> onnx: cannot be written again, so take  exporter=none  with it ({error})"]
    return [*lines, f"torch -> onnx: largest difference {_difference(theirs, again, tolerance, 'the file written again'):.1e}"]


def _answers(session: Any, batches: list[Any]) -> list[list[Any]]:
    """Every output for every batch; a file with a fixed batch cannot answer."""
    name = session.get_inputs()[0].name
    try:
        return [session.run(None, {name: batch}) for batch in batches]
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "onnxruntime":
            raise
        told = str(error).splitlines()[0][:200]
        raise PersonError(f"it cannot be run on batches of {SIZES} ({told}): export it with a free batch") from error


def _numbers(found: Any) -> list[Any]:
    return [part.numpy() for part in (found if isinstance(found, list | tuple) else (found,))]


def _difference(one: list[list[Any]], other: list[list[Any]], tolerance: float, who: str) -> float:
    """The largest difference, relative above 1.

    Raises:
        PersonError: it exceeds the tolerance.
    """
    worst = 0.0
    for left, right in zip(one, other, strict=True):
        for wanted, found in zip(left, right, strict=True):
            if wanted.shape != found.shape:
                raise PersonError(f"{who} answers {found.shape}, the file {wanted.shape}: it is not used")
            gap = np.abs(wanted.astype(np.float64) - found.astype(np.float64))
            relative = gap / np.maximum(1.0, np.abs(wanted.astype(np.float64)))
            worst = float(np.max([worst, relative.max(initial=0.0)]))  # Python's max drops NaN
    if not worst <= tolerance:
        raise PersonError(f"{who} differs from the file by {worst:.3g} (allowed: {tolerance:g}): it is not used")
    return worst


def _images(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Any:
    return rng.integers(0, 256, shape, dtype=np.uint8) if kind == "uint8" else rng.random(shape).astype(kind)


def _shape(shape: tuple[int | None, ...], image: str | None) -> tuple[int, ...]:
    """Of the input with a batch of 1; free sides are those of --image, or SIDE."""
    if len(shape) != 4:
        raise PersonError(f"it takes an input of {len(shape)} dimensions: only networks of images (4 dimensions) can be imported")
    from pipeline.backbone.preparation import image_size

    height, width, channels = image_size(image) if image else (SIDE, SIDE, 3)
    return tuple(side or given for side, given in zip(shape, (1, channels, height, width), strict=True))


def _new(path: Path) -> None:
    if path.exists():
        raise PersonError(f"{path} exists already: give another  --name ; nothing was overwritten")
