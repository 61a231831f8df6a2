"""Every option of conf/transform is held to the laws of a transform; a new option is tested with no new test file."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.keyed import generator
from pipeline.core.parts import build, is_off
from pipeline.core.record import Sample
from pipeline.transform.policy import Policy

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
    assert len(PARTS) >= 5


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
    assert len({out.tobytes() for out in drawn}) >= 30  # mirrored and moved by two pixels at most, an image has 50 states
    assert sum(bool((out != pixels).any()) for out in drawn) >= 70


def test_an_image_keeps_its_content(transform):
    """Not a law of pixels, but a policy that blanks images would be caught: a bright blob stays the brightest part.

    The searched policies invert and darken by design, and may push a blob out of sight: there it stays visible in most draws.
    """
    pixels = np.full((48, 48, 3), 40, np.uint8)
    pixels[18:30, 18:30] = 220
    brightest = visible = 0
    for number in range(50):
        out = transform(pixels, generator(number)).astype(float)
        brightest += bool(out.max() > 1.5 * np.median(out) + 10)
        visible += bool(np.ptp(out) > 40)
    assert visible >= 42
    if isinstance(transform, Policy):
        assert brightest == 50


def record(shape, seed=0):
    """A sample with a bright cue in the middle, its mask, its box and a keypoint at its corner."""
    pixels, mask = image(shape, seed).copy() // 4, np.zeros(shape[:2], np.uint8)
    top, left = shape[0] // 3, shape[1] // 3
    pixels[top : 2 * top, left : 2 * left], mask[top : 2 * top, left : 2 * left] = 250, 2
    box = (float(left), float(top), float(2 * left), float(2 * top), 5)
    return Sample(id="a", pixels_HWC=pixels, mask_HW=mask, boxes=(box,), keypoints=((left, top), (-1.0, -1.0)), label=3, name="n")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_whole_record_has_the_image_of_a_call_and_leaves_the_generator_as_a_call_does(transform, shape):
    sample = record(shape)
    for number in range(30):
        alone, whole = generator(number), generator(number)
        found = transform.whole(sample, whole)
        np.testing.assert_array_equal(found.pixels_HWC, transform(sample.pixels_HWC, alone))
        assert alone.integers(2**62) == whole.integers(2**62)
        assert (found.mask_HW.shape, found.mask_HW.dtype) == (shape[:2], np.uint8)
        assert set(np.unique(found.mask_HW)) <= {0, 2}
        assert (found.id, found.label, found.name, len(found.keypoints)) == ("a", 3, "n", 2)
        assert found.keypoints[1] == (-1.0, -1.0)
        assert all(0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0] and label == 5 for x0, y0, x1, y1, label in found.boxes)


def test_the_mask_and_the_box_stay_on_the_cue(transform):
    """In colour of one level the cue can be found again in the image by itself."""
    sample = record((48, 48, 1))
    plain = Sample(id="a", pixels_HWC=np.where(sample.mask_HW[:, :, None] > 0, 250, 30).astype(np.uint8), mask_HW=sample.mask_HW,
                   boxes=sample.boxes)  # fmt: skip
    compared = 0
    for number in range(60):
        found = transform.whole(plain, generator(number))
        inside = found.pixels_HWC[:, :, 0][found.mask_HW == 2]
        if len(inside) < 100:
            assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1, _ in found.boxes) < 3 * max(len(inside), 30)
            continue
        rows, columns = np.nonzero(found.mask_HW == 2)
        x0, y0, x1, y1, _ = found.boxes[0]
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (x0, y0, x1, y1) == pytest.approx(tight, abs=2.6 + (0 if isinstance(transform, Policy) else 12))
        level = np.median(inside)
        assert (np.abs(inside - level) < 20).mean() > 0.7  # the mask covers one level, but for interpolated edges: the cue
        compared += 1
    assert compared >= 40


def test_single_steps_and_what_was_drawn_can_be_looked_at(transform):
    pixels = image((32, 32, 3))
    steps = transform.alone()
    assert steps
    for name, step in steps:
        assert name
        assert step(pixels, generator(0)).shape == pixels.shape
    assert any((step(pixels, generator(0)) != pixels).any() for _, step in steps)
    transform(pixels, generator(0))
    drawn = transform.applied()
    assert drawn
    assert all(isinstance(value, int | float) for step in drawn for value in step.values())


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
