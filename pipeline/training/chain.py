"""A trained network made smaller, step by step: shrunk by parts of the room shrinker, or trained under a compressor's rounding.

B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.core.contracts import Exporter
from pipeline.core.delivery import Compressor, Shrinker
from pipeline.training.deploy import deploy
from pipeline.training.detection import Detection
from pipeline.training.finetune import finetune
from pipeline.training.predict import BATCH, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

CALIBRATION_BATCH = 8  # images; bounds the memory of the calibration


@dataclass(frozen=True)
class Chain:
    """What the steps share.

    Attributes:
        trained: the network that it starts from, and that each step learns from.
        task: of the network.
        train: samples of the train split.
        options: `compress` of the configuration.
        seed: of every draw.
    """

    trained: nn.Module
    task: Any
    train: Subset
    options: dict[str, Any]
    seed: int

    def shrunk(self, network: nn.Module, part: Shrinker) -> nn.Module:
        """The network after a shrinker and some training on; the given one is untouched."""
        looked_at = self.train.spread(int(self.options["looked_at"]), self.seed, "shrink")
        small = part.shrink(network, lambda: (to_batch(list(batch)) for batch in looked_at.batches(BATCH)))
        return self._tuned(small, steps=int(self.options["tune_steps"]), lr=float(self.options["tune_lr"]))

    def aware(self, network: nn.Module, compressor: Any) -> nn.Module:
        """The network after training on under the rounding of a compressor that has `simulate`; the given one is untouched."""
        rows = self.train.positions[: min(int(self.options["tune_batch_size"]), len(self.train))]
        simulated = compressor.simulate(network, to_batch([self.train.samples.pixels(int(row)) for row in rows]))
        plain: nn.Module = compressor.settled(self._tuned(simulated, steps=compressor.steps, lr=compressor.lr), network)
        return plain

    def _tuned(self, network: nn.Module, *, steps: int, lr: float) -> nn.Module:
        return finetune(
            network, self.trained, self.task, self.train, steps=steps, lr=lr, batch_size=int(self.options["tune_batch_size"]),
            distil=float(self.options["distil"]), seed=self.seed,
        )  # fmt: skip


def open_chain(task: Any, options: dict[str, Any], *, seed: int, ingest: Path, split: Path, train: Path) -> Chain:
    """The trained network and the train split of what the stages published."""
    trained = load_model(train).requires_grad_(requires_grad=False)
    return Chain(trained, task, read_subset(task, ingest, split, ["train"]), options, seed)


@dataclass(frozen=True)
class Files:
    """How a network becomes a file, and that a smaller one.

    Attributes:
        task: whose decoding goes into the file.
        card: of the data.
        exporter: writes the file.
        detection: of unknown inputs; None where no detector travels.
    """

    task: Any
    card: dict[str, Any]
    exporter: Exporter
    detection: Detection | None

    def whole(self, network: nn.Module, directory: Path) -> Path:
        """Write a network in evaluation mode, with the detector behind it; return its file."""
        watch = None if self.detection is None else self.detection.behind(network)
        return deploy(network, self.task, self.card, exporter=self.exporter, directory=directory, watch=watch)

    def small(
        self, source: Path, compressor: Compressor, calibration: Subset, directory: Path
    ) -> tuple[Path, float | None]:  # fmt: skip
        """Compress a file; return the small one, and the threshold that the detector in it has of its own."""
        path = compressor(source, calibration.batches(CALIBRATION_BATCH), directory)
        limit = None if self.detection is None else self.detection.settle(path, self.exporter.load(path))
        return path, limit


def compressed(network: nn.Module, files: Files, compressor: Compressor, calibration: Subset, *, out: Path) -> Path:
    """Write the network as a file and compress that; what lies in `out` afterwards is `model.onnx` of the compressor alone.

    Args:
        network: in evaluation mode.
        files: how it is written.
        compressor: makes the file smaller.
        calibration: samples of the validation split.
        out: an empty folder.
    """
    whole = out / "whole"
    whole.mkdir()
    source = files.whole(network, whole)
    path, _ = files.small(source, compressor, calibration, out)
    source.unlink()
    whole.rmdir()
    return path


def weights(network: nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())
