"""Batches gathered whole are the batches of single items, bit by bit, for any number of workers."""

import hashlib

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, default_collate

from pipeline.core.parts import build
from pipeline.core.store import open_samples, write_shards
from pipeline.training.inputs import FeatureInputs, Labels, PixelInputs, collate, to_tensor, to_tensors
from pipeline.training.stream import StepStream
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
    expected, found = default_collate([data[key] for key in keys]), data.__getitems__(keys)
    assert sorted(found) == sorted(expected) == ["index", "truth", "weight", "x"]
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
        assert found[name].dtype == expected[name].dtype
        assert found[name].stride() == expected[name].stride()
    assert torch.equal(found["x"][0], found["x"][3]) != policy  # the same image in two epochs


def test_every_image_reaches_training_unchanged(stores):
    data = inputs(stores)
    images = data.__getitems__([(0, index) for index in range(len(data))])["x"]
    expected = [store.pixels(position) for store in stores for position in reversed(range(len(store)))]
    for found, pixels in zip(images, expected, strict=True):
        np.testing.assert_array_equal(np.round(found.permute(1, 2, 0).numpy() * 255), pixels)


def test_collate_takes_single_items_too():
    labels = Labels(np.zeros(4, np.int64), np.ones(4, np.float32), list("abcd"))
    data = FeatureInputs(np.eye(4, dtype=np.float32), labels)
    stream = StepStream(4, batch_size=2, max_steps=2, seed=0)
    batches = list(DataLoader(data, 2, sampler=stream, collate_fn=collate))
    assert [batch["x"].shape for batch in batches] == [(2, 4), (2, 4)]
    assert torch.equal(torch.cat([batch["x"] for batch in batches]).sum(0), torch.ones(4))


def hashes(stores, *, workers, persistent=False):
    """Of every batch of two passes over a stream of ten steps, more than two epochs each."""
    data = inputs(stores, policy=True)
    stream = StepStream(len(data), batch_size=12, max_steps=10, seed=0)
    loader = DataLoader(data, 12, sampler=stream, num_workers=workers, persistent_workers=persistent, collate_fn=collate)
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
