"""Maps of what the model looks at, on test samples that it gets most right and most wrong, with a control.

The control (Adebayo et al. 2018) compares the maps with those of the same network with shuffled weights: maps that stay the
same do not show what was learnt.

B batch, C channels, H height, W width, K outputs, N samples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.keyed import seed
from pipeline.core.parts import build, is_off
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.training.predict import BATCH, GRADIENT_BATCH, Scored, predict, to_batch
from pipeline.training.sanity import randomised, rank_correlation
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DPI = 110
CONTROLS = 3  # networks with shuffled weights
ALIKE = 0.5  # mean rank correlation with the control from which a reader is warned
SHOWN = 6  # samples on the picture of the control


@dataclass(frozen=True)
class Maps:
    """Maps of the trained network and of the controls.

    Attributes:
        trained: (N, H, W).
        control: of the first control, (N, H, W).
        correlation: of the trained maps with those of each control, (CONTROLS, N).
    """

    trained: NDArray[np.float32]
    control: NDArray[np.float32]
    correlation: NDArray[np.float64]


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Explain `explain.count` test samples; write `maps.npy`, `ids.txt`, `sanity.json`, the pictures and the section."""
    card = read_json(ingest / "card.json")
    if is_off(cfg["explainer"]):
        return _none(out, card)
    task = build(cfg["task"], card=card)
    model = load_model(train).requires_grad_(requires_grad=False)
    drawn = read_subset(task, ingest, split, ["test"])
    test = drawn.spread(int(cfg["explain"]["candidates"]), int(cfg["seed"]), "explain")
    prediction = predict(model, task, test.pixels(), total=len(test), what="predicting")
    rows, right = choose(task.errors(prediction, test.truth), int(cfg["explain"]["count"]))
    chosen, shown = test.take(rows), prediction[rows]
    maps = _maps(build(cfg["explainer"]), model, task, chosen, seed_=int(cfg["seed"]))
    np.save(out / "maps.npy", maps.trained)
    (out / "ids.txt").write_text("".join(f"{identity}\n" for identity in chosen.ids), encoding="utf-8")
    per_sample = [float(value) for value in maps.correlation.mean(axis=0).round(6)]
    write_json(out / "sanity.json", {"spearman": dict(zip(chosen.ids, per_sample, strict=True)), "controls": CONTROLS})
    _draw(chosen, task, shown, maps=maps, out=out)
    return write_section(out, _section(maps, right=right, wrong=len(rows) - right))


def choose(badness_N: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], int]:
    """Rows to explain: half the most right ones, best first, then the most wrong ones, worst first.

    Returns:
        The rows, and how many of them are of the first kind.
    """
    order = np.argsort(badness_N, kind="stable")
    count = min(count, len(order))
    right = count - count // 2
    return np.concatenate([order[:right], order[::-1][: count // 2]]).astype(np.int64), right


def _maps(explainer: Any, model: nn.Module, task: Any, chosen: Subset, *, seed_: int) -> Maps:
    def explained(network: nn.Module) -> NDArray[np.float32]:
        score_of = Scored(network, task)
        parts = [explainer(score_of, to_batch(list(batch))) for batch in chosen.batches(GRADIENT_BATCH)]
        found_NHW: NDArray[np.float32] = torch.cat(parts).numpy().astype(np.float32)
        return found_NHW

    trained = explained(model)
    x_BCHW = to_batch(list(chosen.pixels())[:BATCH])
    others = []
    for number in range(CONTROLS):
        rng = torch.Generator().manual_seed(seed(seed_, "explain", number))
        others.append(explained(randomised(model, x_BCHW, rng)))
    return Maps(trained, others[0], np.stack([rank_correlation(trained, other) for other in others]))


def _draw(chosen: Subset, task: Any, prediction: NDArray[np.float32], *, maps: Maps, out: Path) -> None:
    images: list[NDArray[Any]] = []
    titles: list[str] = []
    for pixels_HWC, map_HW, row, truth in zip(chosen.pixels(), maps.trained, prediction, chosen.truth, strict=True):
        images += [pixels_HWC, overlay(pixels_HWC, map_HW)]
        titles += [f"true: {task.truth_text(truth)}", f"says: {task.text(row)}"]
    pictures.sheet(images, titles, out / "maps.png", columns=6, dpi=DPI)
    images, titles = [], []
    for pixels_HWC, map_HW, other_HW in list(zip(chosen.pixels(), maps.trained, maps.control, strict=True))[:SHOWN]:
        images += [pixels_HWC, overlay(pixels_HWC, map_HW), overlay(pixels_HWC, other_HW)]
        titles += ["image", "trained", "shuffled weights"]
    pictures.sheet(images, titles, out / "sanity.png", columns=6, dpi=DPI)


def overlay(pixels_HWC: NDArray[np.uint8], map_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image in grey under its map in colour, float (H, W, 3); each map is scaled to its own maximum."""
    import matplotlib as mpl

    grey_HW = pixels_HWC.astype(np.float32).mean(axis=2) / 255
    top = float(map_HW.max())
    share_HW = np.clip(map_HW / top, 0, 1) if top > 0 else np.zeros_like(map_HW)
    colour_HWC = np.asarray(mpl.colormaps["inferno"](share_HW))[..., :3]
    weight_HW1 = 0.65 * share_HW[..., None]
    mixed_HWC: NDArray[np.float32] = (grey_HW[..., None] * (1 - weight_HW1) + colour_HWC * weight_HW1).astype(np.float32)
    return mixed_HWC


def _section(maps: Maps, *, right: int, wrong: int) -> Section:
    mean = float(maps.correlation.mean())
    flat = int((maps.trained.reshape(len(maps.trained), -1).std(axis=1) == 0).sum())
    warnings = []
    if mean > ALIKE:
        warnings.append(
            f"The maps hardly depend on what was learnt: rank correlation {mean:.2f} with maps of shuffled weights "
            "(1 = the same). Do not read them as reasons."
        )
    if flat:
        warnings.append(f"{flat} of {len(maps.trained)} maps are empty: nothing at that layer speaks for the score.")
    table = Table(
        caption=f"Control: Spearman's rank correlation with the maps of {CONTROLS} networks with shuffled weights",
        columns=["samples", "mean", "lowest", "highest"],
        rows=[[len(maps.trained), mean, float(maps.correlation.min()), float(maps.correlation.max())]],
    )
    shown = [
        Picture("maps.png", f"What the score depends on: {right} test samples that the model gets most right, then {wrong} "
                            "that it gets most wrong. Bright means more; each map has its own scale."),
        Picture("sanity.png", "The same maps beside those of the network with shuffled weights, which should look different."),
    ]  # fmt: skip
    summary = f"{len(maps.trained)} maps; rank correlation with maps of shuffled weights {mean:.2f} (0 = unlike, 1 = the same)"
    text = ["A map shows where the score would change, not why; it is no proof that the model uses the right evidence."]
    return Section("What the model looks at", summary, text=text, warnings=warnings, tables=[table], pictures=shown)


def _none(out: Path, card: dict[str, Any]) -> str:
    np.save(out / "maps.npy", np.zeros((0, card["height"], card["width"]), dtype=np.float32))
    (out / "ids.txt").write_text("", encoding="utf-8")
    write_json(out / "sanity.json", {"spearman": {}, "controls": 0})
    for name in ("maps.png", "sanity.png"):
        pictures.placard("explainer: none", out / name)
    return write_section(out, Section(title="What the model looks at", summary="no maps (explainer: none)"))
