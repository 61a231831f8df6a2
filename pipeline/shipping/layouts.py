"""What servers want beside a release: a model repository for Triton, and the makings of a container of our own server.

Sources: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md (config.pbtxt) and
https://github.com/opencontainers/image-spec (labels). The container holds the few modules that `serve` imports, not the pipeline.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.fingerprint import closure, companions, versions
from pipeline.shipping.shipped import target_part

PACKAGE = Path(__file__).resolve().parents[1]
LARGEST_BATCH = 64  # images that Triton gathers into one call
WAIT_US = 2000  # microseconds that the first of them waits
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64", "tensor(bool)": "TYPE_BOOL",
         "tensor(int64)": "TYPE_INT64", "tensor(int32)": "TYPE_INT32"}  # fmt: skip
HEAVY = {"torch"}  # the modules name it for types alone, unless the target runs in it
SIGNED = ("model-signing", "pyOpenSSL")
CONTAINERFILE = """# Our server with this model:  podman build -t {name} {folder}
#   docker build -f {folder}/Containerfile -t {name} {folder}
#   podman run --rm --read-only --tmpfs /tmp -p 8000:8000 {name}{run}
FROM docker.io/library/python:{python}-slim
LABEL org.opencontainers.image.title="{name}" org.opencontainers.image.licenses="Apache-2.0"
COPY container/requirements.txt container/constraints.txt /tmp/
RUN pip install --no-cache-dir --requirement /tmp/requirements.txt --constraint /tmp/constraints.txt
COPY . /model
ENV PYTHONPATH=/model/container/code PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
WORKDIR /tmp
USER 65534:65534
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
ENTRYPOINT ["python", "-m", "pipeline", "serve", "--model", "/model", "--host", "0.0.0.0", "--target", "{target}"]
"""


def write_triton(folder: Path, name: str) -> Path:
    """`triton/`, a model repository: `tritonserver --model-repository RELEASE/triton`.

    Args:
        folder: the release that is being made; its target `onnx` is copied.
        name: of the model.

    Returns:
        The file config.pbtxt.

    Raises:
        PersonError: the release has no target onnx.
    """
    source = folder / "onnx" / "model.onnx"
    if not source.is_file():
        raise PersonError("Triton takes the target onnx, which was not shipped: run  dvc repro ship  with  target=[onnx]")
    place = folder / "triton" / name
    (place / "1").mkdir(parents=True)
    shutil.copyfile(source, place / "1" / "model.onnx")
    labels = [str(label) for label in read_json(folder / "model.json")["labels"]]
    if labels:
        (place / "labels.txt").write_text("".join(f"{' '.join(label.split())}\n" for label in labels), encoding="utf-8")
    path = place / "config.pbtxt"
    path.write_text(triton_config(source, name, labels=bool(labels)), encoding="utf-8")
    return path


def triton_config(source: Path, name: str, *, labels: bool) -> str:
    """The text of a config.pbtxt, from what the file says of its inputs and outputs.

    Args:
        source: an ONNX file whose first dimension is a free batch.
        name: of the model.
        labels: whether labels.txt lies beside it.
    """
    from pipeline.runtime.ort import open_file

    session = open_file(source).session
    outputs = session.get_outputs()
    blocks = [_tensor("input", value) for value in session.get_inputs()]
    further = ['label_filename: "labels.txt"' if labels else "", *[""] * (len(outputs) - 1)]
    blocks += [_tensor("output", value, words) for value, words in zip(outputs, further, strict=True)]
    return (
        f'name: {json.dumps(name)}\nbackend: "onnxruntime"\nmax_batch_size: {LARGEST_BATCH}\n' + "".join(blocks)
        + f"dynamic_batching {{ max_queue_delay_microseconds: {WAIT_US} }}\n"
    )


def _tensor(kind: str, value: Any, further: str = "") -> str:
    """One input or output; the batch is left out, and an output of one number an image is written as Triton wants it."""
    sides = [side if isinstance(side, int) else -1 for side in value.shape[1:]]
    shape = f"dims: [ {', '.join(map(str, sides or [1]))} ]" + ("" if sides else " reshape { shape: [ ] }")
    return f"{kind} [ {{ name: {json.dumps(value.name)} data_type: {TYPES[value.type]} {shape} {further}}} ]\n"


def write_container(folder: Path, targets: Mapping[str, Any], *, name: str, signed: bool, python: str) -> Path:
    """`container/` and a `Containerfile`: the modules that serve needs, their packages, and how they are put together.

    Args:
        folder: the release that is being made.
        targets: `targets.json` of it.
        name: of the image.
        signed: whether the release is signed; then the key of its maker is given when the container is started.
        python: version of the image's Python, such as 3.11.

    Returns:
        The Containerfile.

    Raises:
        PersonError: no target of the release can be served without running code of its file.
    """
    ran = {entry: facts["target"] for entry, facts in targets.items() if facts["agreement"] is not None}
    parts = {entry: target_part(entry, node) for entry, node in ran.items()}
    plain = [entry for entry, part in parts.items() if not part.runs_code]
    if not plain:
        raise PersonError("no target of this release can be served in a container: ship  target=[onnx]")
    chosen = "onnx" if "onnx" in plain else plain[0]
    place = folder / "container"
    roots = ["pipeline.__main__", "pipeline.command.serve"]
    modules, _ = closure(PACKAGE, [*roots, *(_module(part) for part in ran.values())])
    for module in sorted(modules):
        _copy(module, place / "code")
    _, foreign = closure(PACKAGE, [*roots, _module(ran[chosen])])
    wanted = versions(foreign - HEAVY | _imports_of(parts[chosen]))
    if signed:
        wanted |= _installed(SIGNED)
    (place / "requirements.txt").write_text("".join(f"{entry}=={wanted[entry]}\n" for entry in sorted(wanted)), encoding="utf-8")
    known = PACKAGE.parent / "constraints.txt"
    shutil.copyfile(known, place / "constraints.txt") if known.is_file() else (place / "constraints.txt").touch()
    path = folder / "Containerfile"
    run = " --public-key /maker.pub   (with  -v $PWD/maker.pub:/maker.pub:ro  before the name)" if signed else ""
    text = CONTAINERFILE.format(name=name, folder=folder.name.removesuffix(".partial"), python=python, target=chosen, run=run)
    path.write_text(text, encoding="utf-8")
    return path


def image_name(folder: Path) -> str:
    """A name that Triton and container tools take: lower-case letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.-]+", "-", folder.name.lower()).strip(".-") or "model"


def _module(part: Mapping[str, Any]) -> str:
    return str(part["_target_"]).rpartition(".")[0]


def _imports_of(target: Any) -> set[str]:
    """What the target's runtime imports."""
    return {module for _, module in target.needs}


def _copy(module: str, code: Path) -> None:
    inside = Path(*module.split(".")[1:]) if "." in module else Path()
    source = PACKAGE / inside
    files = [source / "__init__.py"] if source.is_dir() else [source.with_suffix(".py"), *companions(source.with_suffix(".py"))]
    for file in {*files, PACKAGE / "__init__.py"}:
        place = code / "pipeline" / file.relative_to(PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {name: version(name) for name in names}
    except PackageNotFoundError as error:
        raise PersonError("a signed release takes  pip install -e '.[sign]'") from error
