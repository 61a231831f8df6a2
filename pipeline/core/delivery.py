"""What makes a model smaller and takes it out: shrinkers, compressors, and targets with what they are made from.

Letters in names: B batch, C channels, H height, W width, K outputs (classes, or 1 for regression).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.contracts import Loaded
from pipeline.core.errors import PersonError, near_match
from pipeline.core.record import Pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

ANSWERS = ("prediction", "unknown_score", "unknown")  # outputs of `Made.network`, in order
SOURCES = {"export": "fp32", "compress": "int8"}  # files that a target may be made from, and what is expected of their weights


def precision_of(source: str) -> str:
    """Precision expected of what a target is made from; `pipeline.runtime.stored` asks a compressed file for its own.

    Raises:
        PersonError: an unknown source.
    """
    if source not in SOURCES:
        raise PersonError(f"a target's source is export or compress: received {source!r}; {near_match(source, SOURCES)}")
    return SOURCES[source]


def opened_facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Facts that travel in a file as text, with what is JSON among them opened."""
    facts: dict[str, Any] = {}
    for key, value in metadata.items():
        try:
            facts[key] = json.loads(value)
        except ValueError:
            facts[key] = value
    return facts


class Compressor(Protocol):
    """Makes a smaller model of an exported one; the original file is untouched.

    Attributes:
        bits: that a weight takes; below 16 the activations are rounded as well, in ranges set on the batches.
    """

    bits: int

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write the compressed form of the exported model `source` into `directory`; return its file.

        It is calibrated on `batches` of uint8 images (B, H, W, C), has every output of the source, and the same exporter loads
        it.
        """


class Shrinker(Protocol):
    """Makes a smaller network of a trained one, before it becomes a file; the original is untouched.

    Attributes:
        order: which comes first when several are chosen.
    """

    order: int

    def shrink(self, network: "nn.Module", batches: "Callable[[], Iterable[Tensor]]") -> "nn.Module":
        """A smaller network of the same inputs and outputs, in evaluation mode.

        `batches()` gives images (B, C, H, W) of the train split, in [0, 1], from the beginning at each call.
        """


@dataclass(frozen=True)
class Made:
    """What a target is made from.

    Attributes:
        network: uint8 images (B, H, W, C) -> decoded predictions (B, K), or a tuple of these and a tensor for each of `further`.
        plain: the same without the further outputs, for a target that cannot take them.
        example_BHWC: two or more images of the stored size.
        onnx: the exported file, of `network`; None where there is none.
        int8: the compressed file, with the outputs of `network`; None where there is none.
        further: names of the further outputs.
        metadata: facts for whoever uses the file.
        told: the same of the compressed file, whose detector has a threshold of its own.
        decoder: arguments of `pipeline.images.decode.Decoder`, as ingest had them.
    """

    network: "nn.Module"
    plain: "nn.Module"
    example_BHWC: "Tensor"
    onnx: Path | None
    int8: Path | None
    further: Sequence[str]
    metadata: Mapping[str, str]
    told: Mapping[str, str]
    decoder: Mapping[str, Any]

    def file(self, source: str) -> Path:
        """The exported file or the compressed one, as a target's `source` names it.

        Raises:
            PersonError: nothing was exported or compressed.
        """
        found = self.onnx if source == "export" else self.int8
        if found is None:
            lacking = ("exported", "exporter=onnx") if source == "export" else ("compressed", "compressor=int8")
            raise PersonError(f"nothing was {lacking[0]}: choose  {lacking[1]}")
        return found

    def facts(self, source: str) -> Mapping[str, str]:
        """Facts of the exported file or of the compressed one, as a target's `source` names it."""
        return self.metadata if source == "export" else self.told


class Target(Protocol):
    """A runtime that the model is written for, beside the exporter's own.

    Attributes:
        precision: of the weights: fp32, fp16, bf16 or int8. One in fp32 must answer as the trained model does; another may cost
            accuracy, which is measured. Of a target made from the compressed file, that file has the last word.
        needs: packages that must import: as pip names each, and as Python does. One that is missing is a line in the table.
        largest_batch: images that one call takes; None for any number.
        runs: whether this machine can run it; a recipe that only another machine can run is written and marked so.
        runs_code: whether to open its file is to run what its author wrote; such a file is opened of one's own folder alone, or
            of one that was signed with a known key.
    """

    precision: str
    needs: Sequence[tuple[str, str]]
    largest_batch: int | None
    runs: bool
    runs_code: bool

    def build(self, made: Made, directory: Path) -> Path:
        """Write the file (or a folder's main file) into an empty directory.

        Raises:
            PersonError: the network cannot be written for it; the message names the layer or operator.
        """

    def load(self, path: Path) -> Loaded:
        """The file in the runtime itself. It is called in a process that has built nothing."""
