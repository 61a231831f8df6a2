"""8-bit quantisation with training on under its rounding, so that the weights settle where rounding costs little.

Source: Jacob et al. 2018, arXiv 1712.05877, section 3 (rounding in the forward pass, gradients straight through; batch norm
folded into the convolution before its weights are rounded). torchao writes that rounding into the network; its weights have the
very steps that the file will have (symmetric, of their present range), its activations those of a running range. What differs: of
the trained network only the weights are kept, and the file is made of them as `int8` makes it, so ranges of activations are
measured again on validation and every runtime reads the same kind of file.

B batch, C channels, H height, W width.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.compressor.int8 import Int8
from pipeline.core.errors import PersonError
from pipeline.core.record import Pixels

EPS = 2.0**-12  # smallest step of an activation, as torchao's own settings for x86 have it
TINY = 2.0**-24  # smallest step of a weight


class Int8Aware:
    """8-bit weights and activations, trained on under rounding.

    Args:
        steps: optimiser steps of training on under rounding.
        lr: their peak learning rate (AdamW).
        per_channel: one scale for each output channel of a weight instead of one for the whole tensor.
        calibration: how ranges come from calibration values: minmax or percentile.
        percentile: share of the values inside the range, in percent, for calibration=percentile.
        reduce_range: 7-bit weights, for x86 processors without VNNI.
        quantize_head: also the last matrix product.

    Raises:
        PersonError: what `Int8` refuses, no step, or a learning rate that is not positive.
    """

    bits = 8

    def __init__(
        self, *, steps: int = 200, lr: float = 1e-4, per_channel: bool = True, calibration: str = "minmax",
        percentile: float = 99.99, reduce_range: bool = False, quantize_head: bool = False,
    ) -> None:  # fmt: skip
        if steps < 1 or lr <= 0:
            raise PersonError(f"compressor.steps must be at least 1 and compressor.lr above 0: received {steps} and {lr}")
        self.steps, self.lr = steps, lr
        self.file = Int8(
            per_channel=per_channel, calibration=calibration, percentile=percentile, reduce_range=reduce_range,
            quantize_head=quantize_head,
        )  # fmt: skip

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write `model.onnx` into `directory`, as `Int8` does; `source` is untouched.

        Raises:
            PersonError: as `Int8` does.
        """
        return self.file(source, batches, directory)

    def simulate(self, network: nn.Module, x_BCHW: Tensor) -> nn.Module:
        """The network with the rounding of its file in its forward pass, to be trained with batches of this size.

        Args:
            network: pixels in [0, 1] (B, C, H, W) -> raw outputs; untouched.
            x_BCHW: a batch as training will give it.

        Raises:
            PersonError: torchao is missing, the network cannot be traced, or nothing in it would be rounded.
        """
        try:
            with _quiet():
                from torchao.quantization.pt2e import FakeQuantizeBase, allow_exported_model_train_eval
                from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        except ImportError as error:
            raise PersonError("compressor=int8_aware needs torchao: pip install torchao, or choose  compressor=int8") from error
        trained = copy.deepcopy(network).requires_grad_(requires_grad=True).train()
        try:
            with _quiet():
                traced: Any = torch.export.export(trained, (x_BCHW,)).module()
                simulated: nn.Module = prepare_qat_pt2e(traced, self._quantizer(network))
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            told = (str(error).strip().splitlines() or [""])[0][:160]
            raise PersonError(
                f"this network cannot be trained under rounding ({type(error).__name__}: {told}): choose  compressor=int8"
            ) from error
        if not any(isinstance(module, FakeQuantizeBase) for module in simulated.modules()):
            raise PersonError("nothing in this network would be rounded while it trains: choose  compressor=int8")
        allow_exported_model_train_eval(simulated)
        return simulated

    def settled(self, simulated: nn.Module, network: nn.Module) -> nn.Module:
        """A copy of `network` with what `simulated` learned, without its rounding."""
        learned = simulated.state_dict()
        plain = copy.deepcopy(network)
        plain.load_state_dict({name: learned[name] for name in plain.state_dict()})
        return plain.requires_grad_(requires_grad=False).eval()

    def _quantizer(self, network: nn.Module) -> Any:
        """What torchao rounds, and to which numbers: those that ONNX Runtime's static quantisation uses."""
        from torchao.quantization.pt2e import (
            FakeQuantize,
            FusedMovingAvgObsFakeQuantize,
            MovingAverageMinMaxObserver,
            MovingAveragePerChannelMinMaxObserver,
        )
        from torchao.quantization.pt2e.quantizer import QuantizationSpec
        from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import QuantizationConfig, X86InductorQuantizer

        short, channels = self.file.reduce_range, self.file.per_channel
        activations = QuantizationSpec(
            dtype=torch.uint8, quant_min=0, quant_max=127 if short else 255, qscheme=torch.per_tensor_affine,
            observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver, eps=EPS),
        )  # fmt: skip
        observer = MovingAveragePerChannelMinMaxObserver if channels else MovingAverageMinMaxObserver
        largest = 64 if short else 127
        weights = QuantizationSpec(
            dtype=torch.int8, quant_min=-largest, quant_max=largest, ch_axis=0 if channels else None,
            qscheme=torch.per_channel_symmetric if channels else torch.per_tensor_symmetric,
            # not the fused one, which takes 255 / 254 of the range
            observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=observer, eps=TINY, averaging_constant=1.0),
        )  # fmt: skip
        quantizer = X86InductorQuantizer().set_global(QuantizationConfig(activations, activations, weights, None, True))
        layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if not self.file.quantize_head and len(layers) > 1 and isinstance(layers[-1][1], nn.Linear):
            quantizer.set_module_name_qconfig(layers[-1][0], None)
        return quantizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch and torchao say to each other's authors off a person's terminal."""
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
