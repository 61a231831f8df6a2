"""The detector of unknown inputs behind a network that is made smaller: fitted to it, with a threshold of the small file's own.

The threshold that the stage ood set holds for the scores of the trained network. A rounded network gives other features, so
other scores, and a rate of false alarms that nobody asked for. So the small file answers the same validation samples in its own
runtime, and the conformal quantile of what it says becomes its threshold: the rate of false alarms is then asked of the file
itself. (Some of these samples also set the ranges of its activations, so the stage compress measures the rate on the test
split.) A network that was shrunk or trained on has features of its own, maybe fewer of them, so the detector is fitted on these
with the train split; where the weights were only rounded, what it learnt of the trained network stays.

B batch, N samples.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core import scores
from pipeline.core.artifact import read_json
from pipeline.core.contracts import Detector, Loaded
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.record import Pixels
from pipeline.outlier import sets
from pipeline.outlier.measure import alarms, separation, threshold
from pipeline.outlier.watch import OUTPUTS, Chosen, Watch, load_watch
from pipeline.runtime.further import set_limit
from pipeline.training.deploy import told
from pipeline.training.predict import BATCH
from pipeline.training.seen import Lens, examples
from pipeline.training.subset import Subset, read_subset

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Detection:
    """The detector that travels, and the samples that it is fitted and set on.

    Attributes:
        trained: the trained network.
        watch: with the detector behind it, as the stage ood published it.
        part: the detector itself.
        task: of the network.
        card: of the data.
        train: samples that the detector is fitted on.
        validation: samples that the threshold is set on; those of the stage ood.
        inliers: images of some validation samples.
        outliers: kind -> outliers made of them.
    """

    trained: nn.Module
    watch: Watch
    part: Detector
    task: Any
    card: Mapping[str, Any]
    train: Subset
    validation: Subset
    inliers: Sequence[Pixels]
    outliers: Mapping[str, Sequence[Pixels]]

    @property
    def chosen(self) -> Chosen:
        """Its name, and its threshold behind the trained network."""
        return self.watch.chosen

    def behind(self, network: nn.Module) -> Watch:
        """The detector behind a network: as it is where that is the trained one, fitted anew where it is another.

        Raises:
            PersonError: the network's outputs are not finite, or the detector reads features and it has none any more.
        """
        if network is self.trained:
            return self.watch
        lens, needed = Lens(network, self.card), "features" in self.part.needs
        seen = lens.images(self.train.pixels(), total=len(self.train), what="samples for the detector")
        if not (torch.isfinite(seen.logits_BK).all() and torch.isfinite(seen.features_BD).all()):
            raise PersonError(
                f"the shrunk network's outputs are not finite, and the detector {self.chosen.name!r} cannot be fitted to them: "
                "shrink less, or lower  compress.tune_lr"
            )
        if needed and not lens.has_features:
            raise PersonError(
                f"the detector {self.chosen.name!r} reads features, and the shrunk network does not end in one linear layer: "
                "choose  shrinker=none , or a detector such as  ood.ship=energy"
            )
        truth = self.train.truth if self.task.categories else np.zeros(len(self.train), dtype=np.int64)
        scorer = self.part.graph(self.part.fit(lens.known(seen, torch.as_tensor(truth))).state)
        assert scorer is not None
        return Watch(*((lens.body, lens.last) if needed else (network, None)), scorer, self.chosen).eval()

    def settle(self, path: Path, loaded: Loaded) -> float:
        """Set the threshold of a small file to the quantile of its own scores on validation; the file is written anew.

        Args:
            path: an ONNX file with the outputs of the detector.
            loaded: the same, opened in its runtime.

        Returns:
            The threshold.

        Raises:
            PersonError: a score is not finite.
        """
        score_N = scored(loaded, self.validation.batches(BATCH))
        if not np.isfinite(score_N).all():
            raise PersonError(
                f"the detector {self.chosen.name!r} gives scores that are not finite behind the compressed network: "
                "choose another with  ood.ship , or  ood.ship=none"
            )
        settled = replace(self.chosen, threshold=threshold(score_N, self.chosen.false_alarm), validation=len(score_N))
        set_limit(path, OUTPUTS[1], settled.threshold, {"unknown": told(settled)})
        return settled.threshold

    def auroc(self, loaded: Loaded) -> float:
        """How well a file tells validation samples from outliers made of them: the mean over their kinds."""
        known_N = scored(loaded, _batches(self.inliers))
        found = []
        for images in self.outliers.values():
            joined = np.concatenate([known_N, scored(loaded, _batches(images))])
            found.append(separation(joined, np.arange(len(joined)) >= len(known_N))["auroc"])
        return float(np.mean(found))


def open_detection(cfg: Mapping[str, Any], trained: nn.Module, task: Any, folders: Mapping[str, Path]) -> Detection | None:
    """The detector that the stage ood published; None where none travels.

    Args:
        cfg: `detector`, `ood` and `seed` of the configuration.
        trained: network, in evaluation mode.
        task: of it.
        folders: of the artifacts ingest, split and ood.

    Raises:
        PersonError: the artifact ood and the configuration do not fit, or the validation split is empty.
    """
    card, options, seed = read_json(folders["ingest"] / "card.json"), cfg["ood"], int(cfg["seed"])
    watch = load_watch(folders["ood"], trained, cfg["detector"] or {}, examples(card))
    if watch is None:
        return None
    train, val = (read_subset(task, folders["ingest"], folders["split"], [name]) for name in ("train", "val"))
    if not len(val):
        raise PersonError("the validation split is empty, and the detector's threshold is set on it: set a larger share for it")
    few = val.spread(int(options["others"]), seed, "outliers")
    inliers = [*few.pixels()]
    return Detection(
        trained, watch, build(cfg["detector"][watch.chosen.name]), task, card,
        train=train.spread(int(options["fitted"]), seed, "ood"),
        validation=val.spread(watch.chosen.validation, seed, "ood"),
        inliers=inliers, outliers={name: sets.made(name, inliers, few.ids, seed) for name in sets.MADE},
    )  # fmt: skip


def compare_detection(
    detection: Detection, loaded: Mapping[str, Loaded], answers: Mapping[str, Mapping[str, NDArray[Any]]], groups: Sequence[str],
    *, thresholds: Mapping[str, float], measure: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What the detector does in the original and in the compressed file, as plain JSON.

    Args:
        detection: that both hold.
        loaded: `original` and `compressed` -> the file, opened in its runtime.
        answers: the same -> every output by name, of the test samples.
        groups: of these.
        thresholds: the same -> score above which an input is called unknown.
        measure: resamples, coverage and seed of the intervals.

    Returns:
        Of each file threshold, share of test samples that it calls unknown, and AUROC of validation samples against outliers made
        of them; of both Spearman's rank correlation of the scores of the test samples (None where either is constant), and how
        many of them get another flag.
    """
    score, flag = ({name: said[output].reshape(-1) for name, said in answers.items()} for output in OUTPUTS)
    alike = scores.spearman(score["compressed"], score["original"])
    found: dict[str, Any] = {
        name: {
            "threshold": thresholds[name], "validation_auroc": detection.auroc(loaded[name]),
            "false_alarm": alarms(score[name], groups, limit=thresholds[name], **measure),
        } for name in loaded
    }  # fmt: skip
    return {
        "detector": detection.chosen.name, "asked": detection.chosen.false_alarm, "validation": len(detection.validation),
        **found,
        "rank_correlation": alike if np.isfinite(alike) else None,
        "other_flags": int((flag["compressed"] != flag["original"]).sum()),
    }  # fmt: skip


def scored(loaded: Loaded, batches: Iterable[Pixels]) -> Scores:
    """Scores (N,) that a file gives images, in batches (B, H, W, C)."""
    return np.concatenate([loaded.answers(pixels_BHWC)[OUTPUTS[0]].reshape(-1) for pixels_BHWC in batches])


def _batches(images: Sequence[Pixels]) -> Iterator[Pixels]:
    return (np.stack(images[start : start + BATCH]) for start in range(0, len(images), BATCH))
