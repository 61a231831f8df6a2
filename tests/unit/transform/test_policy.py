"""The adapter over albumentations: who draws what, and what it refuses. The stock behaviour must fail the same audit."""

import hashlib

import albumentations
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.transform.policy import Policy

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
EPOCHS, COUNT = 3, 16


def transforms():
    return [albumentations.HorizontalFlip(p=0.5), albumentations.Affine(rotate=(-45, 45), p=1.0)]


class Draws(Dataset):
    """Augments one image again and again; keyed by (epoch, index), or left to albumentations' own seed."""

    def __init__(self, keyed):
        self.keyed, self.epoch = keyed, 0
        self.stock = albumentations.Compose(transforms(), seed=7)
        self.policy = Policy(transforms=transforms())

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if self.keyed:
            return torch.from_numpy(self.policy(IMAGE, generator(7, self.epoch, index)))
        return torch.from_numpy(self.stock(image=IMAGE)["image"])


def audit(*, keyed, workers):
    draws = Draws(keyed)
    loader = DataLoader(draws, batch_size=4, num_workers=workers)
    seen = []
    for draws.epoch in range(EPOCHS):
        seen += [hashlib.sha256(image.numpy().tobytes()).hexdigest() for batch in loader for image in batch]
    return seen


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_draws_are_the_same_for_any_number_of_workers_and_never_repeat():
    reference = audit(keyed=True, workers=0)
    assert len(set(reference)) == EPOCHS * COUNT
    for workers in (1, 2, 4):
        assert audit(keyed=True, workers=workers) == reference


def test_stock_albumentations_fails_the_same_audit():
    """The fault that the adapter cures: two workers draw the same, and every epoch repeats the first."""
    assert len(set(audit(keyed=False, workers=2))) < EPOCHS * COUNT / 2


def flips(seeded):
    """How many of the four combinations of two flips with p = 0.5 occur in 200 draws."""
    policy = Policy(transforms=[albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)])
    stock = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)])
    seen = set()
    for number in range(200):
        if seeded:
            stock.set_random_seed(number)
            seen.add(stock(image=IMAGE)["image"].tobytes())
        else:
            seen.add(policy(IMAGE, generator(number)).tobytes())
    return len(seen)


def test_transforms_of_one_policy_draw_independently():
    assert flips(seeded=False) == 4


def test_stock_seeding_ties_the_transforms_together():
    """albumentations 2.0.8 gives every transform the same seed: both flips or none. When this fails, upstream has mended it."""
    assert flips(seeded=True) == 2


def test_the_eight_symmetries_are_equally_likely():
    policy = Policy(transforms=[albumentations.D4(p=1.0)])
    drawn = [policy(IMAGE, generator(number)).tobytes() for number in range(800)]
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 8
    assert ((counts - 100) ** 2 / 100).sum() < 29.9  # 99.99 % quantile of chi-squared with 7 degrees of freedom


def test_the_input_is_neither_changed_nor_returned():
    for pixels in (IMAGE.copy(), IMAGE[:, :, :1].copy()):
        before = pixels.copy()
        pixels.flags.writeable = False
        out = Policy(transforms=[albumentations.NoOp()])(pixels, generator(0))
        assert not np.shares_memory(out, pixels)
        np.testing.assert_array_equal(pixels, before)
        assert out.shape == pixels.shape


def test_p_is_the_share_of_images_that_change():
    policy = Policy(transforms=[albumentations.InvertImg(p=1.0)], p=0.25)
    changed = sum(bool((policy(IMAGE, generator(number)) != IMAGE).any()) for number in range(1000))
    assert 200 < changed < 300


def test_a_policy_that_changes_the_shape_is_refused_by_name():
    with pytest.raises(PersonError, match=r"Resize turn uint8 \(24, 24, 3\) into uint8 \(9, 9, 3\)"):
        Policy(transforms=[albumentations.Resize(9, 9)])(IMAGE, generator(0))


def test_a_policy_that_changes_the_dtype_is_refused():
    with pytest.raises(PersonError, match="float32"):
        Policy(transforms=[albumentations.ToFloat(p=1.0)])(IMAGE, generator(0))


@pytest.mark.parametrize("pixels", [IMAGE.astype(np.float32), IMAGE[:, :, 0]])
def test_other_input_is_refused(pixels):
    with pytest.raises(PersonError, match="uint8 pixels"):
        Policy(transforms=transforms())(pixels, generator(0))


@pytest.mark.filterwarnings("ignore:Argument")
def test_an_argument_that_albumentations_ignores_is_an_error_that_names_the_transform():
    with pytest.raises(PersonError, match="HorizontalFlip has no argument 'prob'"):
        Policy(transforms=[albumentations.OneOf([albumentations.HorizontalFlip(prob=1)])])


def test_so_it_is_when_the_policy_comes_from_conf():
    node = {
        "_target_": "pipeline.transform.policy.Policy",
        "transforms": [{"_target_": "albumentations.HorizontalFlip", "prob": 0.5}],
    }
    with pytest.raises(PersonError, match=r"albumentations\.HorizontalFlip: .*'prob'"):
        build(node)
    node["transforms"] = [{"_target_": "albumentations.Affine", "rotate": "far"}]
    with pytest.raises(PersonError, match=r"albumentations\.Affine"):
        build(node)


def test_what_is_no_albumentation_and_p_out_of_range_are_refused():
    with pytest.raises(PersonError, match="received dict"):
        Policy(transforms=[{"name": "flip"}])
    with pytest.raises(PersonError, match=r"\[0, 1\]: received 1.5"):
        Policy(transforms=transforms(), p=1.5)


def test_the_description_holds_every_argument_and_is_plain_json():
    import json

    described = Policy(transforms=transforms()).describe()
    assert [entry["__class_fullname__"] for entry in described] == ["HorizontalFlip", "Affine"]
    assert described[1]["rotate"] == [-45.0, 45.0]
    assert json.loads(json.dumps(described, allow_nan=False)) == described
