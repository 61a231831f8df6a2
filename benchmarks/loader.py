"""Goal 6: how much of a bare loop's speed the loader keeps, and that shuffling is a pure function of (seed, epoch).

    python -m benchmarks.loader

Ratios of one run, interleaved A B A B, median of the pairs with the smallest and the largest. Each loop's CPU time is taken in
one process and one thread. 20 000 colour images of 32 pixels from shards, in batches of 128, by the loader that the stage train
draws from, against
- a bare loop that gathers rows of one numpy array and converts them to float (must: 0.80 of its speed, stretch 0.90),
- a `DataLoader` over single items as most people write it: torchvision's CIFAR10 of the same images (an array in memory; each
  item by Pillow and `ToTensor`), shuffled, stock collate (must: 5 times its speed, stretch 8),
- the same by hand, without Pillow and without torchvision (no figure is asked for),
and 400 JPEGs of 256 pixels through ingest's decoder against a bare loop of simplejpeg, or of OpenCV where that is not installed
(must: 0.85, stretch 0.92).
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CIFAR10
from torchvision.transforms import ToTensor

from pipeline.core.record import Sample
from pipeline.core.store import open_samples, write_shards
from pipeline.images.decode import Decoder
from pipeline.training.inputs import Labels, PixelInputs, load, to_tensor
from pipeline.training.stream import StepStream

COUNT, SIDE, BATCH, PAIRS = 20_000, 32, 128, 15
STEPS = COUNT // BATCH
JPEGS, LARGE = 400, 256


class Stock(CIFAR10):
    """torchvision's own `__getitem__` and `__len__`, over images that need no file."""

    def __init__(self, images_NHWC: np.ndarray, targets: list[int]) -> None:
        self.data, self.targets, self.transform, self.target_transform = images_NHWC, targets, ToTensor(), None


class ByHand(Dataset[Any]):
    """One image an index from an array in memory, as few calls as can be."""

    def __init__(self, images_NHWC: np.ndarray, targets: list[int]) -> None:
        self.images_NHWC, self.targets = images_NHWC, targets

    def __len__(self) -> int:
        return len(self.images_NHWC)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images_NHWC[index]).permute(2, 0, 1).float() / 255.0, self.targets[index]


def cpu(work: Callable[[], None]) -> float:
    """CPU seconds of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(what: str, peer: Callable[[], None], ours: Callable[[], None], *, count: int, wanted: str = "") -> None:
    """Print peer's time over ours: above one, ours is faster."""
    peer(), ours()
    pairs = [(cpu(peer), cpu(ours)) for _ in range(PAIRS)]
    ratios = [theirs / own for theirs, own in pairs]
    rate = [count / statistics.median(side) for side in zip(*pairs, strict=True)]
    middle = f"{statistics.median(ratios):.2f}x" if wanted else f"about {statistics.median(ratios):.2f}x"
    print(f"{what}: {middle} [{min(ratios):.2f}, {max(ratios):.2f}]{wanted}; "
          f"{rate[1]:,.0f} against {rate[0]:,.0f} images a CPU second")  # fmt: skip


def small(folder: Path) -> None:
    """32-pixel shards against a bare loop and against single items."""
    rng = np.random.default_rng(0)
    images_NHWC = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    truth_N = rng.integers(0, 10, COUNT)
    write_shards(folder, (Sample(id=f"{number:020x}", pixels_HWC=image) for number, image in enumerate(images_NHWC)))
    samples = open_samples(folder)
    labels = Labels(truth_N, np.ones(COUNT, np.float32), samples.ids)
    inputs = PixelInputs([(samples, np.arange(COUNT))], labels, policy=None, seed=0)

    def bare() -> None:
        order = rng.permutation(COUNT)
        for start in range(0, STEPS * BATCH, BATCH):
            rows = order[start : start + BATCH]
            planes_BCHW = np.ascontiguousarray(images_NHWC[rows].transpose(0, 3, 1, 2))
            x_BCHW = torch.from_numpy(planes_BCHW).to(torch.float32).div_(255.0)
            assert len(x_BCHW) == len(torch.from_numpy(truth_N[rows]))

    def ours() -> None:
        stream = StepStream(COUNT, batch_size=BATCH, max_steps=STEPS, seed=0)
        for batch in load(inputs, stream, workers=0):
            assert len(batch["x"]) == BATCH

    def of(dataset: Dataset[Any]) -> Callable[[], None]:
        def items() -> None:
            for x_BCHW, _ in DataLoader(dataset, BATCH, shuffle=True, drop_last=True):
                assert len(x_BCHW) == BATCH

        return items

    stock, by_hand = Stock(images_NHWC, truth_N.tolist()), ByHand(images_NHWC, truth_N.tolist())
    for batch in load(inputs, StepStream(COUNT, batch_size=BATCH, max_steps=2, seed=0), workers=0):
        for index, x_CHW in zip(batch["index"].tolist(), batch["x"], strict=True):
            assert torch.equal(x_CHW, to_tensor(images_NHWC[index]))
            assert torch.equal(x_CHW, stock[index][0])
            assert torch.equal(x_CHW, by_hand[index][0])
    count = STEPS * BATCH
    compare("32 px shards / bare gather and convert", bare, ours, count=count, wanted=" (must 0.80x, stretch 0.90x)")
    compare("32 px shards / DataLoader of single items", of(stock), ours, count=count, wanted=" (must 5x, stretch 8x)")
    compare("32 px shards / the same by hand", of(by_hand), ours, count=count)


def large() -> None:
    """256-pixel JPEGs through ingest's decoder against the bare decoder."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (JPEGS, 16, 16, 3), dtype=np.uint8)
    files = [
        cv2.imencode(".jpg", cv2.resize(image, (LARGE, LARGE), interpolation=cv2.INTER_CUBIC))[1].tobytes() for image in coarse
    ]
    decoder = Decoder(height=LARGE, width=LARGE, channels=3, fit="stretch", min_side=8, max_pixels=40_000_000,
                      sixteen_bit="reject", background=255)  # fmt: skip
    try:
        import simplejpeg
    except ImportError:
        simplejpeg = None

    def bare() -> None:
        for data in files:
            if simplejpeg is not None:
                simplejpeg.decode_jpeg(data, colorspace="RGB")
            else:
                cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def ours() -> None:
        for data in files:
            decoder.decode(data)

    peer = "simplejpeg" if simplejpeg is not None else "OpenCV"
    compare(f"256 px JPEG through ingest's decoder / bare {peer}", bare, ours, count=JPEGS, wanted=" (must 0.85x, stretch 0.92x)")


def shuffling() -> None:
    """The order of an epoch follows from the seed and its number alone."""
    whole = list(StepStream(1000, batch_size=100, max_steps=40, seed=5))
    wrong = 0
    for epoch in range(4):
        late = list(StepStream(1000, batch_size=100, max_steps=40, start_step=10 * epoch, seed=5))
        wrong += [key for key in late if key[0] == epoch] != [key for key in whole if key[0] == epoch]
    orders = {tuple(index for e, index in whole if e == epoch) for epoch in range(4)}
    print(f"shuffling: {4 - wrong} of 4 epochs are the same when the stream begins with them, {len(orders)} of 4 orders differ")


if __name__ == "__main__":
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as place:
        small(Path(place) / "store")
    large()
    shuffling()
