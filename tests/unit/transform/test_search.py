"""TrivialAugment and RandAugment: what is drawn how often, how strong, and what each operation does."""

from collections import Counter

import numpy as np
import pytest
import yaml
from PIL import Image, ImageEnhance, ImageOps

from pipeline.augmentation.operations import NAMES, SIGNED, Choice, Operations
from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.core.record import Sample
from tests import toy

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SMOOTH = np.clip(np.add.outer(np.arange(32) * 4, np.arange(32) * 3)[:, :, None] + np.array([0, 15, 30]), 0, 255).astype(np.uint8)
SPACE = {"shear": 0.99, "translate": 0.25, "rotate": 90.0, "enhance": 0.9, "posterize": 2, "fill": 0}
CONF = toy.PROJECT / "conf/transform"


def menu():
    return Operations(list(NAMES), **SPACE)


def one(name, strength=1.0, sign=1, image=IMAGE):
    return menu().pixels(image, [Choice(name, strength, sign)])


def part(name, **changed):
    return build({**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **changed})


def pillow(enhance, factor, image=IMAGE):
    return np.asarray(enhance(Image.fromarray(image)).enhance(factor))


@pytest.mark.parametrize(("name", "enhance", "off"), [
    ("brightness", ImageEnhance.Brightness, 1), ("sharpness", ImageEnhance.Sharpness, 1), ("contrast", ImageEnhance.Contrast, 2),
    ("color", ImageEnhance.Color, 3),
])  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_enhancements_are_those_of_pillow(name, enhance, off, sign):
    expected = pillow(enhance, 1 + sign * 0.45).astype(int)
    assert np.abs(one(name, 0.5, sign).astype(int) - expected).max() <= off


def test_posterize_solarize_and_auto_contrast_are_those_of_pillow():
    picture = Image.fromarray(IMAGE)
    np.testing.assert_array_equal(one("posterize", 1.0), np.asarray(ImageOps.posterize(picture, 2)))
    np.testing.assert_array_equal(one("posterize", 0.0), IMAGE)
    np.testing.assert_array_equal(one("solarize", 1.0), 255 - IMAGE)
    assert (one("solarize", 0.5) != np.asarray(ImageOps.solarize(picture, 128))).mean() < 0.01  # 127.5 against 128
    dull = (SMOOTH // 3 + 40).astype(np.uint8)
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(dull))).astype(int)
    assert np.abs(one("auto_contrast", image=dull).astype(int) - expected).max() <= 4


def test_geometry_has_the_promised_size():
    spot = np.zeros((33, 33, 1), np.uint8)
    spot[16, 24] = 255  # eight to the right of the centre

    def where(name, strength, sign):
        found = one(name, strength, sign, image=spot)[:, :, 0].astype(float)
        rows, columns = np.indices(found.shape)
        return (rows * found).sum() / found.sum() - 16, (columns * found).sum() / found.sum() - 16

    assert where("translate_x", 1.0, -1) == pytest.approx((0, 8 - 33 / 4), abs=0.6)
    assert where("translate_y", 0.5, 1) == pytest.approx((33 / 8, 8), abs=0.6)
    turned = where("rotate", 1.0, 1)
    assert sorted(np.abs(turned)) == pytest.approx([0, 8], abs=0.1)  # 90 degrees
    assert abs(where("shear_y", 0.5, 1)[0]) == pytest.approx(8 * 0.99 / 2, abs=0.3)
    assert where("shear_x", 1.0, 1) == pytest.approx((0, 8), abs=0.1)  # the row of the centre stays
    assert where("rotate", 1.0, 1)[0] == pytest.approx(-where("rotate", 1.0, -1)[0], abs=0.1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"auto_contrast", "equalize"}])
def test_no_strength_is_no_change(name):
    np.testing.assert_array_equal(one(name, 0.0), IMAGE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(32, 32, 1), (17, 23, 3)])
def test_every_operation_serves_every_shape_and_most_change_the_image(name, shape):
    image = (SMOOTH // 2 + IMAGE // 8 + 20)[: shape[0], : shape[1], : shape[2]].copy()
    found = menu().pixels(image, [Choice(name, 1.0, 1)])
    assert (found.shape, found.dtype) == (shape, np.uint8)
    same = name == "identity" or (name == "color" and shape[2] == 1)
    assert bool((found != image).any()) != same


def draws(policy, count):
    for number in range(count):
        policy(IMAGE, generator(number))
        yield policy._last


def test_trivial_draws_one_operation_and_all_strengths_evenly():
    policy = part("trivial")
    seen = [choices[0] for choices in draws(policy, 2800)]
    counts = np.asarray(list(Counter(choice.name for choice in seen).values()))
    assert len(counts) == 14
    assert ((counts - 200) ** 2 / 200).sum() < 42  # 99.99 % quantile of chi-squared with 13 degrees of freedom
    strengths = Counter(round(choice.strength * 30) for choice in seen)
    assert sorted(strengths) == list(range(31))
    signs = [choice.sign for choice in seen if choice.name in SIGNED]
    assert abs(np.mean(signs)) < 0.1
    assert {choice.sign for choice in seen if choice.name not in SIGNED} == {1}


def test_rand_draws_several_operations_of_one_strength():
    seen = list(draws(part("rand", count=3, strength=0.5), 400))
    assert {len(choices) for choices in seen} == {3}
    assert {choice.strength for choices in seen for choice in choices} == {0.5}
    assert {choice.name for choices in seen for choice in choices} == set(NAMES)
    assert any(len({choice.name for choice in choices}) < 3 for choices in seen)  # with replacement


@pytest.mark.parametrize("name", ["trivial", "rand"])
def test_a_chosen_set_of_operations_is_kept_to(name):
    policy = part(name, operations=["rotate", "brightness"])
    assert {choice.name for choices in draws(policy, 60) for choice in choices} == {"rotate", "brightness"}
    assert [entry["__class_fullname__"] for entry in policy.describe()] == ["rotate", "brightness"]


def test_geometric_operations_move_the_mask_and_the_others_do_not():
    pixels, mask = np.zeros((32, 32, 1), np.uint8), np.zeros((32, 32), np.uint8)
    pixels[10:20, 12:18], mask[10:20, 12:18] = 255, 1
    sample = Sample(id="a", pixels_HWC=pixels, mask_HW=mask, boxes=((12.0, 10.0, 18.0, 20.0, 3),))
    for name in NAMES:
        found = menu().whole(sample, [Choice(name, 0.5, 1)])
        geometric = name.startswith(("shear", "translate", "rotate"))
        assert bool((found.mask_HW != mask).any()) == geometric
        assert (found.boxes != sample.boxes) == geometric
        if geometric:
            assert ((found.pixels_HWC[:, :, 0] > 127) == (found.mask_HW == 1)).mean() > 0.95


@pytest.mark.parametrize(("name", "changed", "said"), [
    ("trivial", {"operations": ["rotat"]}, "'rotat' is no operation.*rotate"),
    ("trivial", {"operations": []}, "at least one of identity"),
    ("trivial", {"strengths": 1}, "strengths must be at least 2: received 1"),
    ("trivial", {"enhance": 1.5}, r"enhance must be in \[0, 1\].*received 1.5"),
    ("rand", {"count": 0}, "count must be at least 1"),
    ("rand", {"strength": 1.1}, r"strength in \[0, 1\]: received 2 and 1.1"),
])  # fmt: skip
def test_what_cannot_be_is_refused(name, changed, said):
    with pytest.raises(PersonError, match=said):
        part(name, **changed)
