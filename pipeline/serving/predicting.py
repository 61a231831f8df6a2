"""Answer many images, file by file, and keep the table, the times and the pictures of them.

B batch, H height, W width, C channels.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.record import Pixels
from pipeline.images.decoding import Refused, outcome
from pipeline.images.pool import DecodePool
from pipeline.serving.inputs import Input
from pipeline.shipping.shipped import Answer, Shipped

SIDE = 320  # pixels of the longer side of an annotated picture
STRIP = 34  # of the words below it


@dataclass
class Tally:
    """What has been answered.

    Attributes:
        answered: images.
        left_out: name and reason of each that could not be used.
        seconds: of each call of the model, per image.
        unknown: images that the detector calls unlike the training data.
        ages: s, from the arrival of a live frame to its answer, decoding and waiting included.
    """

    answered: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    unknown: int = 0
    ages: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds an image that this share of the calls stays below; NaN without a call."""
        return _milliseconds(self.seconds, share)

    def age(self, share: float) -> float:
        """Milliseconds from a live frame to its answer that this share of them stays below; NaN without one."""
        return _milliseconds(self.ages, share)


def _milliseconds(seconds: list[float], share: float) -> float:
    return float(np.percentile(seconds, 100 * share) * 1000) if seconds else float("nan")


def predictions(
    shipped: Shipped, inputs: Iterable[Input], tally: Tally, *, batch: int = 1, pool: dict[str, Any], pictures: Path | None = None
) -> Iterator[tuple[Input, Answer, float]]:  # fmt: skip
    """Answer each image, in order.

    Args:
        shipped: the open model.
        inputs: what to answer.
        tally: is kept.
        batch: images in one call.
        pool: `seconds`, `memory_mb` and `workers` of `pipeline.images.pool.DecodePool`.
        pictures: a folder for the images with what was said of them.

    Yields:
        The input, the answer, and its share of the call in seconds.
    """
    waiting: list[tuple[Input, Pixels]] = []
    with DecodePool(shipped.decoder, **pool) as decoders:
        for one, found in _decoded(decoders, inputs):
            if found is None or isinstance(found, Refused):
                tally.left_out.append((one.name, one.why if found is None else found.reason))
                continue
            waiting.append((one, found.decoded.pixels_HWC))
            if len(waiting) == batch:
                yield from _answered(shipped, waiting, tally, pictures)
                waiting = []
        if waiting:
            yield from _answered(shipped, waiting, tally, pictures)


def _decoded(decoders: DecodePool, inputs: Iterable[Input]) -> Iterator[tuple[Input, Any]]:
    """Each input with its pixels. Frames of a camera go one by one: a chunk of them would be old when it is full."""
    for live, group in groupby(inputs, key=lambda one: one.arrived is not None):
        if live:
            yield from ((one, outcome(decoders.decoder, one.request)) for one in group if one.request is not None)
        else:
            yield from decoders.in_order((one, one.request) for one in group)


def _answered(
    shipped: Shipped, waiting: list[tuple[Input, Pixels]], tally: Tally, pictures: Path | None
) -> Iterator[tuple[Input, Answer, float]]:  # fmt: skip
    began = time.perf_counter()
    answers = shipped.answer(np.stack([pixels_HWC for _, pixels_HWC in waiting]))
    ended = time.perf_counter()
    seconds = (ended - began) / len(waiting)
    tally.ages += [ended - one.arrived for one, _ in waiting if one.arrived is not None]
    tally.seconds += [seconds] * len(waiting)
    for (one, pixels_HWC), answer in zip(waiting, answers, strict=True):
        if pictures is not None:
            _draw(pixels_HWC, answer, Path(one.name).name).save(pictures / f"{tally.answered:06d}.png")
        tally.answered += 1
        tally.unknown += int(bool(answer.unknown))
        yield one, answer, seconds


def _draw(pixels_HWC: Pixels, answer: Answer, name: str) -> Image.Image:
    """The image as the model saw it, and below it what the model says."""
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC).convert("RGB")
    scale = SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (max(image.width, SIDE), image.height + STRIP), "white")
    sheet.paste(image, (0, 0))
    values = ", ".join(f"{name} {value:.4g}" for name, value in answer.columns.items())
    said = f"{answer.label} {answer.probability:.3f}" if answer.label else values
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((4, image.height + 2), said + ("   unlike the training data" if answer.unknown else ""), fill="black", font=font)
    draw.text((4, image.height + 18), name[:52], fill=(90, 90, 90), font=font)
    return sheet
