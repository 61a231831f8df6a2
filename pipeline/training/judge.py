"""One verdict from all gates on synthetic samples: what is kept of them, and the share that training takes.

S synthetic images, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.contracts import Card
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.core.record import Pixels, Sample
from pipeline.core.store import Samples
from pipeline.synthesis.conditions import Chosen
from pipeline.synthesis.memorisation import Memory, nearest_places
from pipeline.synthesis.usefulness import Arm, Verdict
from pipeline.training.gates import CONTROL, Lens, memorised, quality, usefulness

CLOSEST = 6  # samples that are shown beside their nearest training image


@dataclass(frozen=True)
class Real:
    """The real samples that gates look at; those of the test split are not among them.

    Attributes:
        samples: of ingest.
        train: ids.
        held: ids of validation.
        card: of the data.
        embed: folder of their features.
        augment: folder of augmented samples.
    """

    samples: Samples
    train: list[str]
    held: list[str]
    card: Card
    embed: Path
    augment: Path


@dataclass(frozen=True)
class Judged:
    """What the gates left.

    Attributes:
        kept: samples that are no copies.
        x_SD: their features, (0, 0) where the run has no embedder.
        gates: of `gates.json`.
        arms: of the gate of usefulness.
        closest: synthetic sample, id of the nearest training image, ratio of distances; closest first.
    """

    kept: list[Sample]
    x_SD: NDArray[np.float32]
    gates: dict[str, Any]
    arms: list[Arm] = field(default_factory=list)
    closest: list[tuple[Sample, str, float]] = field(default_factory=list)


def judge(cfg: Mapping[str, Any], made: list[Sample], real: Real, *, chosen: Chosen, exact: int) -> Judged:
    """Hold samples to every gate.

    Args:
        cfg: of the stage.
        made: samples of the generator, none of them a real image.
        real: what they are compared with.
        chosen: conditions of the train split.
        exact: samples already left out as real images; they count as copies.
    """
    most = cfg["synthesize"]["max_copies"]
    if not made:
        share = 1.0 if exact else 0.0
        memory = {"passed": share <= most, "copies": exact, "share": share, "limit": most, "median_ratio": {},
                  "nearer_to_train": {}, "expected": 0.0, "chance": {}}  # fmt: skip
        why = "every sample was a real image" if exact else "no sample was drawn"
        gates = {"share": 0.0, "why": why, "quality": {"passed": False, "why": why}, "memorisation": memory, "usefulness": {}}
        return Judged([], np.zeros((0, 0), np.float32), gates)
    train, held = real.samples.only(real.train), real.samples.only(real.held)
    card = real.card
    lens = Lens(cfg, real.embed, side=min(cfg["synthesize"]["gate_side"], card["height"], card["width"]))
    seen, validation, synthetic = lens.real(train, real.train), lens.real(held, real.held), lens.new(made)
    memory_of = memorised(seen, validation, synthetic, copy_ratio=cfg["synthesize"]["copy_ratio"])
    kept = np.flatnonzero(~memory_of.copy_S)
    views = (seen, validation, synthetic.take(kept))
    order = generator(cfg["seed"], "noise").permutation(len(real.train))[: min(CONTROL, len(validation))]
    noise_ND = lens.noise(train, [real.train[number] for number in order], seed=cfg["seed"])
    kinds = (_kinds(chosen, train, real.train), np.asarray([chosen.of(made[place]) for place in kept], np.int64))
    alike = quality(views, noise_ND, kinds, embedding=lens.name, cfg=cfg)
    task = build(cfg["task"], card=card)
    verdict = usefulness(views, lens.stored(real.augment), task=task, cfg=cfg)
    memory = memory_facts(memory_of, most=most, exact=exact)
    useful = {**verdict.facts(), "headline": task.headline, "steps": cfg["synthesize"]["gate_steps"]}
    x_SD = views[2].x_ND if synthetic.embedded else np.zeros((0, 0), np.float32)
    closest = _closest(made, memory_of, (synthetic.small, seen.small), real.train)
    share, why = conclude(verdict, alike, memory)
    gates = {"share": share, "why": why, "quality": alike, "memorisation": memory, "usefulness": useful}
    return Judged([made[place] for place in kept], x_SD, gates, verdict.arms, closest)


def memory_facts(memory: Memory, *, most: float, exact: int) -> dict[str, Any]:
    """The gate of memorisation as plain JSON; `exact` more copies were left out before."""
    count = len(memory.copy_S) + exact
    share = (memory.copies + exact) / count if count else 0.0
    return {
        "passed": share <= most, "copies": memory.copies + exact, "share": share, "limit": most,
        "median_ratio": {space: float(np.median(ratio)) for space, ratio in memory.ratio.items() if np.isfinite(ratio).all()},
        "nearer_to_train": memory.nearer, "expected": memory.expected, "chance": memory.chance,
    }  # fmt: skip


def conclude(verdict: Verdict, alike: Mapping[str, Any], memory: Mapping[str, Any]) -> tuple[float, str]:
    """The share for training and why: all three gates must pass."""
    if not memory["passed"]:
        return 0.0, (
            f"{100 * memory['share']:.0f} % of the samples are copies of real images (at most {100 * memory['limit']:g} %), so "
            "the generator repeats what it was trained on"
        )
    if not alike["passed"]:
        return 0.0, f"the samples are of too low quality: {alike['why']}"
    return verdict.share, verdict.why


def _kinds(chosen: Chosen, train: Samples, ids: list[str]) -> NDArray[np.int64]:
    """Condition of each training sample, -1 for none."""
    known = dict(zip(chosen.positions.tolist(), chosen.condition.tolist(), strict=True))
    return np.asarray([known.get(int(place), -1) for place in train.positions(ids)], np.int64)


def _closest(
    made: list[Sample], memory: Memory, small: tuple[Pixels, Pixels], ids: list[str]
) -> list[tuple[Sample, str, float]]:  # fmt: skip
    ratio_S = memory.ratio["pixels"]
    order = np.argsort(ratio_S, kind="stable")[:CLOSEST]
    places = nearest_places(small[0][order], small[1])
    return [(made[s], ids[n], float(ratio_S[s])) for s, n in zip(order, places, strict=True)]
