"""Draw synthetic samples from a trained generator or a simulator, and let them earn their place before three gates.

S synthetic images, D features.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import launch, pictures
from pipeline.core.artifact import read_json, sha256, write_json
from pipeline.core.contracts import Card
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.core.record import Sample
from pipeline.core.section import Picture, Section, write_section
from pipeline.core.store import Samples, open_samples, write_shards
from pipeline.images.resize import small
from pipeline.synthesis import pictures as synthetic_pictures
from pipeline.synthesis.conditions import Chosen, choose
from pipeline.synthesis.memorisation import check_held_out, check_synthetic
from pipeline.synthesis.section import Findings, describe
from pipeline.synthesis.stability import findings

if TYPE_CHECKING:
    from torch import nn

    from pipeline.training.judge import Judged

WEIGHTS = "generator.safetensors"
COLUMNS = (
    "loss_discriminator", "loss_generator", "norm_discriminator", "norm_generator", "penalty", "score_real", "score_synthetic",
    "variety",
)  # fmt: skip
BINS = 4  # conditions of a simulator for data without classes


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, augment: Path, scratch: Path) -> str:
    """Draw `synthesize.count` samples, leave out copies, and publish the rest with what the gates say of them.

    Args:
        cfg: `generator`, `synthesize`, `embedder`, `embed`, `task`, `evaluate` and `seed`.
        out: where to write.
        ingest: the samples; the generator sees those of the train split alone, the gates validation too, nobody the test split.
        embed: features of real samples.
        split: which is which.
        augment: augmented samples of the train split, an arm of the gate of usefulness.
        scratch: of the checkpoints of a training.

    Raises:
        PersonError: no class has enough images, a loss is not finite, or there is no validation sample.
        AssertionError: a sample of validation or test is not real.
    """
    if is_off(cfg["generator"]):
        return _none(out)
    if launch.rank() != 0:
        return "rank 0 makes the synthetic samples"
    from pipeline.training.judge import Real, judge

    ids, samples, card = read_json(split / "split.json"), open_samples(ingest), read_json(ingest / "card.json")
    for name in ("val", "test"):
        check_held_out(samples, ids[name], name)
    if not ids["val"]:
        raise PersonError(
            "the gates of synthesize measure on the validation split, which is empty: give it samples, or generator=none"
        )
    train = samples.only(ids["train"])
    part = build(cfg["generator"])
    source = _Simulated(part, cfg) if hasattr(part, "simulate") else _Trained(part, cfg, scratch=scratch)
    drawn = source.draw(out, train, ids["train"], card)
    real = Real(samples, ids["train"], ids["val"], card, embed, augment)
    judged = judge(cfg, drawn.made, real, chosen=drawn.chosen, exact=drawn.exact)
    _publish(out, judged, digest=drawn.digest, taken=set(samples.ids))
    return _section(cfg, out, train, drawn=drawn, judged=judged)


@dataclass(frozen=True)
class Drawn:
    """What came of a generator.

    Attributes:
        chosen: its conditions.
        made: samples, without those whose pixels came twice or are a real sample's.
        digest: of the generator.
        exact: samples left out because they have the pixels of a real one.
        found: words and pictures for the section.
    """

    chosen: Chosen
    made: list[Sample]
    digest: str
    exact: int
    found: Findings


class _Trained:
    """A generator that is trained first."""

    def __init__(self, part: Any, cfg: dict[str, Any], *, scratch: Path) -> None:
        self.part, self.cfg, self.scratch = part, cfg, scratch

    def draw(self, out: Path, train: Samples, ids: list[str], card: Card) -> Drawn:
        """Train, or continue where a killed run stopped; publish the weights and draw."""
        from pipeline.training.gan_module import WATCHED, Images, grids, train_gan
        from pipeline.training.maker import Maker, drawn
        from pipeline.training.watch import write_history

        gan, seed = self.part, self.cfg["seed"]
        chosen = choose(train, train.positions(ids), card["classes"], bins=gan.bins, minimum=gan.minimum)
        real_NHWC = small((train.pixels(int(place)) for place in chosen.positions), gan.resolution)
        network, rows = train_gan(
            gan, Images(real_NHWC, chosen.condition), conditions=len(chosen.names), seed=seed, folder=self.scratch
        )
        write_history(rows, out / "history.csv")
        synthetic_pictures.losses(out / "losses.png", rows)
        shots = synthetic_pictures.grids(out, grids(self.scratch), each=WATCHED)
        maker = Maker(_publish_weights(self.cfg, out, network, chosen=chosen), set(train.ids))
        made = list(maker.marked(drawn(gan, network, chosen, count=self.cfg["synthesize"]["count"], card=card, seed=seed)))
        about = f"a generator trained {gan.max_steps} steps on {len(chosen.positions)} training images"
        shown = [
            Picture("losses.png", "Losses, the discriminator's mean scores, and how much images of one condition differ."),
            *(Picture(file, f"Images of the same noise at step {step}, a row a condition.") for file, step in shots),
        ]
        said = [f"The training of the generator failed in part ({one.kind}): {one.text}." for one in findings(rows)]
        found = Findings(about, _counts(chosen), chosen.left_out, maker.repeated, said, shown)
        return Drawn(chosen, made, maker.digest, maker.real, found)


class _Simulated:
    """A simulator, which needs no training and reads no sample."""

    def __init__(self, part: Any, cfg: dict[str, Any]) -> None:
        self.part, self.cfg = part, cfg

    def draw(self, out: Path, train: Samples, ids: list[str], card: Card) -> Drawn:
        """Draw; the train split only says which conditions to compare with."""
        from pipeline.training.maker import Maker, simulated

        _no_training(out)
        chosen = choose(train, train.positions(ids), card["classes"], bins=BINS, minimum=1)
        write_json(out / "generator.json", {"part": self.cfg["generator"], "conditions": []})
        maker = Maker(sha256(out / "generator.json"), set(train.ids))
        count = self.cfg["synthesize"]["count"]
        made = list(maker.marked(simulated(self.part, count=count, card=card, seed=self.cfg["seed"])))
        found = Findings(f"the simulator {type(self.part).__name__}", _counts(chosen), repeated=maker.repeated)
        return Drawn(chosen, made, maker.digest, maker.real, found)


def _publish(out: Path, judged: "Judged", *, digest: str, taken: set[str]) -> None:
    write_shards(out, judged.kept)
    check_synthetic(open_samples(out), parent=digest, taken=taken)
    np.save(out / "features.npy", judged.x_SD)
    ids = [sample.id for sample in judged.kept] if len(judged.x_SD) else []
    (out / "ids.txt").write_text("".join(f"{identity}\n" for identity in ids), encoding="utf-8")
    write_json(out / "gates.json", judged.gates)


def _publish_weights(cfg: dict[str, Any], out: Path, network: "nn.Module", *, chosen: Chosen) -> str:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, out / WEIGHTS)
    digest = sha256(out / WEIGHTS)
    rows = zip(_counts(chosen), chosen.labels, chosen.targets, strict=True)
    conditions = [
        {"name": name, "label": label, "target": target if np.isfinite(target) else None, "training_images": count}
        for (name, count), label, target in rows
    ]
    facts = {"conditions": len(chosen.names), "channels": chosen.channels}
    write_json(out / "generator.json", {"part": cfg["generator"], "facts": facts, "conditions": conditions, "sha256": digest})
    return digest


def _counts(chosen: Chosen) -> list[tuple[str, int]]:
    counts = np.bincount(chosen.condition, minlength=len(chosen.names)).tolist()
    return list(zip(chosen.names, counts, strict=True))


def _section(cfg: dict[str, Any], out: Path, train: Samples, *, drawn: Drawn, judged: "Judged") -> str:
    synthetic_pictures.sheet(out / "samples.png", train, drawn.chosen, judged.kept, count=cfg["synthesize"]["sheet"])
    pairs = [(sample.pixels_HWC, train.pixels(train.index[near]), ratio) for sample, near, ratio in judged.closest]
    synthetic_pictures.neighbours(out / "neighbours.png", pairs)
    useful = judged.gates["usefulness"]
    coverage = useful.get("interval_coverage", 0.0)
    synthetic_pictures.gains(out / "gains.png", judged.arms, useful.get("headline", ""), coverage=coverage)
    found = replace(drawn.found, arms=judged.arms)
    return write_section(out, describe(found, judged.gates, made=len(judged.kept)))


def _no_training(out: Path) -> None:
    """What a training leaves, empty."""
    from safetensors.numpy import save_file

    save_file({}, out / WEIGHTS)
    (out / "history.csv").write_text(",".join(["step", *COLUMNS]) + "\n", encoding="utf-8")
    pictures.placard("nothing was trained", out / "losses.png")


def _none(out: Path) -> str:
    _no_training(out)
    write_shards(out, [])
    np.save(out / "features.npy", np.zeros((0, 0), np.float32))
    (out / "ids.txt").write_text("", encoding="utf-8")
    write_json(out / "generator.json", {"conditions": []})
    write_json(out / "gates.json", {"share": 0.0, "why": "generator: none", "quality": {}, "memorisation": {}, "usefulness": {}})
    for name in ("samples.png", "gains.png", "neighbours.png"):
        pictures.placard("generator: none", out / name)
    return write_section(out, Section(title="Synthetic samples", summary="no synthetic samples (generator: none)"))
