"""Synthetic samples of either kind of generator, each with its provenance.

S synthetic images, H height, W width, C channels, L latent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.contracts import Card
from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.record import Sample
from pipeline.images.decode import sample_id
from pipeline.images.resize import resize
from pipeline.synthesis.conditions import Chosen

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Maker:
    """Marks samples as synthetic and of this generator, and leaves out those whose pixels came before or are a real sample's.

    Attributes:
        digest: of the generator; the parent of every sample.
        taken: ids of real samples; an id is a hash of the pixels.
        repeated: samples that were left out because their pixels came a second time.
        real: samples that were left out because they have the pixels of a real one, and so are copies.
    """

    digest: str
    taken: set[str] = field(repr=False)
    repeated: int = field(default=0)
    real: int = field(default=0)

    def marked(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples, in order, with `origin`, `parent` and `order`."""
        seen: set[str] = set()
        for number, sample in enumerate(samples):
            if sample.id in self.taken:
                self.real += 1
            elif sample.id in seen:
                self.repeated += 1
            else:
                seen.add(sample.id)
                yield replace(sample, origin="synthetic", parent=self.digest, order=number, group="", given="")


def drawn(gan: Any, network: "nn.Module", chosen: Chosen, *, count: int, card: Card, seed: int) -> Iterator[Sample]:
    """Samples of a trained generator with the conditions in turn, at the size of the data.

    Sample i depends on the weights, the seed and i alone.

    Args:
        gan: a part of `pipeline/generator`.
        network: its trained generator.
        chosen: what it was trained on.
        count: samples to draw.
        card: of the data.
        seed: of the noise.
    """
    import torch

    for number in range(count):
        kind = number % len(chosen.names)
        noise_1L = generator(seed, "gan", "sample", number).standard_normal((1, gan.latent), dtype=np.float32)
        small_1HWC = gan.sample(network, torch.tensor([kind]), torch.from_numpy(noise_1L))
        pixels_HWC = resize(small_1HWC[0], height=card["height"], width=card["width"])
        yield Sample(
            id=sample_id(pixels_HWC), pixels_HWC=pixels_HWC, label=chosen.labels[kind], target=chosen.targets[kind],
            order=number, name=f"synthetic {chosen.names[kind]} {number}",
        )  # fmt: skip


def simulated(simulator: Any, *, count: int, card: Card, seed: int) -> Iterator[Sample]:
    """Samples of a simulator, which must fit the card.

    Raises:
        PersonError: an image has another shape than the data, or a class that it does not know.
    """
    shape = (card["height"], card["width"], card["channels"])
    for sample in simulator.simulate(card, count, generator(seed, "simulate")):
        if sample.pixels_HWC.shape != shape or not -1 <= sample.label < max(1, len(card["classes"])):
            raise PersonError(
                f"the generator drew an image of shape {sample.pixels_HWC.shape} and class {sample.label}: expected {shape} and "
                f"one of {len(card['classes'])} classes; mend its `simulate`, or set generator=none"
            )
        yield sample
