"""The short training behind the gate of usefulness: it learns, arms of one seed are pairs, extra samples take their share."""

import numpy as np
import pytest
import torch

from pipeline.training import trial
from pipeline.training.trial import Pool, Recipe, predict

RECIPE = Recipe(steps=60, batch_size=32, lr=1e-2)


class Task:
    """Two classes."""

    def outputs(self):
        return 2

    def losses(self, output_BK, truth_B):
        return torch.nn.functional.cross_entropy(output_BK, truth_B, reduction="none")

    def decode(self, output_BK):
        return output_BK.softmax(dim=1)


def features(count, seed=0, shift=1.5):
    rng = np.random.default_rng(seed)
    truth = (np.arange(count) % 2).astype(np.int64)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    x[:, 0] += shift * (2 * truth - 1)
    return Pool(x, truth, np.ones(count, np.float32))


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    truth = (np.arange(count) % 2).astype(np.int64)
    x = rng.integers(0, 90, (count, 12, 12, 1), dtype=np.uint8)
    x[truth == 1, 3:9, 3:9] += 120
    return Pool(x, truth, np.ones(count, np.float32))


@pytest.mark.parametrize("make", [features, images])
def test_it_learns(make):
    held = make(200, seed=1)
    found = predict(make(100), held.x, task=Task(), recipe=RECIPE, seed=0)
    assert found.shape == (200, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found.argmax(axis=1) == held.truth_N).mean() > 0.85


def test_the_seed_alone_decides_and_other_state_does_not_matter():
    held = images(20, seed=1).x
    torch.manual_seed(5)
    first = predict(images(60), held, task=Task(), recipe=RECIPE, seed=3)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(predict(images(60), held, task=Task(), recipe=RECIPE, seed=3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert (predict(images(60), held, task=Task(), recipe=RECIPE, seed=4) != first).any()


def test_an_arm_with_a_share_of_zero_is_the_real_arm():
    held = features(20, seed=1).x
    plain = predict(features(60), held, task=Task(), recipe=RECIPE, seed=0)
    np.testing.assert_array_equal(
        predict(features(60), held, extra=features(60, 9), share=0.0, task=Task(), recipe=RECIPE, seed=0), plain
    )


def test_extra_samples_take_their_share_and_the_rest_of_each_batch_is_that_of_the_pair():
    real, extra = features(60), features(30, 9)
    recipe = Recipe(steps=200, batch_size=32, lr=1e-2)
    alone = trial._places(real, None, share=0.0, recipe=recipe, seed=0)
    mixed = trial._places(real, extra, share=0.25, recipe=recipe, seed=0)
    taken = [len(places[1][1]) for places in mixed]
    assert abs(np.mean(taken) / 32 - 0.25) < 0.02
    for (whole,), (kept, _) in zip(alone, mixed, strict=True):
        rest = list(whole[1])
        assert all(place in rest for place in kept[1])


def test_extra_samples_with_wrong_labels_are_learnt():
    """Planted fault: were the extra samples not read, nothing would change."""
    held, extra = features(200, 1), features(60, 9)
    wrong = Pool(extra.x, 1 - extra.truth_N, extra.weight_N)
    scores = [
        (
            predict(features(60), held.x, extra=pool, share=0.9, task=Task(), recipe=RECIPE, seed=0).argmax(1) == held.truth_N
        ).mean()
        for pool in (extra, wrong)
    ]
    assert scores[0] > 0.85
    assert scores[1] < 0.3


def test_weights_count():
    real = features(60)
    weighted = Pool(real.x, real.truth_N, np.where(real.truth_N == 1, 1.0, 0.01).astype(np.float32))
    found = [
        predict(pool, features(100, 1, shift=0.0).x, task=Task(), recipe=Recipe(steps=60, batch_size=32, lr=0.1), seed=0)[
            :, 1
        ].mean()
        for pool in (real, weighted)
    ]
    assert found[0] < 0.6
    assert found[1] > 0.65
