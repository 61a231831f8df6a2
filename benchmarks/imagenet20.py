"""Lite0 on the 20 ImageNet photographs that the package foolbox carries, with its authors' preprocessing and with wrong ones.

    python -m benchmarks.imagenet20

Twenty images measure no accuracy; they catch wrong weights, a wrong order of channels or wrong preprocessing, which cost far more
than one image. The right one reaches 18; the label stands in each file's name.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor

from pipeline.backbone import lite0
from pipeline.backbone.preparation import IMAGENET_MEAN, IMAGENET_STD
from pipeline.images.decode import Decoder

SIDE, REQUIRED = 224, 18  # pixels that Lite0 was trained at; images of 20
ROOT = Path(__file__).resolve().parents[1]


def photographs() -> tuple[Tensor, Tensor, list[str]]:
    """Pixels in [0, 1] (20, 3, 224, 224), classes (20,) and file names."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None or spec.origin is None:
        sys.exit("error: the photographs come with the package foolbox: run  pip install foolbox==3.3.4")
    paths = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    decoder = Decoder(
        height=SIDE, width=SIDE, channels=3, fit="stretch", min_side=8, max_pixels=10**7, sixteen_bit="reject", background=255
    )
    pixels_BHWC = np.stack([decoder.decode(path.read_bytes()) for path in paths])
    truth_B = torch.tensor([int(path.stem.rsplit("_", 1)[1]) for path in paths])
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255, truth_B, [path.name for path in paths]


def imagenet(x_BCHW: Tensor) -> Tensor:
    """The mean and deviation that most networks of ImageNet take, and Lite0 does not."""
    return (x_BCHW - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)


def small(x_BCHW: Tensor) -> Tensor:
    """Images of 64 pixels brought to 224."""
    tiny = [cv2.resize(x_CHW.permute(1, 2, 0).numpy(), (64, 64), interpolation=cv2.INTER_AREA) for x_CHW in x_BCHW]
    large = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for image in tiny]
    return lite0.prepare(torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2))


def main() -> int:
    """Print the table; 0 when the right preprocessing reaches the required figure."""
    from rich.console import Console
    from rich.table import Table

    x_BCHW, truth_B, names = photographs()
    sha256 = yaml.safe_load((ROOT / "conf/model/lite0.yaml").read_text(encoding="utf-8"))["weights_sha256"]
    net = lite0.load_lite0(sha256)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "its own: (uint8 - 127) / 128": lite0.prepare,
        "planted: blue and red changed": lambda x: lite0.prepare(x.flip(1)),
        "planted: mean and deviation of ImageNet": imagenet,
        "planted: pixels in [0, 1] as they are": lambda x: x,
        "planted: pixels in [0, 255]": lambda x: x * 255,
        "planted: through 64 pixels": small,
    }
    table = Table(title=f"EfficientNet-Lite0 on {len(names)} ImageNet photographs at {SIDE} px")
    for column in ("preprocessing", "top-1", "top-5"):
        table.add_column(column, justify="left" if column == "preprocessing" else "right")
    reached = {}
    with torch.inference_mode():
        for name, prepare in ways.items():
            order_B5 = net(prepare(x_BCHW)).topk(5).indices
            right_B5 = order_B5 == truth_B[:, None]
            reached[name] = int(right_B5[:, 0].sum())
            table.add_row(name, f"{reached[name]} of {len(names)}", f"{int(right_B5.any(1).sum())} of {len(names)}")
            if prepare is lite0.prepare:
                wrong = [
                    f"{names[place]}: said {int(order_B5[place, 0])}, is {int(truth_B[place])}"
                    for place in torch.flatten(torch.nonzero(~right_B5[:, 0])).tolist()
                ]
    console = Console(width=100)
    console.print(table)
    for line in wrong:
        console.print(f"  wrong: {line}", highlight=False)
    own = next(iter(reached.values()))
    console.print(f"required {REQUIRED} of {len(names)}: {'reached' if own >= REQUIRED else 'MISSED'}", highlight=False)
    return 0 if own >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
