"""ONNX by torch's own exporter, run by ONNX Runtime.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.runtime.ort import INPUT, OUTPUT, Opened, open_file
from pipeline.runtime.refusal import refusal

if TYPE_CHECKING:
    import onnx


class Onnx:
    """One self-contained .onnx file with a free batch dimension.

    Args:
        opset: version of the operator set.
        optimize: fold constants and batch norm while exporting.

    Raises:
        PersonError: the opset is older than torch's exporter writes.
    """

    suffix = ".onnx"

    def __init__(self, *, opset: int = 18, optimize: bool = True) -> None:
        if opset < 18:
            raise PersonError(f"exporter.opset must be at least 18, the oldest that torch's exporter writes: received {opset}")
        self.opset = opset
        self.optimize = optimize

    def save(
        self, model: nn.Module, example_BHWC: Tensor, directory: Path, metadata: Mapping[str, str], *, further: Sequence[str] = ()
    ) -> Path:  # fmt: skip
        """Write `model.onnx`; the same network gives the same bytes in whatever folder.

        Args:
            model: uint8 images (B, H, W, C) -> decoded predictions (B, K), or a tuple of these and further tensors.
                It is in evaluation mode.
            example_BHWC: two or more images of the stored size; their values do not matter.
            directory: where to write.
            metadata: facts for whoever uses the file, stored in it.
            further: names of the further outputs.
        """
        import onnx

        proto = self.proto(model, example_BHWC, [OUTPUT, *further])
        for key in sorted(metadata):
            proto.metadata_props.add(key=key, value=metadata[key])
        onnx.checker.check_model(proto, full_check=True)
        path = directory / f"model{self.suffix}"
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path

    def proto(self, model: nn.Module, example_B: Tensor, outputs: Sequence[str]) -> "onnx.ModelProto":
        """The file's content, without what tells of this machine.

        Raises:
            PersonError: an operator that ONNX does not have; the message names its layer, and the targets that can take it.
        """
        try:
            with _quiet(), torch.no_grad():
                program: Any = torch.onnx.export(
                    model, (example_B,), dynamo=True, opset_version=self.opset, optimize=self.optimize, external_data=False,
                    input_names=[INPUT], output_names=list(outputs), dynamic_shapes=({0: torch.export.Dim("batch")},),
                    verbose=False,
                )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise PersonError(refusal(error, model, example_B)) from error
        proto: onnx.ModelProto = program.model_proto  # made anew at each reading
        _anonymise(proto)
        return proto

    def load(self, path: Path) -> Opened:
        """Open the file in ONNX Runtime on the CPU, with OMP_NUM_THREADS threads."""
        return open_file(path)


def _anonymise(proto: "onnx.ModelProto") -> None:
    """Remove what tells of the machine and of the code's lines: stack traces, names of scopes, the build of torch."""
    del proto.metadata_props[:]
    proto.producer_version = proto.producer_version.split("+")[0]
    proto.doc_string = ""
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        parts = [*graph.node, *graph.value_info]
        if graph is proto.graph:
            parts += [*graph.initializer, *graph.input, *graph.output]
        for part in parts:
            part.doc_string = ""
            del part.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings about its own internals off a person's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
