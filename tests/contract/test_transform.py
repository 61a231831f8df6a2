"""Every option of conf/transform is held to the laws of a transform; a new option is tested with no new test file."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.keyed import generator
from pipeline.core.parts import build, is_off

CONF = Path(__file__).resolve().parents[2] / "conf/transform"
OPTIONS = sorted(CONF.glob("*.yaml"))
PARTS = [path for path in OPTIONS if not is_off(yaml.safe_load(path.read_text()))]
SHAPES = [(8, 8, 1), (32, 32, 1), (32, 32, 3)]


def image(shape, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    pixels.flags.writeable = False  # the store's images are views into a mapped file
    return pixels


@pytest.fixture(params=PARTS, ids=lambda path: path.stem)
def transform(request):
    return build(yaml.safe_load(request.param.read_text()))


def test_the_room_has_an_option_none():
    assert CONF / "none.yaml" in OPTIONS
    assert len(PARTS) >= 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_and_dtype_stay_and_the_result_is_a_new_array(transform, shape):
    pixels = image(shape)
    for number in range(20):
        out = transform(pixels, generator(number))
        assert (out.shape, out.dtype) == (shape, np.uint8)
        assert out.flags.writeable
        assert out.flags.c_contiguous
        assert not np.shares_memory(out, pixels)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_input_is_not_changed(transform, shape):
    pixels = image(shape).copy()
    for number in range(20):
        transform(pixels, generator(number))
    np.testing.assert_array_equal(pixels, image(shape))


def test_the_same_key_gives_the_same_bytes_in_any_order_and_after_other_images(transform):
    pixels = image((32, 32, 3))
    first = [transform(pixels, generator(0, number)).tobytes() for number in range(12)]
    transform(image((32, 32, 3), seed=9), generator(99))
    again = [transform(pixels, generator(0, number)).tobytes() for number in reversed(range(12))]
    assert first == again[::-1]


def test_a_copy_in_another_process_draws_the_same(transform):
    copy = pickle.loads(pickle.dumps(transform))
    pixels = image((32, 32, 3))
    for number in range(8):
        np.testing.assert_array_equal(copy(pixels, generator(number)), transform(pixels, generator(number)))


def test_the_generator_is_the_only_source_of_chance(transform):
    pixels = image((32, 32, 3))
    np.random.seed(0)
    first = transform(pixels, generator(5))
    np.random.seed(1)
    np.testing.assert_array_equal(transform(pixels, generator(5)), first)


def test_draws_differ_and_most_change_the_image(transform):
    pixels = image((32, 32, 3))
    drawn = [transform(pixels, generator(number)) for number in range(100)]
    assert len({out.tobytes() for out in drawn}) >= 50
    assert sum(bool((out != pixels).any()) for out in drawn) >= 70


def test_an_image_keeps_its_content(transform):
    """Not a law of pixels, but a policy that blanks or inverts images would be caught: a bright blob stays the brightest part."""
    pixels = np.full((48, 48, 3), 40, np.uint8)
    pixels[18:30, 18:30] = 220
    for number in range(50):
        out = transform(pixels, generator(number)).astype(float)
        assert out.max() > 1.5 * np.median(out) + 10


def test_it_describes_itself_in_json(transform):
    described = transform.describe()
    assert described
    assert all(entry["__class_fullname__"] for entry in described)
    assert json.loads(json.dumps(described, allow_nan=False)) == described


def centre(pixels_HW):
    rows, columns = np.indices(pixels_HW.shape)
    return np.asarray([(rows * pixels_HW).sum(), (columns * pixels_HW).sum()]) / pixels_HW.sum()


def orientation(transform, number):
    """Turning sense and tilt in degrees of a right angle whose corner, right end and lower end are a spot in one channel each."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    for channel, (row, column) in enumerate([(16, 16), (16, 44), (44, 16)]):
        pixels[row : row + 5, column : column + 5, channel] = 255
    corner, right, low = (centre(transform(pixels, generator(number))[:, :, channel].astype(float)) for channel in range(3))
    along, down = right - corner, low - corner
    return np.sign(along[1] * down[0] - along[0] * down[1]), np.degrees(np.arctan2(along[0], along[1]))


def test_the_policy_for_signs_preserves_labels_and_the_one_for_inspection_does_not():
    """`light` never mirrors and hardly tilts; `symmetries` does both, so the audit would see it."""
    found = {
        name: [orientation(build(yaml.safe_load((CONF / f"{name}.yaml").read_text())), number) for number in range(100)]
        for name in ("light", "symmetries")
    }
    assert all(sense == 1 and abs(tilt) < 15 for sense, tilt in found["light"])
    assert {sense for sense, _ in found["symmetries"]} == {-1, 1}
    assert max(abs(tilt) for _, tilt in found["symmetries"]) > 80
