"""The gates that synthetic samples must pass before training may take them: quality, memorisation, usefulness.

N training samples, M validation samples, S synthetic samples, D features, H height, W width, C channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json
from pipeline.core.contracts import Embedder
from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.parts import build
from pipeline.core.record import Floats, Pixels, Sample
from pipeline.core.store import Samples, open_samples
from pipeline.images.resize import small
from pipeline.synthesis.likeness import NEIGHBOURS, Scale, likeness, position, spread, variety
from pipeline.synthesis.memorisation import Memory, feature_distance, pixel_distance, remember
from pipeline.synthesis.usefulness import REAL, Arm, Held, Verdict, corrected, decide, measure
from pipeline.training.inputs import balanced, read_features
from pipeline.training.trial import Pool, Recipe, predict

WIDEST = 8192  # features; a wider embedding is the pixels themselves, and small images stand for it
COMPARED = 512  # most samples of a set whose likeness is measured
CONTROL = 128  # most images of noise; an embedder may need 30 ms for each
CLASSICAL = "real + classical"
MANIFOLD = ("precision", "recall")  # limited to a share of what training samples reach

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class View:
    """Samples as the gates see them.

    Attributes:
        small: uint8 (N, side, side, C).
        x_ND: in the embedding; small images as vectors where there is none.
        columns: of the samples.
        embedded: whether there is an embedding.
    """

    small: Pixels
    x_ND: Floats
    columns: Columns
    embedded: bool

    def __len__(self) -> int:
        return len(self.x_ND)

    def take(self, places: NDArray[Any]) -> "View":
        """Some of them."""
        columns = {name: column[places] for name, column in self.columns.items()}
        return View(self.small[places], self.x_ND[places], columns, self.embedded)


class Lens:
    """Looks at samples through the run's embedder, or at small images where there is none.

    Args:
        cfg: `embedder` and `embed`.
        embed: features of every real sample.
        side: of the small images, pixels.
    """

    def __init__(self, cfg: Mapping[str, Any], embed: Path, *, side: int) -> None:
        width = np.load(embed / "features.npy", mmap_mode="r").shape[1]
        self.embed, self.side, self.batch_size = embed, side, int(cfg["embed"]["batch_size"])
        self.embedder: Embedder | None = build(cfg["embedder"]) if 0 < width <= WIDEST else None
        name = read_json(embed / "embedder.json")["name"]
        self.name = f"{width:,} features of {name}" if self.embedder else f"pixels of images of {side} x {side}"

    def real(self, samples: Samples, ids: Sequence[str]) -> View:
        """Stored real samples; `samples` refuses the pixels of every other one."""
        positions = samples.positions(ids)
        images = small((samples.pixels(int(place)) for place in positions), self.side)
        features_ND = _vectors(images) if self.embedder is None else read_features(self.embed, ids)
        return self._view(images, features_ND, {name: column[positions] for name, column in samples.columns.items()})

    def stored(self, folder: Path) -> View | None:
        """Samples of another artifact with its own `features.npy`; None where it has none that serve."""
        samples = open_samples(folder)
        path = folder / "ids.txt"
        known = set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()
        if not len(samples) or (self.embedder is not None and not known.issuperset(samples.ids)):
            return None
        images = small((samples.pixels(place) for place in range(len(samples))), self.side)
        features_ND = _vectors(images) if self.embedder is None else read_features(folder, samples.ids)
        return self._view(images, features_ND, samples.columns)

    def new(self, samples: Sequence[Sample]) -> View:
        """Samples that no artifact holds yet."""
        images_HWC = [sample.pixels_HWC for sample in samples]
        kinds: dict[str, Any] = {"label": np.int64, "target": np.float32, "weight": np.float32}
        columns = {name: np.asarray([getattr(sample, name) for sample in samples], kind) for name, kind in kinds.items()}
        return self._view(small(images_HWC, self.side), self.features(images_HWC), columns)

    def noise(self, samples: Samples, ids: Sequence[str], *, seed: int) -> Floats:
        """Embedding of real images whose pixels were shuffled: what has the grey levels of the data and nothing else of it."""
        shuffled = []
        for identity in ids:
            pixels_HWC = samples.pixels(samples.index[identity])
            order = generator(seed, "shuffled", identity).permutation(pixels_HWC.shape[0] * pixels_HWC.shape[1])
            shuffled.append(pixels_HWC.reshape(len(order), -1)[order].reshape(pixels_HWC.shape))
        return self.features(shuffled)

    def features(self, images_HWC: Sequence[Pixels]) -> Floats:
        """Embedding of images of the data's size."""
        if self.embedder is None:
            return _vectors(small(images_HWC, self.side))
        size = self.batch_size
        blocks = [self.embedder.features(np.stack(images_HWC[start : start + size])) for start in range(0, len(images_HWC), size)]
        return np.concatenate(blocks)

    def _view(self, images: Pixels, x_ND: Floats, columns: Columns) -> View:
        return View(images, x_ND, columns, self.embedder is not None)


def memorised(train: View, held: View, made: View, *, copy_ratio: float) -> Memory:
    """Nearest real neighbours of the synthetic samples, by pixels over eight symmetries and in the embedding."""
    scale = Scale.of(train.x_ND)
    near = [
        {
            "pixels": pixel_distance(made.small, view.small),
            "embedding": feature_distance(scale(made.x_ND), scale(view.x_ND)),
        }
        for view in (train, held)
    ]
    return remember(near[0], near[1], sizes=(len(train), len(held)), copy_ratio=copy_ratio)


def quality(
    views: tuple[View, View, View], noise_ND: Floats, kinds: tuple[NDArray[Any], NDArray[Any]], *, embedding: str, cfg: Any
) -> dict[str, Any]:  # fmt: skip
    """The gate of quality: near to real samples, inside their manifold and all over it, and as varied.

    Args:
        views: training, validation and synthetic samples.
        noise_ND: of `Lens.noise`.
        kinds: condition of each training and of each synthetic sample, -1 for none.
        embedding: its name, for people.
        cfg: `synthesize` and `seed`.
    """
    train, held, made = views
    stage = cfg["synthesize"]
    limits: dict[str, float] = {"position": stage["max_position"], "variety": stage["min_variety"]}
    count = min(len(made), len(held), len(train), COMPARED)
    facts = {"embedding": embedding, "samples": count, "limits": limits}
    if min(count, len(noise_ND)) <= NEIGHBOURS:
        return {**facts, "passed": False, "why": "too few samples to measure it"}
    scale = Scale.of(train.x_ND)

    def some(view: View, name: str) -> NDArray[np.float64]:
        return scale(view.x_ND[generator(cfg["seed"], "quality", name).permutation(len(view))[:count]])

    held_MD = some(held, "held")
    measured = {
        "synthetic": likeness(held_MD, some(made, "made")),
        "train": likeness(held_MD, some(train, "train")),
        "noise": likeness(held_MD, scale(noise_ND)),
    }
    limits |= {name: stage[f"min_{name}"] * measured["train"][name] for name in MANIFOLD}
    of = [(scale(view.x_ND)[kind >= 0], kind[kind >= 0]) for view, kind in ((made, kinds[1]), (train, kinds[0]))]
    found = {
        "position": position(measured["synthetic"], measured["train"], measured["noise"]),
        "variety": variety(spread(*of[0]), spread(*of[1])),
        **{name: measured["synthetic"][name] for name in MANIFOLD},
    }
    if not np.isfinite(found["position"]):
        said = "in this embedding real samples cannot be told from noise"
        return {**facts, "passed": False, "why": said, "variety": found["variety"]}
    why = _blind(stage, limits) or _poor(found, limits)
    return {**facts, "passed": not why, "why": why, "measures": measured, **found}


def usefulness(views: tuple[View, View, View], classical: View | None, *, task: Any, cfg: Any) -> Verdict:
    """The gate of usefulness: real alone, with classical augmentation, and with each share of synthetic samples.

    Args:
        views: training, validation and synthetic samples.
        classical: augmented samples, or None.
        task: gives truths, losses and the headline.
        cfg: `synthesize`, `evaluate` and `seed`.
    """
    train, held, made = views
    stage, shares = cfg["synthesize"], cfg["synthesize"]["shares"]
    candidates = {f"{REAL} + synthetic, share {share:g}": float(share) for share in shares} if len(made) else {}
    coverage = corrected(cfg["intervals"]["coverage"], len(candidates))
    try:
        truth_N = task.truth(held.columns)
        pools = {name: _pool(view, train, task) for name, view in (("real", train), ("made", made), ("more", classical)) if view}
    except PersonError as error:
        return Verdict([], 0.0, f"there is no truth for this task: {error}", coverage)
    arms: dict[str, tuple[Pool | None, float]] = {REAL: (None, 0.0)}
    if classical is not None:
        arms[CLASSICAL] = (pools["more"], len(classical) / (len(classical) + len(train)))
    arms |= {name: (pools["made"], share) for name, share in candidates.items()}
    recipe = Recipe(stage["gate_steps"], stage["gate_batch_size"], stage["gate_lr"])
    x_held = _input(held, train)
    groups = Held(truth_N, held.columns["weight"], [str(name) for name in held.columns["group"]])

    def trained(extra: Pool | None, share: float) -> list[NDArray[np.float32]]:
        seeds = [keyed_seed(cfg["seed"], "usefulness", number) for number in range(stage["gate_seeds"])]
        return [predict(pools["real"], x_held, extra=extra, share=share, task=task, recipe=recipe, seed=seed) for seed in seeds]

    def compared(predictions: dict[str, list[NDArray[np.float32]]]) -> list[Arm]:
        seed = keyed_seed(cfg["seed"], "usefulness")
        return measure(predictions, groups, task, resamples=stage["gate_resamples"], coverage=coverage, seed=seed)

    predictions = {name: trained(extra, share) for name, (extra, share) in arms.items()}
    measured = compared(predictions)
    order = generator(cfg["seed"], "usefulness", "control").permutation(len(made))
    controls = {
        arm.name: compared({REAL: trained(pools["made"].shuffled(order), candidates[arm.name]), arm.name: predictions[arm.name]})[
            1
        ]
        for arm in measured
        if arm.name in candidates and arm.low > 0
    }
    return decide(measured, candidates, coverage=cfg["intervals"]["coverage"], headline=task.headline, controls=controls)


def _pool(view: View, train: View, task: Any) -> Pool:
    truth_N = task.truth(view.columns)
    weight_N = np.asarray(view.columns["weight"], np.float32)
    return Pool(_input(view, train), truth_N, balanced(truth_N, weight_N) if task.categories else weight_N)


def _input(view: View, train: View) -> NDArray[Any]:
    """Standardised features for a head; small images for a network where there is no embedding."""
    if not view.embedded:
        return view.small
    return Scale.of(train.x_ND)(view.x_ND).astype(np.float32)


def _blind(stage: Mapping[str, Any], limits: Mapping[str, float]) -> str:
    """Why nothing can be told: a yardstick that is 0 would let everything pass."""
    lost = [name for name in MANIFOLD if stage[f"min_{name}"] > 0 and limits[name] == 0]
    return f"in this embedding even training samples have a {' and a '.join(lost)} of 0 against validation" if lost else ""


def _poor(found: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """What is wrong, "" where nothing is."""
    said = {
        "position": "they lie {:.2f} of the way from real samples to noise (at most {:.3g})",
        "variety": "in one condition they differ by only {:.2f} of what real ones do (at least {:.3g})",
        "precision": "{:.3f} of them lie among the real ones (at least {:.3f})",
        "recall": "{:.3f} of the real ones lie among them (at least {:.3f})",
    }
    failed = [name for name in said if (found[name] > limits[name] if name == "position" else found[name] < limits[name])]
    return " and ".join(said[name].format(found[name], limits[name]) for name in failed)


def _vectors(small_NHWC: Pixels) -> Floats:
    vectors_ND: Floats = small_NHWC.reshape(len(small_NHWC), -1).astype(np.float32) / np.float32(255)
    return vectors_ND
