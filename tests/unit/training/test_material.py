"""Which synthetic samples reach a training: what the gates allow, or the share that a person asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.record import Sample
from pipeline.core.store import write_shards
from pipeline.images.decode import sample_id
from pipeline.training.material import gather
from tests import toy

TRUNK = {"name": "toy"}


class Model(torch.nn.Module):
    """A frozen trunk, where `trunk` is given, and a head that is standardised by the real training features."""

    def __init__(self, trunk):
        super().__init__()
        self.seen = None
        if trunk is not None:
            self.trunk = lambda: trunk

    def fit_head(self, features_ND):
        self.seen = features_ND


def images(count, seed, origin):
    rng = np.random.default_rng(seed)
    made = [rng.integers(0, 256, (8, 8, 1), dtype=np.uint8) for _ in range(count)]
    return [
        Sample(id=sample_id(image), pixels_HWC=image, label=number % 2, order=number, origin=origin)
        for number, image in enumerate(made)
    ]


def features(folder, samples, value):
    np.save(folder / "features.npy", np.full((len(samples), 3), value, np.float32))
    (folder / "ids.txt").write_text("".join(f"{sample.id}\n" for sample in samples))


@pytest.fixture
def folders(tmp_path):
    found = {name: tmp_path / name for name in ("ingest", "embed", "split", "augment", "synthesize")}
    for folder in found.values():
        folder.mkdir()
    real, made = images(40, 0, "real"), images(10, 1, "synthetic")
    write_shards(found["ingest"], real)
    write_shards(found["augment"], [])
    write_shards(found["synthesize"], made)
    features(found["embed"], real, 1.0)
    features(found["synthesize"], made, 7.0)
    write_json(found["embed"] / "embedder.json", {"name": "toy", "trunk": TRUNK})
    ids = [sample.id for sample in real]
    write_json(found["split"] / "split.json", {"train": ids[:30], "val": ids[30:35], "test": ids[35:]})
    write_json(found["synthesize"] / "gates.json", {"share": 0.0, "why": "none"})
    return found


def gathered(folders, *, share, trunk=None):
    recipe = {**toy.option("train", "default"), "synthetic_share": share, "batch_size": 4}
    task = build(toy.option("task", "classification"), card={"classes": ["a", "b"]})
    model = Model(trunk)
    return gather({"train": recipe, "transform": None, "seed": 0}, model, task, folders), model


def test_the_default_asks_the_gate():
    assert toy.option("train", "default")["synthetic_share"] == "gate"


@pytest.mark.parametrize("trunk", [None, TRUNK])
@pytest.mark.parametrize(("share", "gate", "count"), [
    ("gate", 0.0, 30), ("gate", 0.25, 40), ("gate", 0.5, 60), (0.0, 0.5, 30), (0.25, 0.0, 40), (1, 0.0, 40),
])  # fmt: skip
def test_the_share_is_the_gates_or_the_persons(folders, trunk, share, gate, count):
    write_json(folders["synthesize"] / "gates.json", {"share": gate, "why": ""})
    material, _ = gathered(folders, share=share, trunk=trunk)
    assert len(material.inputs) == count
    assert len(material.inputs.labels.ids) == count
    assert len(material.validation) == 5
    assert material.cached is (trunk is not None)


def test_features_of_synthetic_samples_follow_the_real_ones_and_do_not_touch_the_standardisation(folders):
    material, model = gathered(folders, share=0.25, trunk=TRUNK)
    assert material.inputs.features_ND[:30].max() == 1.0
    assert material.inputs.features_ND[30:].min() == 7.0
    assert model.seen.shape == (30, 3)
    assert material.inputs.labels.truth.tolist()[30:] != []


def test_a_share_without_samples_is_an_error(folders, tmp_path):
    folders = {**folders, "synthesize": tmp_path / "empty"}
    write_shards(folders["synthesize"], [])
    with pytest.raises(PersonError, match="synthesize published no sample"):
        gathered(folders, share=0.5)


def test_a_synthetic_sample_in_validation_stops_the_training(folders, tmp_path):
    """Planted fault: ingest holds a sample of a generator, and the split put it into validation."""
    made = images(40, 0, "real")
    ids = read_json(folders["split"] / "split.json")
    wrong = [replace(sample, origin="synthetic" if sample.id == ids["val"][0] else "real") for sample in made]
    folders = {**folders, "ingest": tmp_path / "other"}
    write_shards(folders["ingest"], wrong)
    with pytest.raises(AssertionError, match="1 samples of val are not real"):
        gathered(folders, share=0.0)
