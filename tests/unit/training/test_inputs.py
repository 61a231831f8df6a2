"""Batches gathered whole are the batches of single items, bit by bit, for any number of workers."""

import hashlib

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, default_collate

from pipeline.core.parts import build
from pipeline.core.store import open_samples, write_shards
from pipeline.training.inputs import Batches, FeatureInputs, Labels, PixelInputs, batch_of, load, to_tensor, to_tensors
from pipeline.training.stream import BatchStream, StepStream
from tests import toy

LIGHT = toy.PROJECT / "conf/transform/light.yaml"


@pytest.fixture
def stores(tmp_path):
    """Two artifacts of 40 and 12 samples, in several shards."""
    found = []
    for name, count, seed in (("real", 40, 0), ("made", 12, 1)):
        write_shards(tmp_path / name, toy.samples(count, 3, seed=seed, channels=3), shard_size=8)
        found.append(open_samples(tmp_path / name))
    return found


def inputs(stores, *, policy=False, seed=0):
    parts = [(store, np.arange(len(store))[::-1].copy()) for store in stores]
    ids = [store.ids[position] for store, positions in parts for position in positions]
    rng = np.random.default_rng(0)
    labels = Labels(rng.integers(0, 3, len(ids)), rng.random(len(ids)).astype(np.float32), ids)
    return PixelInputs(parts, labels, policy=build(yaml.safe_load(LIGHT.read_text())) if policy else None, seed=seed)


def test_a_batch_becomes_the_floats_of_its_images():
    pixels = np.arange(256, dtype=np.uint8).repeat(6).reshape(2, 16, 16, 3)
    expected = torch.stack([to_tensor(image) for image in pixels])
    found = to_tensors(pixels)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    assert len(found.unique()) == 256


@pytest.mark.parametrize("policy", [False, True])
def test_a_gathered_batch_is_its_items_stacked(stores, policy):
    data = inputs(stores, policy=policy)
    keys = [(3, 1), (3, 45), (3, 0), (4, 1), (4, 51)]
    expected, found = default_collate([data[key] for key in keys]), data.batch(*np.asarray(keys).T)
    assert sorted(found) == sorted(expected) == ["index", "truth", "weight", "x"]
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
        assert found[name].dtype == expected[name].dtype
        assert found[name].stride() == expected[name].stride()
    assert torch.equal(found["x"][0], found["x"][3]) != policy  # the same image in two epochs


def test_every_image_reaches_training_unchanged(stores):
    data = inputs(stores)
    images = batch_of(data, range(len(data)))["x"]
    expected = [store.pixels(position) for store in stores for position in reversed(range(len(store)))]
    for found, pixels in zip(images, expected, strict=True):
        np.testing.assert_array_equal(np.round(found.permute(1, 2, 0).numpy() * 255), pixels)


def features():
    labels = Labels(np.arange(5) % 3, np.linspace(0, 1, 5, dtype=np.float32), list("abcde"))
    return FeatureInputs(np.eye(5, dtype=np.float32), labels)


@pytest.mark.parametrize("kind", ["images", "augmented images", "features"])
def test_the_loader_gives_the_batches_of_single_items(stores, kind):
    data = features() if kind == "features" else inputs(stores, policy=kind == "augmented images")
    stream = StepStream(len(data), batch_size=4, max_steps=30, start_step=3, seed=0)
    single, found = list(DataLoader(data, 4, sampler=stream)), list(load(data, stream, workers=0))
    assert len(found) == len(single) == 27
    for one, other in zip(single, found, strict=True):
        assert sorted(one) == sorted(other) == ["index", "truth", "weight", "x"]
        for name in one:
            assert torch.equal(one[name], other[name]), name
            assert (one[name].dtype, one[name].stride()) == (other[name].dtype, other[name].stride())


def test_a_batch_may_be_written_without_touching_the_data():
    data = features()
    batch_of(data, [1, 2])["x"].zero_()
    assert torch.equal(batch_of(data, [1, 2])["x"], torch.eye(5)[1:3])


def hashes(stores, *, workers, persistent=False):
    """Of every batch of two passes over a stream of ten steps, more than two epochs each."""
    data = inputs(stores, policy=True)
    stream = StepStream(len(data), batch_size=12, max_steps=10, seed=0)
    loader = load(data, stream, workers=workers)
    if persistent:
        loader = DataLoader(Batches(data), None, sampler=BatchStream(stream), num_workers=workers, persistent_workers=True)
    return [
        hashlib.sha256(batch["x"].numpy().tobytes() + batch["index"].numpy().tobytes()).hexdigest()
        for _ in range(2)
        for batch in loader
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_batches_are_the_same_for_any_number_of_workers_persistent_or_not(stores):
    reference = hashes(stores, workers=0)
    assert len(set(reference)) == 10
    for workers, persistent in ((1, False), (2, False), (2, True), (4, False)):
        assert hashes(stores, workers=workers, persistent=persistent) == reference, (workers, persistent)


def test_the_order_is_a_function_of_seed_and_epoch():
    whole = list(StepStream(10, batch_size=5, max_steps=6, seed=3))
    by_epoch = {epoch: [index for e, index in whole if e == epoch] for epoch in range(3)}
    for epoch, indices in by_epoch.items():
        late = StepStream(10, batch_size=5, max_steps=6, start_step=2 * epoch, seed=3)
        assert [index for e, index in late if e == epoch] == indices
        assert sorted(indices) == list(range(10))
    assert len({tuple(indices) for indices in by_epoch.values()}) == 3
    assert list(StepStream(10, batch_size=5, max_steps=6, seed=4)) != whole
