"""How much each layer of a trained network tells, at the end of training or before: simple classifiers on its pooled features.

Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes" (arXiv 1610.01644). Differs in:
mean and maximum are pooled, and an SVM and the nearest neighbours stand beside the linear probe. Fitted on the train split,
measured on validation; the test split is never opened.

N samples, D features, K columns of a decoded prediction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from pipeline.core.artifact import digest, read_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build
from pipeline.core.progress import track
from pipeline.core.record import Floats
from pipeline.training.checkpoint import NAME, is_whole
from pipeline.training.construction import construct
from pipeline.training.layers import pooled, tapped
from pipeline.training.predict import BATCH, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.snapshots import FOLDER, kept
from pipeline.training.subset import Subset, read_subset

RESAMPLES = 200  # behind each interval
COVERAGE = 0.95
Entry = dict[str, float]


@dataclass(frozen=True)
class Opened:
    """A trained network, and the samples it is probed with.

    Attributes:
        model: in evaluation mode.
        task: of the data.
        train: samples of the train split, at most the limit.
        held: samples of the validation split.
        name: which weights, for people.
    """

    model: nn.Module
    task: Any
    train: Subset
    held: Subset
    name: str


def open_probe(root: Path, *, step: int | None, limit: int) -> Opened:
    """Open what training left: its final weights, or those of one step.

    Args:
        root: of the project.
        step: of a snapshot (`train.snapshots`) in data/train, or of a checkpoint or snapshot of a killed or running training;
            None for the final weights.
        limit: training samples at most, spread over the truth.

    Raises:
        PersonError: nothing was trained, it was trained on another split than the one that is there, or no weights of this step
            were kept.
    """
    ingest, split, train = (root / "data" / name for name in ("ingest", "split", "train"))
    if not (ingest / "card.json").is_file() or not (split / "split.json").is_file():
        raise PersonError(f"there is no data in {root / 'data'}: run  dvc repro train  first")
    model, name = _final(train, ingest, split) if step is None else _at(root, step)
    card = read_json(ingest / "card.json")
    node = read_json(train / "model.json")["task"] if step is None else _composed(root)["task"]
    task = build(node, card=card)
    seen = read_subset(task, ingest, split, ["train"]).spread(limit, "probe")
    return Opened(model.eval(), task, seen, read_subset(task, ingest, split, ["val"]), name)


def features(model: nn.Module, subset: Subset, layers: Sequence[str], *, what: str) -> tuple[dict[str, Floats], Floats]:
    """Pooled features (N, D) of each layer, and the network's raw outputs (N, K).

    Raises:
        PersonError: a layer that no forward pass runs.
    """
    rows: dict[str, list[Floats]] = {layer: [] for layer in layers}
    outputs: list[Floats] = []
    with torch.inference_mode(), tapped(model, layers, lambda output: pooled(output.float())) as seen:
        batches = -(-len(subset) // BATCH)
        for pixels_BHWC in track(subset.batches(BATCH), what=what, total=batches):
            outputs.append(model(to_batch(list(pixels_BHWC))).float().numpy())
            for layer in layers:
                if layer not in seen:
                    raise PersonError(f"--layer {layer}: a forward pass of this network does not run it; see  --list")
                rows[layer].append(seen[layer].numpy())
    return {layer: np.concatenate(found) for layer, found in rows.items()}, np.concatenate(outputs)


def judge(opened: Opened, layers: Sequence[str], probes: Mapping[str, Any]) -> Iterator[tuple[str, int, str, Entry]]:
    """Layer, its features, probe and the validation headline with its interval; first the network itself, whose layer is "".

    Args:
        opened: what is probed.
        layers: names.
        probes: name -> a baseline, fitted on the train split's features.
    """
    task, held = opened.task, opened.held
    seen_ND, _ = features(opened.model, opened.train, layers, what=f"features of train, {opened.name}")
    held_ND, output_NK = features(opened.model, held, layers, what=f"features of validation, {opened.name}")
    decoded_NK = task.decode(torch.from_numpy(output_NK)).numpy()
    yield "", decoded_NK.shape[1], "network", _entry(opened, decoded_NK)
    for layer in layers:
        for name, probe in probes.items():
            predicted_NK = probe.fit_predict(
                seen_ND[layer], opened.train.truth, opened.train.weight, held_ND[layer], categories=task.categories
            )
            yield layer, seen_ND[layer].shape[1], name, _entry(opened, task.bound(predicted_NK))


def _entry(opened: Opened, prediction_NK: NDArray[Any]) -> Entry:
    held, headline = opened.held, opened.task.headline
    found = bootstrap(
        opened.task.metrics, prediction_NK, held.truth, held.weight, held.groups, resamples=RESAMPLES, coverage=COVERAGE, seed=0
    )
    return found.get(headline, {"value": float("nan"), "low": float("nan"), "high": float("nan")})


def _final(train: Path, ingest: Path, split: Path) -> tuple[nn.Module, str]:
    if not (train / "model.json").is_file():
        raise PersonError(f"there is no trained model in {train}: run  dvc repro train , or name a --step of one that runs")
    made_from = read_json(train / "manifest.json")["inputs"]
    for path in (ingest, split):
        if made_from.get(path.name) != digest(path):
            raise PersonError(
                f"the model in {train} was trained on another data/{path.name} than the one that is there, so its validation "
                "samples may have been trained on: run  dvc repro train"
            )
    return load_model(train), "final weights"


def _at(root: Path, step: int) -> tuple[nn.Module, str]:
    """A network with the weights of one step."""
    train, found = root / "data/train", _weights(root)
    if step not in found:
        listed = ", ".join(map(str, sorted(found))) or "none"
        raise PersonError(
            f"--step {step}: no weights of this step were kept (kept: {listed}); train with  train.snapshots=[{step}]"
        )
    path = found[step]
    if train in path.parents:
        model, _ = _final(train, root / "data/ingest", root / "data/split")
    else:
        model = construct(_composed(root), ingest=root / "data/ingest", split=root / "data/split").model
    _load(model, path)
    return model, f"step {step}"


def _weights(root: Path) -> dict[int, Path]:
    """Files with the weights of a step: of the published training, else of the newest one under .run."""
    found: dict[int, Path] = {}
    for folder in sorted((root / ".run/train").glob("*/"), key=lambda path: path.stat().st_mtime):
        for path in sorted(folder.glob("step=*.ckpt")):
            match = NAME.fullmatch(path.name)
            if match and is_whole(path):
                found[int(match.group(1))] = path
        found |= kept(folder / FOLDER)
    return found | kept(root / "data/train" / FOLDER)


def _load(model: nn.Module, path: Path) -> None:
    """Load a snapshot, or what a checkpoint would ship: the moving average where there is one."""
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        held: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        part = "average." if any(name.startswith("average.") for name in held) else "model."
        state = {name.removeprefix(part): tensor for name, tensor in held.items() if name.startswith(part)}
    head = getattr(model, "head", None)
    target = head if isinstance(head, nn.Module) and set(state) == set(head.state_dict()) else model
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise PersonError(
            f"{path.name} holds the weights of another network than the configuration names: run  dvc repro compose , or go back "
            "to the configuration that was trained"
        ) from error


def _composed(root: Path) -> dict[str, Any]:
    path = root / "data/compose/config.yaml"
    if not path.is_file():
        raise PersonError(f"{path} is missing: run  dvc repro compose")
    cfg: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return cfg
