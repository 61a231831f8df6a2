"""What the gates of quality and memorisation say of good and of broken sources: python -m benchmarks.synthesis_gate [digits] ...

A tenth of each data set trains, half of the validation images are the yardstick, the other half pose as a perfect generator. The
broken sources are made of that half too, so that nothing but their fault tells them apart. Limits are those of conf/config.yaml.

S synthetic images, H height, W width, C channels.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.elpv_run import ROOT, table
from benchmarks.synthesis_data import Data, Pixels, digits, elpv, fashion
from pipeline.core.config import compose
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.images.resize import small
from pipeline.training.gates import CONTROL, MANIFOLD, View, memorised, quality

LOAD: dict[str, Callable[[], Data]] = {
    "digits": lambda: digits(side=8),
    "fashion": lambda: fashion(limit=6000, side=28),
    "elpv": lambda: elpv(size=16),
}
GOOD = ("unseen real images", "simulator")
Made = dict[str, tuple[Pixels, NDArray[np.int64]]]


def broken(data: Data, new: Pixels, label_S: NDArray[np.int64]) -> Made:
    """Faults planted into unseen real images, and copies of training images."""
    rng, side = generator(0, "benchmark", "faults"), new.shape[1]
    first = {kind: new[label_S == kind][0] for kind in np.unique(label_S)}
    jitter = rng.integers(-2, 3, new.shape)
    changed = {
        **{
            f"blurred, sigma {sigma:.3g} pixels": np.stack([cv2.GaussianBlur(image, (0, 0), sigma)[:, :, None] for image in new])
            for sigma in (max(1, side / 16), side / 4)
        },
        "noise of 31 % added": new + rng.normal(0, 80, new.shape),
        "pixels shuffled": np.stack([rng.permutation(image.reshape(-1)).reshape(image.shape) for image in new]),
        "uniform noise": rng.integers(0, 256, new.shape),
        "one image of each class": np.stack([first[kind] for kind in label_S]) + jitter,
        "one image": np.repeat(new[:1], len(new), axis=0) + jitter,
    }
    found = {name: (np.clip(images, 0, 255).astype(np.uint8), label_S) for name, images in changed.items()}
    copied = np.clip(data.train + rng.integers(-1, 2, (len(data.train), 1, 1, 1)), 0, 255).astype(np.uint8)
    return {**found, "training images, a grey level off": (copied, data.label_N)}


def run(name: str, count: int) -> bool:
    """Print the table of one data set; whether every good source passed and every broken one failed."""
    data = LOAD[name]()
    embed = data.embed if data.by_head else lambda seen: seen.reshape(len(seen), -1).astype(np.float32) / 255
    cfg: dict[str, Any] = {"synthesize": compose(ROOT / "conf", experiment="digits", overrides=[])["synthesize"], "seed": 0}

    def view(images: Pixels) -> View:
        return View(small(images, min(32, images.shape[1])), embed(images), {}, embedded=True)

    names = sorted(set(data.groups))
    half = np.isin(data.groups, names[::2]) if len(names) > 1 else np.arange(len(data.held)) % 2 == 0
    drawn = generator(0, "benchmark", "new").permutation(np.flatnonzero(~half))[:count]  # in their order neighbours are alike
    new, label_S = data.held[drawn], data.label_M[drawn]
    made: Made = {"unseen real images": (new, label_S)}
    if data.simulator:
        node = compose(ROOT / "conf", experiment="solar_cells", overrides=[f"generator={data.simulator}"])["generator"]
        photos = list(build(node).simulate(data.card, len(new), generator(0, "benchmark", "simulate")))
        made["simulator"] = (np.stack([one.pixels_HWC for one in photos]), np.asarray([one.label for one in photos], np.int64))
    made |= broken(data, new, label_S)
    train, held = view(data.train), view(data.held[half])
    rng = generator(0, "benchmark", "noise")
    shuffled = np.stack([rng.permutation(image.reshape(-1)).reshape(image.shape) for image in data.train[:CONTROL]])
    noise_ND, right = embed(shuffled), True
    with table(
        f"{data.name}, {len(train)} training images", ["source", "position", "variety", *MANIFOLD, "copies", "verdict"]
    ) as add:
        for source, (images, labels) in made.items():
            seen = view(images)
            found = quality((train, held, seen), noise_ND, (data.label_N, labels), embedding="", cfg=cfg)
            copies = memorised(train, held, seen, copy_ratio=cfg["synthesize"]["copy_ratio"]).copy_S.mean()
            passed = found["passed"] and copies <= cfg["synthesize"]["max_copies"]
            right &= passed == (source in GOOD)
            add(source, *(f"{found[key]:.2f}" for key in ("position", "variety", *MANIFOLD)), f"{copies:.2f}",
                "passes" if passed else "fails")  # fmt: skip
        add("limits", *(f"{found['limits'][key]:.2f}" for key in ("position", "variety", *MANIFOLD)),
            f"{cfg['synthesize']['max_copies']:.2f}", "")  # fmt: skip
    return right


def main() -> int:
    """0 where every verdict is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", choices=[*LOAD, []], help="all of them without")
    parser.add_argument("--count", type=int, default=300, help="images of each source")
    options = parser.parse_args()
    right = [run(name, options.count) for name in options.data or LOAD]
    return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
