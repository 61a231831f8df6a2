"""What each kind of part must offer. `tests/contract` holds every option of every room to its laws.

Letters in names: B batch, C channels, H height, W width, K outputs (classes, or 1 for regression), N samples, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Entry, Floats, Pixels, Rejected, Sample

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pipeline.core.section import Picture

Card = Mapping[str, Any]


class Dataset(Protocol):
    """Where samples come from. Deterministic; names unique; the card agrees with the data. It decodes nothing."""

    def card(self) -> dict[str, Any]:
        """Facts that only the source knows.

        Keys: name, source, license, citation, classes (list of str, or []), target (null, or name, unit, low, high) and,
        optionally, ignored (ending -> number of files that are not images) and mask_classes (name of each number in a mask).
        """

    def __len__(self) -> int:
        """How many files `entries()` yields, for the progress bar."""

    def entries(self) -> Iterator[Entry | Rejected]:
        """Files in the order of the source; one that has no place in it is yielded as `Rejected`."""


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
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:
        """One of 'train', 'val', 'test' for each of N samples, or "" for one that is left out; deterministic.

        Args:
            strata: (N,) class, or bin of the target.
            groups: N names, "" for none; near duplicates and a person's groups, joined.
            order: (N,) distinct positions in the source.
            given: N splits that the person named, "" for none.
            ids: N sample ids, which depend on the content alone.
            seed: of the draws.
        """


class Transform(Protocol):
    """An augmentation policy. The input is not mutated; the same rng gives the same bytes."""

    def __call__(self, pixels_HWC: Pixels, rng: np.random.Generator) -> Pixels:
        """An augmented image of the same shape and dtype."""

    def whole(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The same draw for a whole record: mask, boxes and keypoints move with the image."""

    def describe(self) -> list[dict[str, Any]]:
        """Each step of the policy with its arguments, as plain JSON; `__class_fullname__` is its name."""

    def alone(self) -> "list[tuple[str, Callable[[Pixels, np.random.Generator], Pixels]]]":
        """Each step by itself, at the ends of its ranges, with a name for people."""

    def applied(self) -> list[dict[str, float]]:
        """Numbers that the last call drew, for each step: the audit looks for ties between steps."""


class Generator(Protocol):
    """A generator that is trained on the train split: plain networks, their losses, and how to sample from them.

    Beside these it has the numbers of its training: `resolution` (side of its images in pixels), `latent`, `bins`, `minimum`,
    `max_steps`, `batch_size`, `ema`, `checkpoint_every`, `log_every`. Images are float32 in [-1, 1] inside, uint8 outside.
    """

    def generator(self, *, conditions: int, channels: int) -> "nn.Module":
        """A fresh network: `forward(z_BL, condition_B)` -> images (B, C, R, R)."""

    def discriminator(self, *, conditions: int, channels: int) -> "nn.Module":
        """A fresh network: `forward(x_BCHW, condition_B)` -> scores (B,)."""

    def optimisers(self, generator: "nn.Module", discriminator: "nn.Module") -> "tuple[Any, Any]":
        """One for each."""

    def augment(self, x_BCHW: "Tensor", rng: "torch.Generator") -> "Tensor":
        """What the discriminator sees of an image; the gradient passes through."""

    def discriminator_loss(self, real_B: "Tensor", fake_B: "Tensor") -> "Tensor":
        """A scalar."""

    def generator_loss(self, fake_B: "Tensor") -> "Tensor":
        """A scalar."""

    def penalty(self, score_of: "ScoreOf", real_BCHW: "Tensor") -> "Tensor | None":
        """A scalar to add to the discriminator's loss, or None; `score_of(x)` gives its scores (B,)."""

    def sample(self, generator: "nn.Module", condition_B: "Tensor", z_BL: "Tensor") -> Pixels:
        """Synthetic images (B, R, R, C) for these conditions and noise."""


class Simulator(Protocol):
    """A generator that is not trained: it draws samples from rules and reads no sample.

    The stage takes a part for one where it has `simulate`. It sets `origin`, `parent` (digest of the part's configuration) and
    `order`, leaves out an image that came twice, and holds the samples to the gates of every generator.
    """

    def simulate(self, card: Card, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        """Samples of the card's height, width, channels, classes and target range, with masks, boxes or keypoints if known.

        Equal card, count and rng state give equal bytes. `id` is `pipeline.images.decode.sample_id(pixels_HWC)`, and `name`
        says for people what was drawn. Classes come in turn or in a stated balance.

        Raises:
            PersonError: the card is not one that it can draw (a class that it does not know); the message names what it can.
        """


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
    """A perturbation inside a ball of radius eps (pixels in [0, 1]) that raises the loss; x is untouched, seeded by rng."""

    eps: float
    norm: str  # linf or l2: of the ball
    radii: Sequence[float]  # multiples of eps at which robustness draws its curve

    def __call__(self, loss_of: LossOf, x_BCHW: "Tensor", rng: "torch.Generator") -> "Tensor":
        """Adversarial images of the same shape. `loss_of(x)` is the loss of each sample, (B,); see pipeline.attack."""


class Explainer(Protocol):
    """A map of what the score depends on: the score of one class, held while the image changes, or of a value."""

    def __call__(self, score_of: ScoreOf, x_BCHW: "Tensor") -> "Tensor":
        """Maps (B, H, W), finite. `score_of(x)` is (B,); a module that has layers to look into is `score_of.model`."""


class Detector(Protocol):
    """How unlike the training data an input is; `pipeline.outlier.view` has what it looks at (Known, Seen) and returns (Fitted).

    Attributes:
        needs: of "classes" (logits of a classifier), "features" (what enters the last linear layer) and "gradients" (a network
            that can be differentiated, and the images themselves).
    """

    needs: Sequence[str]

    def fit(self, known: Any) -> Any:
        """A `Fitted`: `score(seen)` is (B,) and larger for what is more unlike; `state` is tensors alone."""

    def graph(self, state: "Mapping[str, Tensor]") -> "nn.Module | None":
        """The same score as a module `(logits_BK, features_BD) -> (B,)` that travels with the export; None where it cannot."""


class Verifier(Protocol):
    """Bounds of the outputs of a `pipeline.verification.graph.Graph` over a `Box` of images; `margins` there says which.

    Attributes:
        tightness: a verifier of a larger one is never looser.
    """

    tightness: int

    def lower(self, graph: Any, box: Any, weights_BSK: "Tensor") -> "Tensor":
        """Lower bounds (B, S) of linear functions of the raw outputs, for every image of the box.

        Raises:
            Unboundable: a layer cannot be bounded; nothing is proven then.
        """


class Compressor(Protocol):
    """Makes a smaller model of an exported one; the original file is untouched.

    Attributes:
        bits: that a weight takes; below 16 the activations are rounded as well, in ranges set on the batches.
    """

    bits: int

    def __call__(self, source: Path, batches: Iterable[Pixels], directory: Path) -> Path:
        """Write the compressed form of the exported model `source` into `directory`; return its file.

        It is calibrated on `batches` of uint8 images (B, H, W, C), and the same exporter loads it.
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


class Loaded(Protocol):
    """An exported model, opened in its runtime."""

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K) of uint8 images (B, H, W, C)."""

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name: `prediction`, and what else it was saved with."""


@dataclass(frozen=True)
class Made:
    """What a target is made from.

    Attributes:
        network: uint8 images (B, H, W, C) -> decoded predictions (B, K), or a tuple of these and a tensor for each of `further`.
        plain: the same without the further outputs, for a target that cannot take them.
        example_BHWC: two or more images of the stored size.
        onnx: the exported file, of `network`.
        int8: the compressed file, of `plain`; None where there is none.
        further: names of the further outputs.
        metadata: facts for whoever uses the file.
        decoder: arguments of `pipeline.images.decode.Decoder`, as ingest had them.
    """

    network: "nn.Module"
    plain: "nn.Module"
    example_BHWC: "Tensor"
    onnx: Path
    int8: Path | None
    further: Sequence[str]
    metadata: Mapping[str, str]
    decoder: Mapping[str, Any]


class Target(Protocol):
    """A runtime that the model is written for, beside the exporter's own.

    Attributes:
        precision: of the weights: fp32, fp16 or int8. One in fp32 must answer as the trained model does; another may cost
            accuracy, which is measured.
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


class Exporter(Protocol):
    """Writes a model for a runtime, with pre- and post-processing inside."""

    def save(
        self, model: "nn.Module", example_BHWC: "Tensor", directory: Path, metadata: Mapping[str, str], *,
        further: Sequence[str] = (),
    ) -> Path:  # fmt: skip
        """Write one self-contained file; return its path.

        `model` gives predictions (B, K), and with `further` a tuple of these and one tensor for each of its names.
        """

    def load(self, path: Path) -> Loaded:
        """The file in the runtime itself."""
