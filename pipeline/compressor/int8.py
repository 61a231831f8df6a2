"""Static 8-bit quantisation after training, by ONNX Runtime.

Source: Jacob et al. 2018, arXiv 1712.05877: weights and activations as 8-bit integers with a scale and a zero point; here the
ranges of the activations come from calibration images (post-training). The file keeps QuantizeLinear/DequantizeLinear pairs
(QDQ), which every ONNX runtime reads. Convolutions with their ReLU or Clip, and matrix products, are quantised; pooling, norms,
decoding and the last matrix product (the head, which is small and amplifies rounding) stay float. So does a detector of unknown
inputs behind the network, which reads what the rounded network gives (`pipeline.runtime.further`).

Measured on EfficientNet-Lite0 with a linear head on standardised features of four levels (correlation of its outputs with those
in float): .98 as the options stand; .91 with the head quantised; .65 with Clip left between convolution and rounding; .73 with
one scale a tensor; .92 with 7-bit weights.

B batch, H height, W width, C channels.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import PersonError, near_match
from pipeline.core.record import Pixels
from pipeline.runtime.further import put_back, take_out

if TYPE_CHECKING:
    import onnx

PRODUCTS = ("Conv", "Gemm", "MatMul")
OPERATORS = [*PRODUCTS, "Relu", "Clip"]  # a ReLU or Clip is folded into the rounding of the product before it
METHODS = ("minmax", "percentile")


class Int8:
    """8-bit weights and activations.

    Args:
        per_channel: one scale for each output channel of a weight instead of one for the whole tensor; depthwise convolutions
            need it.
        calibration: how ranges come from calibration values: minmax, or percentile, which keeps every activation of the
            calibration images in memory (ONNX Runtime's third, entropy, gave the ranges of minmax bit for bit).
        percentile: share of the values inside the range, in percent, for calibration=percentile.
        reduce_range: 7-bit weights: on x86 processors without VNNI (most before 2019) ONNX Runtime's 8-bit products saturate.
        quantize_head: also the last matrix product.

    Raises:
        PersonError: an unknown calibration, or a percentile outside (50, 100].
    """

    bits = 8

    def __init__(
        self, *, per_channel: bool = True, calibration: str = "minmax", percentile: float = 99.99, reduce_range: bool = False,
        quantize_head: bool = False,
    ) -> None:  # fmt: skip
        if calibration not in METHODS:
            raise PersonError(f"compressor.calibration: there is no method {calibration!r}; {near_match(calibration, METHODS)}")
        if not 50 < percentile <= 100:
            raise PersonError(f"compressor.percentile must be within 50 to 100: received {percentile}")
        self.per_channel = per_channel
        self.calibration = calibration
        self.percentile = percentile
        self.reduce_range = reduce_range
        self.quantize_head = quantize_head

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write `model.onnx` into `directory`; `source` is untouched.

        Raises:
            PersonError: there is no calibration image, nothing that could be quantised, or the source is no ONNX file.
        """
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        if source.suffix != ".onnx":
            raise PersonError(f"compressor=int8 works on ONNX: received a {source.suffix} file; choose  exporter=onnx")
        original = onnx.load(source)
        network, further = take_out(original)
        reader = _reader(batches, name=original.graph.input[0].name)
        with tempfile.TemporaryDirectory() as folder, _quiet():
            alone, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("alone", "prepared", "quantised"))
            onnx.save(network, alone)
            quant_pre_process(alone, prepared, skip_symbolic_shape=True)
            self._quantise(prepared, reader, quantised)
            proto = onnx.load(quantised)
        put_back(proto, further)
        used = {node.domain for node in proto.graph.node}  # the optimiser declares every domain that it knows
        kept = [opset for opset in proto.opset_import if opset.domain in used]
        del proto.opset_import[:], proto.metadata_props[:]
        proto.opset_import.extend(kept)
        proto.metadata_props.extend(original.metadata_props)
        onnx.checker.check_model(proto, full_check=True)
        path = directory / "model.onnx"
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path

    def _quantise(self, prepared: Path, reader: Any, quantised: Path) -> None:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        kept = [] if self.quantize_head else _head(onnx.load(prepared))
        methods = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
        quantize_static(
            prepared, quantised, reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=OPERATORS, nodes_to_exclude=kept,
            per_channel=self.per_channel, reduce_range=self.reduce_range, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=methods[self.calibration],
            extra_options={"CalibPercentile": self.percentile} if self.calibration == "percentile" else {},
        )  # fmt: skip


def _head(proto: "onnx.ModelProto") -> list[str]:
    """Name of the last matrix product, unless it is the only product.

    Raises:
        PersonError: the graph has no convolution and no matrix product.
    """
    products = [node for node in proto.graph.node if node.op_type in PRODUCTS]
    if not products:
        raise PersonError("the exported model has no convolution and no matrix product to quantise: choose  compressor=none")
    return [products[-1].name] if len(products) > 1 and products[-1].op_type != "Conv" else []


def _reader(batches: Iterable[Pixels], *, name: str) -> Any:
    """ONNX Runtime's view of the calibration images; refuses to calibrate on none."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one batch at a time."""

        def __init__(self) -> None:
            self.waiting = iter(batches)
            self.given = 0

        def get_next(self) -> dict[str, Pixels] | None:
            batch_BHWC = next(self.waiting, None)
            if batch_BHWC is None and self.given == 0:
                raise PersonError("there is no image to calibrate on: the validation split is empty; set a larger share for it")
            self.given += 1
            return None if batch_BHWC is None else {name: batch_BHWC}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice to run the preparation that has just run off a person's terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()):  # the percentile calibration prints
                yield
    finally:
        logging.disable(previous)
