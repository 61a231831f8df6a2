"""Gather what a training needs from the artifacts: images or cached features, truths, weights, and the held-out set.

N samples, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.parts import build, is_off
from pipeline.core.store import Samples, open_samples
from pipeline.synthesis.memorisation import check_held_out
from pipeline.training.inputs import FeatureInputs, Labels, PixelInputs, balanced, is_cached, read_features
from pipeline.training.preflight import check_splits

Parts = list[tuple[Samples, NDArray[np.int64]]]


@dataclass(frozen=True)
class Material:
    """What is trained on, and what is held out for validation.

    Attributes:
        inputs: items by (epoch, index).
        validation: the same, never augmented.
        cached: whether both are features of a frozen trunk and not images.
    """

    inputs: PixelInputs | FeatureInputs
    validation: PixelInputs | FeatureInputs
    cached: bool


def gather(cfg: Mapping[str, Any], model: nn.Module, task: Any, folders: Mapping[str, Path]) -> Material:
    """Read the artifacts that training declares.

    Args:
        cfg: `train`, `transform` and `seed`.
        model: decides whether embed's features serve; if so its head is standardised by those of the train split.
        task: gives the truths.
        folders: `ingest`, `embed`, `split`, `augment` and `synthesize`.

    Raises:
        PersonError: synthetic samples are asked for and there are none, or a batch is larger than the train split.
    """
    ids, samples, seed = read_json(folders["split"] / "split.json"), open_samples(folders["ingest"]), cfg["seed"]
    check_splits(ids)
    check_held_out(samples, ids["val"], "val")
    cached = is_cached(model, folders["embed"])
    real: Parts = [(samples, samples.positions(ids["train"]))]
    made = _synthetic(cfg["train"], real, folders, seed=seed) if cached else _made(cfg["train"], real, folders, seed=seed)
    parts = real + made
    labels, held = _labels(parts, task), _labels([(samples, samples.positions(ids["val"]))], task)
    if cfg["train"]["class_weights"] and task.categories:
        labels = Labels(labels.truth, balanced(labels.truth, labels.weight), labels.ids)
    if len(labels.ids) < cfg["train"]["batch_size"]:
        raise PersonError(
            f"train.batch_size {cfg['train']['batch_size']} is larger than the train split of {len(labels.ids)} samples: "
            f"set  train.batch_size={len(labels.ids)}  or less"
        )
    if cached:
        features_ND = read_features(folders["embed"], ids["train"])
        standardise: Any = model.fit_head
        standardise(torch.from_numpy(features_ND))
        blocks = [read_features(folders["synthesize"], [synthetic.ids[place] for place in places]) for synthetic, places in made]
        features_ND = np.concatenate([features_ND, *blocks])
        validation_ND = read_features(folders["embed"], ids["val"])
        return Material(FeatureInputs(features_ND, labels), FeatureInputs(validation_ND, held), cached=True)
    policy = None if is_off(cfg["transform"]) else build(cfg["transform"])
    validation = PixelInputs([(samples, samples.positions(ids["val"]))], held, policy=None, seed=seed)
    return Material(PixelInputs(parts, labels, policy=policy, seed=seed), validation, cached=False)


def _made(recipe: Mapping[str, Any], real: Parts, folders: Mapping[str, Path], *, seed: int) -> Parts:
    """Augmented samples where the recipe wants them, and synthetic ones up to the share that it allows."""
    parts: Parts = []
    if recipe["augmented"]:
        augmented = open_samples(folders["augment"])
        parts.append((augmented, np.arange(len(augmented))))
    return parts + _synthetic(recipe, real + parts, folders, seed=seed)


def _synthetic(recipe: Mapping[str, Any], others: Parts, folders: Mapping[str, Path], *, seed: int) -> Parts:
    """Synthetic samples up to the share that the recipe names, or that the gates of synthesize allow."""
    share = recipe["synthetic_share"]
    if share == "gate":
        share = read_json(folders["synthesize"] / "gates.json")["share"]
    if not share:
        return []
    synthetic = open_samples(folders["synthesize"])
    if len(synthetic) == 0:
        raise PersonError("train.synthetic_share is above zero, but synthesize published no sample: set  generator=gan")
    count = sum(len(positions) for _, positions in others)
    wanted = round(count * share / (1 - share)) if share < 1 else len(synthetic)
    return [(synthetic, np.resize(generator(seed, "synthetic").permutation(len(synthetic)), wanted))]


def _labels(parts: Parts, task: Any) -> Labels:
    columns = [{name: column[positions] for name, column in samples.columns.items()} for samples, positions in parts]
    joined = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return Labels(task.truth(joined), joined["weight"].astype(np.float32), [str(identity) for identity in joined["id"]])
