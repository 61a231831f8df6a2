"""What each kind of part must offer. `tests/contract` holds every option of every room to its laws.

Letters in names: B batch, C channels, H height, W width, K outputs (classes, or 1 for regression), N samples, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pipeline.core.section import Picture

Card = Mapping[str, Any]
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        id: hash of the decoded pixels, 20 hexadecimal digits; equal content has an equal id wherever it came from.
        pixels_HWC: uint8, one shape for all samples of an artifact.
        label: class index, or -1 where the data has no classes.
        target: real-valued target in the card's unit, or NaN.
        weight: confidence of the label, in (0, 1].
        group: samples of one group never stand on both sides of a split; "" for none.
        order: position in the source, for data whose neighbours belong together.
        name: where it came from, for people.
        origin: real, augmented or synthetic.
        parent: what it was made from: a sample's id (augmented) or a generator's digest (synthetic); "" for real ones.
    """

    id: str
    pixels_HWC: Pixels
    label: int = -1
    target: float = float("nan")
    weight: float = 1.0
    group: str = ""
    order: int = 0
    name: str = ""
    origin: str = "real"
    parent: str = ""


@dataclass(frozen=True)
class Rejected:
    """A file that ingest could not use, and why."""

    name: str
    reason: str


class Dataset(Protocol):
    """Where samples come from. Deterministic; ids unique and derived from content; the card agrees with the data."""

    def card(self) -> dict[str, Any]:
        """Facts that only the source knows.

        Keys: name, source, license, citation, classes (list of str, or []), target (null, or name, unit, low, high) and,
        optionally, ignored (ending -> number of files that are not images).
        """

    def __len__(self) -> int:
        """How many samples or rejected files `samples()` yields, for the progress bar."""

    def samples(self) -> Iterator[Sample | Rejected]:
        """Samples in the order of the source; a file that cannot be used is yielded as `Rejected`."""


class Embedder(Protocol):
    """Features of a frozen network."""

    def describe(self) -> dict[str, Any]:
        """Name, source and SHA-256 of the weights, feature blocks."""

    def features(self, pixels_BHWC: Pixels) -> Floats:
        """Features (B, D) of a batch."""


class Splitter(Protocol):
    """Assigns each sample to train, val or test.

    Attributes:
        keeps_groups: whether a group never stands on both sides; the stage holds the splitter to it.
    """

    keeps_groups: bool

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], seed: int
    ) -> NDArray[np.str_]:
        """One of 'train', 'val', 'test' for each of N samples; deterministic."""


class Transform(Protocol):
    """An augmentation policy. The input is not mutated; the same rng gives the same bytes."""

    def __call__(self, pixels_HWC: Pixels, rng: np.random.Generator) -> Pixels:
        """An augmented image of the same shape and dtype."""

    def describe(self) -> list[dict[str, Any]]:
        """Each step of the policy with its arguments, as plain JSON; `__class_fullname__` is its name."""


class Task(Protocol):
    """What is predicted, and all that depends on it. Built with the card of the data; no stage branches on its name.

    Attributes:
        name: as in conf/task.
        headline: the metric that stands for the result.
        higher_is_better: of the headline.
        categories: number of classes, or 0 for a real value.
        columns: names of a decoded prediction's columns.
    """

    name: str

    @property
    def headline(self) -> str:
        """Name of the main metric."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger headline is a better one."""

    @property
    def categories(self) -> int:
        """Number of classes, or 0 for a real value."""

    def check(self) -> None:
        """Raise PersonError where the card cannot serve this task."""

    def outputs(self) -> int:
        """K, the width of the model's raw output."""

    def truth(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Truth of each sample: int64 class (N,) or float32 value (N,)."""

    def losses(self, output_BK: "Tensor", truth_B: "Tensor") -> "Tensor":
        """Loss of each sample, (B,)."""

    def score(self, output_BK: "Tensor") -> "Tensor":
        """What explainers explain, (B,): the logit of the predicted class, or the value."""

    def decode(self, output_BK: "Tensor") -> "Tensor":
        """What a person reads: probabilities (B, K) or the value (B, 1)."""

    def metrics(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        """Named metrics of decoded predictions."""

    def errors(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> NDArray[Any]:
        """How bad each prediction is, (N,)."""

    def text(self, row_K: NDArray[Any]) -> str:
        """A decoded prediction in words."""

    def truth_text(self, truth: Any) -> str:
        """A truth in words."""

    def pictures(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], directory: Path, dpi: int) -> "list[Picture]":
        """Draw what shows the result; return what each picture shows."""


class Model(Protocol):
    """A plain nn.Module: pixels in [0, 1], float32, (B, C, H, W) -> (B, K). Built with flat keyword arguments."""

    def forward(self, x_BCHW: "Tensor") -> "Tensor":
        """Raw outputs (B, K)."""


LossOf = Callable[["Tensor"], "Tensor"]
ScoreOf = Callable[["Tensor"], "Tensor"]


class Attack(Protocol):
    """A perturbation inside eps (L-infinity, pixels in [0, 1]) that raises the loss; x is untouched, seeded by rng."""

    eps: float
    radii: Sequence[float]  # multiples of eps at which robustness draws its curve

    def __call__(self, loss_of: LossOf, x_BCHW: "Tensor", rng: "torch.Generator") -> "Tensor":
        """Adversarial images of the same shape. `loss_of(x)` is the loss of each sample, (B,)."""


class Explainer(Protocol):
    """A map of what the score depends on."""

    def __call__(self, score_of: ScoreOf, x_BCHW: "Tensor") -> "Tensor":
        """Maps (B, H, W), finite. `score_of(x)` is (B,); a module that has layers to look into is `score_of.model`."""


class Compressor(Protocol):
    """Makes a smaller model of an exported one; the original file is untouched."""

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write the compressed form of the exported model `source` into `directory`; return its file.

        It is calibrated on `batches` of uint8 images (B, H, W, C), and the same exporter loads it.
        """


class Exporter(Protocol):
    """Writes a model for a runtime, with pre- and post-processing inside."""

    def save(self, model: "nn.Module", example_BHWC: "Tensor", directory: Path, metadata: Mapping[str, str]) -> Path:
        """Write one self-contained file; return its path."""

    def load(self, path: Path) -> Callable[[Pixels], Floats]:
        """A callable from uint8 images (B, H, W, C) to decoded predictions (B, K), in the runtime itself."""
