"""Networks that somebody else wrote down: ONNX files as torch modules, and what kind of file a file is.

An ONNX file is data: it is parsed, checked, and its operators become torch modules by onnx2torch; none of it is code.
onnx2torch knows operator sets up to 17; newer files are brought down by onnx's own version converter.

B batch, C channels, H height, W width, K outputs.
"""

import copy
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import MissingPackageError, PersonError

if TYPE_CHECKING:
    import onnx

OPSET = 17  # the newest that onnx2torch reads
SHOWN = 5  # operators that an error names
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class Foreign:
    """A network out of an ONNX file.

    Attributes:
        network: in evaluation mode; its parameters can be trained.
        shape: of its input, None for a free dimension.
        type: of its input, as numpy names it.
        outputs: their names.
        proto: the file as it was read.
    """

    network: nn.Module
    shape: tuple[int | None, ...]
    type: str
    outputs: tuple[str, ...]
    proto: "onnx.ModelProto"


def kind_of(path: Path) -> str:
    """What a file is, by its bytes: onnx, safetensors, torchscript, export (torch.export) or pickle (torch.save).

    Raises:
        PersonError: there is no such file.
    """
    if not path.is_file():
        raise PersonError(f"{path}: there is no such file")
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.split("/", 1)[-1] for name in archive.namelist()]
        except zipfile.BadZipFile as error:
            raise PersonError(f"{path} is a damaged archive: bring it again") from error
        if "archive_format" in names or any(name.startswith("models/") for name in names):
            return "export"
        return "torchscript" if "constants.pkl" in names else "pickle"
    if head[:1] == b"\x80":
        return "pickle"
    return "safetensors" if head[8:9] == b"{" else "onnx"


def open_onnx(source: Path | bytes, *, name: str, raw: bool = False) -> Foreign:
    """Read an ONNX file into a torch module.

    Args:
        source: the file, or its bytes.
        name: for messages.
        raw: leave out a Softmax at the end, since losses here take what stands before it.

    Raises:
        PersonError: it is no ONNX file, takes several inputs, keeps its weights elsewhere, or has operators that cannot be read;
            these are named with their layers.
        MissingPackageError: onnx2torch is not installed.
    """
    proto = _checked(source, name)
    outer = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in outer]
    if len(inputs) != 1:
        told = ", ".join(value.name for value in inputs)
        raise PersonError(f"{name} takes {len(inputs)} inputs ({told}): only a network of one image can be imported")
    older = _older(proto, name)
    if raw and older.graph.node[-1].op_type == "Softmax":
        older.graph.output[0].name = older.graph.node[-1].input[0]
        del older.graph.node[-1]
    network = _converted(older, name)
    import onnx

    dimensions = inputs[0].type.tensor_type.shape.dim
    return Foreign(
        network.eval(), tuple(side.dim_value or None for side in dimensions),
        str(onnx.helper.tensor_dtype_to_np_dtype(inputs[0].type.tensor_type.elem_type)),
        tuple(value.name for value in proto.graph.output), proto,
    )  # fmt: skip


def check_usable(foreign: Foreign, name: str) -> None:
    """Hold a network against what a model here is.

    Raises:
        PersonError: it takes other than float32 images, channels first, or gives several outputs.
    """
    if len(foreign.shape) != 4 or foreign.type != "float32" or len(foreign.outputs) != 1:
        raise PersonError(
            f"{name} takes {foreign.type} {foreign.shape} and gives {len(foreign.outputs)} outputs; a model here takes float32 "
            "(batch, channels, height, width) and gives one: export the network without what stands around it"
        )


def _checked(source: Path | bytes, name: str) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        proto = onnx.load(io.BytesIO(content), load_external_data=False)
        elsewhere = [tensor.name for tensor in proto.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        if elsewhere:
            raise PersonError(f"{name} keeps weights in other files ({elsewhere[0]}, ...): save it as one file, for example with "
                              "onnx.save(onnx.load(FILE), OUT, save_as_external_data=False)")  # fmt: skip
        strange = [f"{node.domain}.{node.op_type} ({node.name or 'unnamed'})" for node in proto.graph.node
                   if node.domain not in STANDARD]  # fmt: skip
        if strange:
            raise PersonError(f"{name} has operators that are not ONNX's own: {_some(strange)}; export it without them")
        onnx.checker.check_model(proto, full_check=True)
    except (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        told = next((line for line in str(error).splitlines() if line.strip()), "no word")
        raise PersonError(f"{name} is no valid ONNX file ({told.strip()[:200]}): bring it again, or export it again") from error
    if not proto.graph.node or not proto.graph.output:
        raise PersonError(f"{name} is no ONNX file, or holds no network: bring it again, or export it again")
    return proto


def _older(proto: "onnx.ModelProto", name: str) -> "onnx.ModelProto":
    """The same network in an operator set that onnx2torch knows."""
    import onnx

    version = max(opset.version for opset in proto.opset_import if opset.domain in STANDARD)
    try:
        older = onnx.version_converter.convert_version(proto, OPSET) if version > OPSET else copy.deepcopy(proto)
    except RuntimeError as error:
        told = str(error).splitlines()[0][:200]
        raise PersonError(f"{name} is of opset {version}, which cannot become {OPSET} ({told}): export it again") from error
    for node in older.graph.node:  # attributes of newer sets at their defaults; what they change is caught by the comparison
        kept = [part for part in node.attribute if part.name not in {"noop_with_empty_axes", "allowzero"}]
        del node.attribute[:]
        node.attribute.extend(kept)
    return older


def _converted(proto: "onnx.ModelProto", name: str) -> Any:
    try:
        import onnx2torch
        from onnx2torch.node_converters.registry import get_converter
    except ImportError as error:
        raise MissingPackageError("onnx2torch", "networks out of ONNX files", "import") from error
    version = next(opset.version for opset in proto.opset_import if opset.domain in STANDARD)
    lacking = []
    for node in proto.graph.node:
        try:
            get_converter(node.op_type, version, node.domain)
        except NotImplementedError:
            lacking.append(f"{node.op_type} (layer {node.name or node.output[0]})")
    if lacking:
        told = _some(lacking)
        raise PersonError(f"{name} has operators that cannot be brought into torch: {told}; the file itself runs in ONNX Runtime")
    try:
        return _fixed(onnx2torch.convert(proto))
    except (NotImplementedError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise PersonError(f"{name} cannot be brought into torch ({str(error).splitlines()[0][:200]})") from error


class Reshape(nn.Module):
    """ONNX's Reshape to a constant shape: 0 keeps a side, -1 is what is left."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers in another shape."""
        return x.reshape([x.shape[at] if side == 0 else side for at, side in enumerate(self.shape)])


class Expand(Reshape):
    """ONNX's Expand to a constant shape: both sides broadcast."""

    def forward(self, x: Tensor) -> Tensor:
        """Repeated along sides of 1."""
        return x.expand(torch.broadcast_shapes(x.shape, tuple(self.shape)))  # type: ignore[no-untyped-call]


FIXED = {"OnnxReshape": Reshape, "OnnxExpand": Expand}


def _fixed(network: Any) -> Any:
    """Give constant shapes as constants: onnx2torch looks at their values, which torch.export cannot follow."""
    for node in network.graph.nodes:
        kind = FIXED.get(type(network.get_submodule(node.target)).__name__) if node.op == "call_module" else None
        if kind is None or len(node.args) != 2 or node.args[1].op != "get_attr":
            continue
        parent, _, name = node.args[1].target.rpartition(".")
        shape = getattr(network.get_submodule(parent), name)
        network.add_submodule(node.target, kind([int(side) for side in shape]))
        node.args = node.args[:1]
    network.graph.eliminate_dead_code()
    network.recompile()
    return network


def _some(names: list[str]) -> str:
    told = list(dict.fromkeys(names))
    return ", ".join(told[:SHOWN]) + (f", and {len(told) - SHOWN} more" if len(told) > SHOWN else "")
