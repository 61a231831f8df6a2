"""What stands before a network of a library: the size of its images, and which mean and deviation normalise their pixels.

C channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.core.errors import PersonError, near_match

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels in [0, 1]; torchvision's documentation
KINDS = ("data", "network")


def statistics(
    kind: str, *, data: tuple[Sequence[float], Sequence[float]], network: tuple[Sequence[float], Sequence[float]]
) -> tuple[Tensor, Tensor]:
    """Mean and deviation, each (1, C, 1, 1).

    Args:
        kind: `data` (of the train split) or `network` (what its weights were trained with).
        data: mean and deviation of the train split, C of each.
        network: those of the network, three of each; for one channel their mean is taken.

    Raises:
        PersonError: another kind.
    """
    if kind not in KINDS:
        raise PersonError(f"model.normalise {kind!r} is not known: {near_match(kind, KINDS)}")
    channels = len(data[0])
    chosen = data if kind == "data" else network
    both = []
    for values in chosen:
        one_C = torch.tensor(list(values), dtype=torch.float32)
        both.append((one_C if len(one_C) == channels else one_C.mean().expand(channels)).reshape(1, channels, 1, 1).clone())
    return both[0], both[1]


def image_size(text: str) -> tuple[int, int, int]:
    """Height, width and channels out of what a person typed.

    Raises:
        PersonError: it is not HEIGHTxWIDTHxCHANNELS.
    """
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
        raise PersonError(f"--image {text!r}: expected HEIGHTxWIDTHxCHANNELS, for example 224x224x3")
    return int(sides[0]), int(sides[1]), int(sides[2])
