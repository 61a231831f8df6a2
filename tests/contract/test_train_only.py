"""Who sees what: only the train split reaches what is fitted, and only the stages that dvc.yaml marks open the test split.

Each stage after the split runs on toy artifacts twice over. First every image that it reads from ingest's shards is written
down. Then it runs again on data whose test samples are others (pixels, features,
labels and targets), and what it publishes must be the same bytes; this also sees what is read past our store.
"""

import ast
import dataclasses
import inspect
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from pipeline.core import store
from pipeline.core.artifact import read_json, sha256, write_json
from pipeline.core.config import compose
from pipeline.core.dag import read_stages
from pipeline.core.ledger import opens_test
from pipeline.core.store import open_samples, write_shards
from pipeline.stages import (
    augment,
    baseline,
    calibrate,
    certify,
    compress,
    evaluate,
    explain,
    export,
    ood,
    robustness,
    ship,
    split,
    synthesize,
    train,
)
from tests import toy

ROOT = Path(__file__).resolve().parents[2]
STAGES = read_stages(ROOT)
MODULES = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (
        *(split, augment, synthesize, baseline, train, calibrate, evaluate, explain),
        *(robustness, ood, compress, export, ship, certify),
    )
}
READS = {  # stage -> splits of which it may read images
    "split": {"train"},
    "augment": {"train"},
    "synthesize": {"train", "val"},  # val: its gates of quality, memorisation and usefulness
    "baseline": set(),  # features alone
    "train": {"train", "val"},  # val: when to stop, and what is shown while training
    "calibrate": {"val"},
    "evaluate": {"test"},
    "explain": {"train", "test"},  # train: the planted cue, and neighbours
    "robustness": {"test"},
    "ood": {"train", "val", "test"},  # fitted on train; val: its thresholds and the choice
    "compress": {"val", "test"},  # val: calibration; test: its report; train with a shrinker (tests/stages/test_shrunk.py)
    "export": {"test"},  # parity
    "ship": {"test"},  # parity
    "certify": {"test"},
}
OPENS = {"baseline", "evaluate", "explain", "robustness", "ood", "compress", "export", "ship", "certify"}
MEASURED = {"timings.json"}  # measured times are never equal
OVERRIDES = (
    "model=resnet_small", "logger=none", "transform=light", "splitter=stratified", "baseline=[majority,linear]", "attack=[fgsm]",
    "train.max_steps=4", "train.batch_size=32", "train.validate_every=2", "train.checkpoint_every=2", "train.log_every=2",
    "train.augmented=true", "train.synthetic_share=0.1", "generator.max_steps=4", "generator.resolution=16", "generator.width=4",
    "synthesize.count=12", "synthesize.sheet=4", "synthesize.gate_steps=2", "synthesize.gate_seeds=6",
    "synthesize.gate_resamples=10", "synthesize.shares=[0.5]", "intervals.resamples=20", "explain.count=2", "explain.candidates=8",
    "explain.cues=2", "explain.probes=8", "explain.ascent_steps=2", "explain.steps=2", "explain.prototypes=12", "explain.controls=1",
    "robustness.corruptions=[brightness]", "robustness.severities=[2]", "robustness.count=12", "robustness.attacked=4",
    "detector=[energy,knn]", "ood.sets=[noise,inverted]", "ood.others=8",
    "certify.count=3", "certify.radii=[0.001]", "certify.steps=2",
    "compress.calibration=8", "export.parity_samples=16", "export.timing_repeats=1",
    "target=[onnx]", "ship.samples=16", "ship.repeats=1",
)  # fmt: skip


@dataclass
class World:
    """Toy artifacts: what every stage reads, by the keyword that it is handed them by; and what each stage made of them, and read.

    Attributes:
        sides: sample id -> split.
        once: stage -> what it published, and the ids whose images it read.
    """

    folder: Path
    cfg: dict
    inputs: dict[str, Path]
    sides: dict[str, str] = field(default_factory=dict)
    once: dict[str, tuple[Path, set[str]]] = field(default_factory=dict)

    def run(self, name: str, out: Path, module=None) -> Path:
        """Run one stage with what dvc.yaml declares for it."""
        out.mkdir(parents=True)
        keys = {key for key in STAGES[name].keys if not key.startswith("code.")}
        inputs = {keyword: self.inputs[keyword] for keyword in STAGES[name].inputs}
        run = (module or MODULES[name]).run
        if "scratch" in run.__code__.co_varnames[: run.__code__.co_argcount + run.__code__.co_kwonlyargcount]:
            inputs["scratch"] = out.parent / f"{out.name}-scratch" / "0123456789abcdef"
            inputs["scratch"].mkdir(parents=True)
        run({key: self.cfg[key] for key in keys}, out, **inputs)
        return out

    def plain(self, name: str) -> tuple[Path, set[str]]:
        """What a stage publishes and which images it reads, on the data as it is; it runs once."""
        if name not in self.once:
            with traced(self.inputs["ingest"]) as ids:
                self.once[name] = (self.run(name, self.folder / "once" / name), ids)
        return self.once[name]

    def sides_read(self, ids: set[str]) -> set[str]:
        """Splits of these samples."""
        return {self.sides[identity] for identity in ids}


# Methods of Samples that read images or masks from files (all others call these), and the positions that their arguments name.
READERS = {"pixels": np.atleast_1d, "batch": np.atleast_1d, "mask_bytes": np.atleast_1d, "copy": lambda first, last, _: range(first, last)}


@contextmanager
def traced(ingest: Path) -> Iterator[set[str]]:
    """A set of ids that grows when an image or a mask is read from ingest."""
    found: set[str] = set()

    def tracing(reader, positions):
        def method(self, *arguments):
            if self.directory == ingest:
                found.update(self.ids[int(position)] for position in positions(*arguments))
            return reader(self, *arguments)

        return method

    with ExitStack() as stack:
        for name, positions in READERS.items():
            stack.enter_context(patch.object(store.Samples, name, tracing(getattr(store.Samples, name), positions)))
        yield found


def publish(folder: Path, samples, card) -> dict[str, Path]:
    """What ingest and embed publish of these samples."""
    for name in ("ingest", "embed"):
        (folder / name).mkdir(parents=True)
    write_shards(folder / "ingest", samples)
    write_json(folder / "ingest/card.json", card)
    write_json(folder / "ingest/overlaps.json", [])
    np.save(folder / "embed/features.npy", np.stack([s.pixels_HWC.ravel() for s in samples]).astype(np.float32) / 255)
    (folder / "embed/ids.txt").write_text("".join(f"{s.id}\n" for s in samples), encoding="utf-8")
    write_json(folder / "embed/embedder.json", {"name": "pixels"})
    return {"ingest": folder / "ingest", "embed": folder / "embed"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every stage run once, on data as it is."""
    folder = tmp_path_factory.mktemp("world")
    samples = toy.samples(200, 2)
    card = {"name": "toy", "classes": ["bar", "disc"], "samples": len(samples), "height": 16, "width": 16, "channels": 1,
            "target": {"name": "brightness", "unit": "", "low": 0.0, "high": 1.0}, "groups": 25,
            "counts": {}, "source": "", "license": "", "citation": "", "digest": "0" * 64}  # fmt: skip
    inputs = publish(folder / "data", samples, card)
    (folder / "quality").mkdir()
    write_json(folder / "quality/clusters.json", {})
    inputs["quality"] = folder / "quality"
    made = World(folder, compose(ROOT / "conf", experiment="digits", overrides=OVERRIDES), inputs)
    for name in ("split", "augment", "synthesize", "baseline", "train", "calibrate", "ood", "robustness", "compress", "export"):
        inputs[name], _ = made.plain(name)
    made.sides = {identity: side for side, ids in read_json(inputs["split"] / "split.json").items() for identity in ids}
    return made


@pytest.fixture(scope="module")
def others(world):
    """The same, with other test samples under the same ids: with other labels too, and for split, which reads those, without."""
    samples = list(open_samples(world.inputs["ingest"]))
    card = read_json(world.inputs["ingest"] / "card.json")

    def altered(name, **facts):
        made = [
            dataclasses.replace(s, pixels_HWC=255 - s.pixels_HWC, **{key: change(s) for key, change in facts.items()})
            if world.sides[s.id] == "test" else s for s in samples
        ]  # fmt: skip
        return World(world.folder, world.cfg, {**world.inputs, **publish(world.folder / name, made, card)})

    relabelled = altered("relabelled", label=lambda s: 1 - s.label, target=lambda s: 1 - s.target, weight=lambda s: 0.25)
    return {"split": altered("repainted"), "relabelled": relabelled}


def published(folder):
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in MEASURED}  # fmt: skip


def check_reads(name, found):
    assert found <= READS[name], f"{name} reads images of {sorted(found - READS[name])}"


def check_same(name, plain, changed):
    """What the stage publishes must not depend on the test samples, unless dvc.yaml says that it opens them."""
    plain, changed = published(plain), published(changed)
    assert set(plain) == set(changed)
    differ = sorted(file for file in plain if plain[file] != changed[file])
    assert bool(differ) == opens_test(STAGES[name]), f"{name}, test samples exchanged: {differ} differ"


def test_dvc_yaml_marks_the_stages_that_open_the_test_split():
    assert {name for name, stage in STAGES.items() if opens_test(stage)} == OPENS
    after = {name for name, stage in STAGES.items() if name == "split" or "split" in stage.inputs}
    assert after - {"assure", "report"} == set(MODULES) == set(READS), "those two read what others published; every other is tested here"


def test_every_method_that_reads_a_file_is_traced():
    methods = ast.parse(inspect.getsource(store.Samples)).body[0].body
    reading = {method.name for method in methods if isinstance(method, ast.FunctionDef)
               and any(isinstance(node, ast.Attribute) and node.attr == "files" for node in ast.walk(method))}  # fmt: skip
    assert reading == set(READERS)


@pytest.mark.parametrize("name", MODULES)
def test_a_stage_reads_images_of_its_own_splits_alone(name, world):
    _, ids = world.plain(name)
    check_reads(name, world.sides_read(ids))
    assert world.sides_read(ids) == READS[name], "it reads less than it is granted: grant less"


@pytest.mark.parametrize("name", MODULES)
def test_what_does_not_open_the_test_split_does_not_depend_on_it(name, world, others, tmp_path):
    plain, _ = world.plain(name)
    check_same(name, plain, others["split" if name == "split" else "relabelled"].run(name, tmp_path / name))


class Planted:
    """The stage augment with the option none, which also looks at one test sample, and at one training sample."""

    def __init__(self, world, look):
        self.test = next(identity for identity, side in world.sides.items() if side == "test")
        self.look = look

    def run(self, cfg, out, *, ingest, embed, split):
        said = augment.run({**cfg, "transform": {"_target_": None}}, out, ingest=ingest, embed=embed, split=split)
        write_json(out / "planted.json", self.look(self.test, ingest, embed, split))
        return said


def by_pixels(identity, ingest, embed, split):
    samples = open_samples(ingest)
    train = json.loads((split / "split.json").read_text())["train"]
    return [int(samples.pixels(samples.index[one]).sum()) for one in (train[0], identity)]


def by_batch(identity, ingest, embed, split):
    samples = open_samples(ingest)
    return int(samples.batch([0, samples.index[identity]]).sum())


def by_features(identity, ingest, embed, split):
    row = (embed / "ids.txt").read_text().split().index(identity)
    return float(np.load(embed / "features.npy")[row].sum())


def by_label(identity, ingest, embed, split):
    samples = open_samples(ingest)
    return int(samples.columns["label"][samples.index[identity]])


def by_guarded_samples(identity, ingest, embed, split):
    samples = open_samples(ingest).only(json.loads((split / "split.json").read_text())["train"])
    return int(samples.pixels(samples.index[identity]).sum())


@pytest.mark.parametrize("look", [by_pixels, by_batch])
def test_a_planted_look_at_one_test_image_is_traced(look, world, tmp_path):
    with traced(world.inputs["ingest"]) as ids:
        world.run("augment", tmp_path / "out", Planted(world, look))
    with pytest.raises(AssertionError, match=r"augment reads images of \['test'\]"):
        check_reads("augment", world.sides_read(ids))


@pytest.mark.parametrize("look", [by_pixels, by_batch, by_features, by_label])
def test_a_planted_look_at_one_test_sample_changes_what_is_published(look, world, others, tmp_path):
    both = [each.run("augment", tmp_path / kind / "augment", Planted(world, look))
            for kind, each in (("plain", world), ("changed", others["relabelled"]))]  # fmt: skip
    with pytest.raises(AssertionError, match=r"test samples exchanged: .*planted\.json"):
        check_same("augment", *both)


def test_samples_that_are_held_to_train_refuse_a_test_image(world, tmp_path):
    with pytest.raises(AssertionError):
        world.run("augment", tmp_path / "out", Planted(world, by_guarded_samples))


@pytest.mark.parametrize("guarded", [split, augment, synthesize], ids=lambda module: module.__name__.rsplit(".", 1)[1])
def test_stages_that_fit_hold_their_samples_to_train(guarded, world, tmp_path, monkeypatch):
    """Without any sample allowed, each of them fails at once: so they do read through `only`."""
    only = store.Samples.only
    monkeypatch.setattr(store.Samples, "only", lambda self, ids: only(self, []))
    with pytest.raises(AssertionError):
        world.run(guarded.__name__.rsplit(".", 1)[1], tmp_path / "out")
