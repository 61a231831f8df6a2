"""What a trained network makes of images, as detectors of unknown inputs look at it.

B, N samples, C channels, H height, W width, D features, K outputs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.progress import track
from pipeline.core.record import Pixels
from pipeline.outlier.view import Known, Seen, halves
from pipeline.training.inputs import is_cached, read_features
from pipeline.training.predict import BATCH, GRADIENT_BATCH, to_batch
from pipeline.training.subset import Subset


def examples(card: Mapping[str, Any]) -> Tensor:
    """Two images of noise of the data's size, (2, C, H, W): on them the last layer of a network is found."""
    shape = 2, card["channels"], card["height"], card["width"]
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class Lens:
    """A network taken apart before its last linear layer.

    Args:
        model: in evaluation mode.
        card: of ingest.

    Attributes:
        has_features: whether it has such a layer.
    """

    def __init__(self, model: nn.Module, card: Mapping[str, Any]) -> None:
        self.model = model
        found = halves(model, examples(card))
        self.has_features = found is not None
        self.body: nn.Module = found[0] if found is not None else model
        self.last: nn.Linear | None = found[1] if found is not None else None

    def images(self, pixels: Iterable[Pixels], *, total: int, what: str) -> Seen:
        """What the network makes of images (H, W, C), read as they are needed; `what` is what the progress bar says."""
        waiting = iter(pixels)
        starts = range(0, total, BATCH)
        with torch.no_grad():
            chunks = (list(islice(waiting, BATCH)) for _ in track(starts, what=what, total=len(starts)))
            rows = [self.body(to_batch(chunk)).float() for chunk in chunks]
        return self._seen(torch.cat(rows))

    def stored(self, subset: Subset, embed: Path, *, what: str) -> Seen:
        """The same of stored samples; where embed holds the features of the network's frozen trunk, without a pass through it."""
        if self.last is None or not is_cached(self.model, embed):
            return self.images(subset.pixels(), total=len(subset), what=what)
        head: Any = self.body.head
        with torch.no_grad():
            return self._seen(head(torch.from_numpy(read_features(embed, subset.ids))).float())

    def live(self, pixels: Sequence[Pixels]) -> Iterator[Seen]:
        """Images in small batches with the network itself, for detectors that need gradients."""
        for start in range(0, len(pixels), GRADIENT_BATCH):
            x_BCHW = to_batch(pixels[start : start + GRADIENT_BATCH])
            empty = x_BCHW.new_zeros((len(x_BCHW), 0))
            yield Seen(empty, empty, x_BCHW, self.model)

    def known(self, seen: Seen, truth_N: Tensor) -> Known:
        """What detectors are fitted on."""
        outputs = seen.logits_BK.shape[1]
        weight_KD, bias_K = seen.features_BD.new_zeros((outputs, seen.features_BD.shape[1])), seen.logits_BK.new_zeros(outputs)
        if self.last is not None:
            bias: Any = self.last.bias  # None where the layer has none, which torch's types do not say
            weight_KD = self.last.weight.detach()
            bias_K = bias_K if bias is None else bias.detach()
        return Known(seen.logits_BK, seen.features_BD, truth_N, weight_KD, bias_K)

    def _seen(self, body_BD: Tensor) -> Seen:
        if self.last is None:
            return Seen(body_BD, body_BD.new_zeros((len(body_BD), 0)))
        with torch.no_grad():
            return Seen(self.last(body_BD), body_BD)
