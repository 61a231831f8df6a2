"""The simulator's truth: its masks are where the defect darkens, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import binary_dilation

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.images.decode import sample_id
from pipeline.simulation import defect

PART = yaml.safe_load((Path(__file__).resolve().parents[3] / "conf/generator/cells.yaml").read_text())
CARD = {"classes": ["functional", "defective"], "target": None, "height": 64, "width": 48, "channels": 1}
SEEDS = range(12)


def cells(**changed):
    return build({**PART, "resolution": 150, **changed})


def photos(part, *, defective):
    return [part.photo(np.random.default_rng([seed, 3]), defective=defective, size=(150, 150)) for seed in SEEDS]


def darkening(photo):
    """Share of its light that each pixel lost to the defects, before noise."""
    return 1 - photo.exposed_HW / photo.healthy_HW


@pytest.mark.parametrize("poly", [0.0, 1.0])
def test_the_mask_is_exactly_where_the_defects_darken(poly):
    part = cells(poly=poly)
    for photo in photos(part, defective=True):
        inside, lost = photo.mask_HW > 0, darkening(photo)
        assert inside.any()
        assert lost[inside].min() > 0.9 * PART["visible"]
        assert lost[~binary_dilation(inside, iterations=2)].max() < 3 * PART["visible"]  # two faint ones may add up
        assert lost[~inside].mean() < 0.1 * lost[inside].mean()


def test_the_noisy_photo_itself_is_darker_inside_the_mask_than_its_healthy_twin():
    for photo in photos(cells(), defective=True):
        lost = photo.healthy_HW - photo.pixels_HW
        assert lost[photo.mask_HW > 0].mean() > 5 * abs(lost[photo.mask_HW == 0].mean())


def test_a_shifted_mask_fails_the_localisation():
    """Planted fault: the test above can see a mask that lies somewhere else."""
    wrong = 0
    for photo in photos(cells(inactive=0.0), defective=True):
        moved = np.roll(photo.mask_HW, (12, 7), axis=(0, 1)) > 0
        wrong += np.median(darkening(photo)[moved]) < PART["visible"]
    assert wrong == len(SEEDS)


@pytest.mark.parametrize("size", [(64, 64), (32, 48), (300, 200)])
def test_every_defective_cell_shows_its_defect_at_the_size_of_the_data(size):
    """Planted fault of an earlier version: a faint crack that blur or shrinking hid left a defective cell with an empty mask."""
    part = cells(cracks=0.1, branching=0.0, interruptions=0.0, inactive=0.0, shattered=0.0)
    for seed in range(30):
        photo = part.photo(np.random.default_rng(seed), defective=True, size=size)
        assert photo.mask_HW.shape == size
        assert photo.mask_HW.any()
        assert darkening(photo)[photo.mask_HW > 0].min() > 0.9 * PART["visible"]


def test_a_size_that_shows_no_defect_is_refused():
    with pytest.raises(PersonError, match="no defect takes"):
        cells(crack_depth=[0.01, 0.02], interruptions=0.0, inactive=0.0).photo(
            np.random.default_rng(0), defective=True, size=(8, 8)
        )


def test_each_kind_of_defect_stands_under_its_own_number():
    only_cracks = cells(inactive=0.0, interruptions=0.0)
    assert {int(value) for photo in photos(only_cracks, defective=True) for value in np.unique(photo.mask_HW)} == {
        0,
        defect.CRACK,
    }
    only_fingers = cells(cracks=0.0)
    assert {int(value) for photo in photos(only_fingers, defective=True) for value in np.unique(photo.mask_HW)} == {
        0,
        defect.FINGER,
    }
    everything = cells(inactive=1.0, cracks=4.0, shattered=1.0)
    assert {int(value) for photo in photos(everything, defective=True) for value in np.unique(photo.mask_HW)} == {0, 1, 2, 3}


def test_functional_cells_have_an_empty_mask_and_lost_nothing():
    for photo in photos(cells(streaks=6.0), defective=False):
        assert not photo.mask_HW.any()
        np.testing.assert_array_equal(photo.exposed_HW, photo.healthy_HW)


def test_an_inactive_piece_is_bounded_by_a_crack():
    """No piece goes dark that bars and edges alone enclose: without cracks that cut, there is none."""
    rng = np.random.default_rng(0)
    from pipeline.simulation import cell

    grid = cell.draw_grid(rng, bars=3, fingers=72, poly=False, back=0.0)
    healthy = cell.draw_cell(rng, side=150, poly=False, grid=grid, roughness=1.0)
    short = [np.array([[0.3, 0.3], [0.35, 0.35]])]
    factor, pieces = defect.inactive_factor(rng, healthy, short, chance=1.0)
    assert (factor.min(), pieces) == (1.0, 0)
    across = [np.array([[0.0, 0.3], [0.3, 0.0]])]
    factor, pieces = defect.inactive_factor(rng, healthy, across, chance=1.0)
    assert pieces >= 1
    assert factor[10, 10] < 0.9
    assert factor[75, 75] == 1.0


def test_samples_have_the_card_s_shape_and_both_classes_in_turn():
    made = list(cells().simulate({**CARD, "channels": 3}, 20, np.random.default_rng(0)))
    assert [sample.label for sample in made] == [0, 1] * 10
    assert [sample.order for sample in made] == list(range(20))
    for sample in made:
        assert (sample.pixels_HWC.shape, sample.pixels_HWC.dtype) == ((64, 48, 3), np.uint8)
        assert (sample.mask_HW.shape, sample.mask_HW.dtype) == ((64, 48), np.uint8)
        assert bool(sample.mask_HW.any()) == (sample.label == 1) == ("no defect" not in sample.name)
        assert sample.id == sample_id(sample.pixels_HWC)
        assert sample.origin == "synthetic"
        assert np.isnan(sample.target)
    assert len({sample.id for sample in made}) == 20


@pytest.mark.parametrize("balance", [0.1, 0.3, 0.75])
def test_the_share_of_defective_cells_is_the_one_asked_for(balance):
    made = list(cells(balance=balance, resolution=32).simulate({**CARD, "height": 32, "width": 32}, 40, np.random.default_rng(0)))
    assert sum(sample.label for sample in made) == round(40 * balance)


def test_equal_rng_gives_equal_bytes_and_a_larger_count_the_same_first_samples():
    part = cells()
    few, many = (list(part.simulate(CARD, count, np.random.default_rng(5))) for count in (4, 8))
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.pixels_HWC, other.pixels_HWC)
        np.testing.assert_array_equal(one.mask_HW, other.mask_HW)
    other = next(part.simulate(CARD, 1, np.random.default_rng(6)))
    assert not np.array_equal(other.pixels_HWC, few[0].pixels_HWC)


def test_the_classes_of_any_card_are_mapped_by_name():
    card = {**CARD, "classes": ["ok", "scratched", "broken"]}
    made = list(cells(functional="ok", defective="broken").simulate(card, 4, np.random.default_rng(0)))
    assert [sample.label for sample in made] == [0, 2, 0, 2]


def test_a_card_with_the_defect_probability_alone_gets_targets():
    card = {**CARD, "classes": [], "target": {"name": "defect probability", "unit": "", "low": 0.0, "high": 1.0}}
    made = list(cells().simulate(card, 4, np.random.default_rng(0)))
    assert [(sample.label, sample.target) for sample in made] == [(-1, 0.0), (-1, 1.0)] * 2


@pytest.mark.parametrize(("card", "said"), [
    ({"classes": ["functional", "defectve"]}, "did you mean 'defectve'"),
    ({"classes": ["0", "1"]}, "no class 'functional'"),
    ({"classes": [], "target": {"name": "age", "unit": "a", "low": 0, "high": 1}}, "its target is 'age'"),
    ({"classes": [], "target": None}, "generator=none"),
])  # fmt: skip
def test_a_card_that_cells_cannot_serve_is_refused(card, said):
    with pytest.raises(PersonError, match=said):
        next(cells().simulate({**CARD, **card}, 1, np.random.default_rng(0)))


@pytest.mark.parametrize(("changed", "said"), [
    ({"balance": 1.0}, "balance"), ({"bars": []}, "bars"), ({"bars": [9]}, "bars"), ({"crack_depth": [0.5, 0.2]}, "crack_depth"),
    ({"crack_depth": [0.5]}, "crack_depth"), ({"resolution": 8}, "resolution"), ({"electrons": 0.0}, "electrons"),
    ({"defective": "functional"}, "two classes"), ({"visible": 0.0}, "visible"), ({"cracks": -1.0}, "cracks"),
])  # fmt: skip
def test_bad_numbers_are_refused(changed, said):
    with pytest.raises(PersonError, match=said):
        cells(**changed)


def test_monocrystalline_cracks_follow_the_cleavage_planes():
    rng = np.random.default_rng(0)
    ways = []
    for _ in range(200):
        path = defect.walk(rng, np.array([0.5, 0.5]), defect.cleavage(rng), poly=False, steps=20)
        ways.append(np.degrees(np.arctan2(*(path[-1] - path[0])[::-1])) % 90)
    near = np.minimum(np.abs(np.array(ways) - 45), np.abs(np.array(ways) - 0))
    assert np.mean(np.abs(np.array(ways) - 45) < 12) > 0.8
    assert np.mean(np.minimum(near, np.abs(np.array(ways) - 90)) < 15) > 0.97


def test_noise_is_that_of_counted_electrons():
    """Variance of a uniform patch = shot (level x 255 / electrons) + reading."""
    from pipeline.simulation.camera import Camera

    camera = Camera(blur=0.0, vignetting=0.0, electrons=4000.0, read_noise=2.0)
    flat = np.full((200, 200), 160.0, np.float32)
    assert camera.develop(flat, np.random.default_rng(0)).var() == pytest.approx(160 * 255 / 4000 + 2**2, rel=0.05)
