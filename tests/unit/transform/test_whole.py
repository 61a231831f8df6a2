"""Mask, boxes and keypoints move with their image: against closed forms on a planted rectangle."""

import albumentations
import numpy as np
import pytest
from albumentations.core.type_definitions import Targets

from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.core.record import Sample
from pipeline.transform.policy import Policy

SIDE = 20
BOX = (3.0, 5.0, 9.0, 8.0, 2)  # columns 3 to 8, rows 5 to 7
POINTS = ((3.0, 5.0), (8.0, 7.0), (-1.0, -1.0), (0.0, 0.0))


def planted(channels=1, height=SIDE, width=SIDE):
    rng = np.random.default_rng(0)
    pixels, mask = rng.integers(0, 50, (height, width, channels), dtype=np.uint8), np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = (int(value) for value in BOX[:4])
    pixels[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 240, 3
    mask[-1] = 255
    return Sample(
        id="a", pixels_HWC=pixels, label=1, target=0.5, mask_HW=mask, boxes=(BOX,), keypoints=POINTS, name="n", group="g"
    )


def moved(*steps, sample=None, number=0):
    return Policy(transforms=list(steps)).whole(sample or planted(), generator(number))


def same_facts(found, sample):
    return (found.id, found.label, found.target, found.name, found.group) == (
        sample.id,
        sample.label,
        sample.target,
        sample.name,
        sample.group,
    )


LAST = SIDE - 1
FORMS = {
    "horizontal": (albumentations.HorizontalFlip(p=1), lambda a: a[:, ::-1], lambda x, y: (LAST - x, y)),
    "vertical": (albumentations.VerticalFlip(p=1), lambda a: a[::-1], lambda x, y: (x, LAST - y)),
    "transpose": (albumentations.Transpose(p=1), lambda a: a.swapaxes(0, 1), lambda x, y: (y, x)),
}


@pytest.mark.parametrize("name", FORMS)
def test_flips_and_transpose_are_those_of_numpy(name):
    step, array, point = FORMS[name]
    sample = planted()
    found = moved(step)
    np.testing.assert_array_equal(found.pixels_HWC, array(sample.pixels_HWC))
    np.testing.assert_array_equal(found.mask_HW, array(sample.mask_HW))
    (x0, y0), (x1, y1) = point(BOX[0], BOX[1]), point(BOX[2] - 1, BOX[3] - 1)  # first and last pixel of the box
    assert found.boxes == ((min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1, 2),)
    assert found.keypoints == (*(point(*one) for one in POINTS[:2]), (-1.0, -1.0), point(*POINTS[3]))
    assert same_facts(found, sample)


def test_all_four_quarter_turns_occur_and_each_is_that_of_numpy():
    sample, seen = planted(), set()
    for number in range(40):
        found = moved(albumentations.RandomRotate90(p=1), number=number)
        turns = next(k for k in range(4) if np.array_equal(found.pixels_HWC, np.rot90(sample.pixels_HWC, k)))
        seen.add(turns)
        np.testing.assert_array_equal(found.mask_HW, np.rot90(sample.mask_HW, turns))
        check_annotations(found)
        corner = np.zeros((SIDE, SIDE))
        corner[5, 3] = 1
        row, column = np.argwhere(np.rot90(corner, turns))[0]
        assert found.keypoints[0] == (column, row)
        assert found.keypoints[2] == (-1.0, -1.0)
    assert seen == {0, 1, 2, 3}


def check_annotations(found):
    """Box, mask and the two corner points agree with the bright rectangle of the image."""
    rows, columns = np.nonzero(found.pixels_HWC[:, :, 0] > 200)
    np.testing.assert_array_equal(found.mask_HW == 3, found.pixels_HWC[:, :, 0] > 200)
    assert found.boxes == ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 2),)
    corners = {(columns.min(), rows.min()), (columns.max(), rows.max()), (columns.min(), rows.max()), (columns.max(), rows.min())}
    assert set(found.keypoints[:2]) <= corners


def test_the_eight_symmetries_keep_everything_together():
    images = set()
    for number in range(60):
        found = moved(albumentations.D4(p=1), number=number)
        check_annotations(found)
        images.add(found.pixels_HWC.tobytes())
    assert len(images) == 8


@pytest.mark.parametrize(("right", "down"), [(4, 0), (0, -3), (-2, 5)])
def test_a_shift_by_whole_pixels_moves_all_of_it_by_that_much(right, down):
    step = albumentations.Affine(translate_px={"x": (right, right), "y": (down, down)}, p=1)
    found = moved(step)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[5 + down : 8 + down, 3 + right : 9 + right] = 3
    np.testing.assert_array_equal(found.mask_HW == 3, expected == 3)
    np.testing.assert_array_equal(found.pixels_HWC[:, :, 0] > 200, expected == 3)
    assert found.boxes[0] == pytest.approx((3 + right, 5 + down, 9 + right, 8 + down, 2), abs=1e-4)
    assert found.keypoints[:2] == (pytest.approx((3 + right, 5 + down), abs=1e-4), pytest.approx((8 + right, 7 + down), abs=1e-4))
    origin = (right, down) if right >= 0 and down >= 0 else (-1.0, -1.0)
    assert found.keypoints[3] == pytest.approx(origin, abs=1e-4)


def test_what_leaves_the_frame_is_cut_dropped_or_hidden_and_labels_stay_with_their_boxes():
    boxes = ((1.0, 1.0, 5.0, 5.0, 7), (12.0, 2.0, 18.0, 6.0, 1), (8.0, 10.0, 14.0, 16.0, 4))
    sample = Sample(id="a", pixels_HWC=planted().pixels_HWC, boxes=boxes, keypoints=((2.0, 2.0), (15.0, 4.0), (9.0, 12.0)))
    found = moved(albumentations.Affine(translate_px={"x": (8, 8), "y": (0, 0)}, p=1), sample=sample)
    assert [box[4] for box in found.boxes] == [7, 4]
    assert found.boxes[0] == pytest.approx((9, 1, 13, 5, 7), abs=1e-3)
    assert found.boxes[1] == pytest.approx((16, 10, 20, 16, 4), abs=1e-3)  # cut at the frame
    assert found.keypoints == (pytest.approx((10, 2), abs=1e-4), (-1.0, -1.0), pytest.approx((17, 12), abs=1e-4))
    assert found.mask_HW is None


def test_a_change_of_grey_levels_leaves_the_annotations_as_they_are():
    sample = planted()
    found = moved(albumentations.InvertImg(p=1), albumentations.RandomBrightnessContrast(p=1))
    np.testing.assert_array_equal(found.mask_HW, sample.mask_HW)
    assert (found.boxes, found.keypoints) == (sample.boxes, sample.keypoints)


def test_inputs_stay_as_they_were_and_may_be_read_only():
    sample = planted()
    before = sample.pixels_HWC.copy(), sample.mask_HW.copy()
    sample.pixels_HWC.flags.writeable = sample.mask_HW.flags.writeable = False
    found = moved(albumentations.Affine(rotate=(30, 30), p=1), sample=sample)
    np.testing.assert_array_equal(sample.pixels_HWC, before[0])
    np.testing.assert_array_equal(sample.mask_HW, before[1])
    assert not np.shares_memory(found.mask_HW, sample.mask_HW)
    assert set(np.unique(found.mask_HW)) <= {0, 3, 255}  # classes are never interpolated


def test_a_geometric_transform_that_cannot_move_an_annotation_is_refused():
    """albumentations would hand the annotation on unmoved."""

    class Shift(albumentations.DualTransform):
        _targets = (Targets.IMAGE, Targets.MASK)

        def apply(self, img, **params):
            return np.roll(img, 3, axis=1)

        def get_transform_init_args_names(self):
            return ()

    with pytest.raises(PersonError, match=r"Shift cannot move mask, bboxes, keypoints with the image .*Shift"):
        moved(Shift(p=1))


def test_a_planted_fault_a_mask_that_does_not_move_is_seen_by_these_tests(monkeypatch):
    class Half(albumentations.HorizontalFlip):
        def apply_to_mask(self, mask, **params):
            return mask

    with pytest.raises(AssertionError):
        check_annotations(moved(Half(p=1)))
