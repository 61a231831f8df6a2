"""Any classification network of torchvision by its name, AlexNet, VGG, GoogLeNet and SqueezeNet among them.

Krizhevsky 2014 (arXiv 1404.5997, AlexNet), Simonyan & Zisserman 2015 (1409.1556, VGG-16 and VGG-19), Szegedy et al. 2015
(1409.4842, GoogLeNet), Iandola et al. 2016 (1602.07360, SqueezeNet). Differs in: GoogLeNet and Inception without their auxiliary
heads; SqueezeNet without the ReLU after its last convolution, since outputs here may be negative (logits, real values).

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone.hub import torchvision_file
from pipeline.backbone.preparation import IMAGENET_MEAN, IMAGENET_STD, statistics
from pipeline.backbone.weights import Origin, head_of, load_pretrained
from pipeline.core.errors import PersonError, near_match

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
WITH_AUXILIARY = ("googlenet", "inception_v3")


class Torchvision(nn.Module):
    """A torchvision network for K outputs and one or three channels.

    Args:
        name: as in `torchvision.models.list_models(module=torchvision.models)`.
        weights: a local .safetensors file of the network's own state dict, `hub` to download it, or null for random weights.
        weights_sha256: of that file, or null; a changed file of the same name is only seen with it.
        side: pixels to which height and width are resized first; null keeps the stored size where the network takes it, and
            otherwise takes the smallest that it does.
        normalise: pixels by the mean and deviation of the `data`, or by those of ImageNet, which the `network` was trained with.
        dropout: of every dropout layer of the network; null keeps what its authors chose.
        pretrained: false ignores `weights`.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        PersonError: an unknown name (the near match is named), a size that the network does not take, a dropout for a network
            without one, or weights of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        name: str, weights: str | None = None, weights_sha256: str | None = None, side: int | None = None,
        normalise: str = "data", dropout: float | None = None, pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        smallest = _smallest(name)
        size = (side, side) if side is not None else (max(height, smallest), max(width_pixels, smallest))
        self.size = None if size == (height, width_pixels) else size
        mean_1C11, std_1C11 = statistics(normalise, data=(mean, std), network=(IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean_1C11)
        self.register_buffer("std", std_1C11)
        _check_size(name, outputs, size)
        self.network = _make(name, outputs)
        if channels == 1:
            _take_grey(self.network)
        if dropout is not None:
            _set_dropout(self.network, dropout, name)
        self.origin: Origin | None = None
        if weights is not None and pretrained:
            self.origin = load_pretrained(
                self.network, weights=weights, sha256=weights_sha256, head=head_of(lambda count: _on_meta(name, count), outputs),
                fetch=lambda: torchvision_file(name), ignore=AUXILIARY,
            )  # fmt: skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        if self.size is not None:
            x_BCHW = nn.functional.interpolate(x_BCHW, self.size, mode="bilinear")
        return self.network((x_BCHW - self.mean) / self.std)  # type: ignore[no-any-return]


def _smallest(name: str) -> int:
    """Pixels of the smallest side that the network takes, as torchvision states it."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise PersonError(f"model.name: torchvision has no classification network {name!r}: {near_match(name, known)}")
    weights: Any = torchvision.models.get_model_weights(name).DEFAULT
    return int(max(weights.meta["min_size"]))


def _make(name: str, outputs: int) -> nn.Module:
    """The network with random weights and K outputs, without auxiliary heads."""
    import torchvision

    extra = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARY else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **extra)
    if name.startswith("squeezenet"):
        classifier: Any = network.classifier
        classifier[2] = nn.Identity()
    return network


def _on_meta(name: str, outputs: int) -> nn.Module:
    """The same without memory or values, to ask for shapes."""
    with torch.device("meta"):
        return _make(name, outputs).eval()


def _check_size(name: str, outputs: int, size: tuple[int, int]) -> None:
    """Hold the size of the images against the network without computing anything."""
    try:
        _on_meta(name, outputs)(torch.empty(2, 3, *size, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise PersonError(f"model.name={name} does not take images of {size[0]}x{size[1]} pixels ({str(error).splitlines()[0]}): "
                          f"set  model.side  to what it takes, {_smallest(name)} or more") from error  # fmt: skip


def _take_grey(network: nn.Module) -> None:
    """Replace the first convolution by one for one channel: its weights are the sum over the three."""
    path, first = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    parent, _, last = path.rpartition(".")
    stride, padding = (first.stride[0], first.stride[1]), first.padding
    size = (first.kernel_size[0], first.kernel_size[1])
    other = nn.Conv2d(1, first.out_channels, size, stride, padding, bias=first.bias is not None)  # type: ignore[arg-type]
    with torch.no_grad():
        other.weight.copy_(first.weight.sum(1, keepdim=True))
        if first.bias is not None and other.bias is not None:
            other.bias.copy_(first.bias)
    setattr(network.get_submodule(parent), last, other)


def _set_dropout(network: nn.Module, dropout: float, name: str) -> None:
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise PersonError(f"model.dropout={dropout} has no effect: {name} has no dropout layer; set  model.dropout=null")
    for layer in layers:
        layer.p = dropout
