from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.core.parts import build

PART = yaml.safe_load((Path(__file__).resolve().parents[3] / "conf/dataset/motor.yaml").read_text())


def motors(**changed):
    return build({**PART, **changed}, source=Path("nowhere"))


def test_records_are_grouped_by_motor_and_their_target_is_the_load_after_its_step():
    made = motors(units=3, records=4)
    entries = list(made.entries())
    assert len(made) == len(entries) == 12
    assert [entry.group for entry in entries] == [f"motor-{unit:03d}" for unit in range(3) for _ in range(4)]
    target = made.card()["target"]
    assert all(target["low"] <= entry.target <= target["high"] for entry in entries)
    assert len({entry.target for entry in entries}) == 12
    assert entries[5].target == made.drive(1, 1).torques[-1]


def test_the_record_holds_what_the_sensors_see():
    made = motors(noise=0.0, measured=["current", "voltage", "speed"], rows=2)
    pixels = made.pixels(2, 3)
    assert (pixels.shape, pixels.dtype) == ((6, 96, 1), np.uint8)
    np.testing.assert_array_equal(pixels[0], pixels[1])
    low, high = PART["current"]
    current = low + pixels[0, :, 0] / 255 * (high - low)
    true = made.signals(2, 3)[0]
    assert true.max() < high
    np.testing.assert_allclose(current, true, atol=0.51 * (high - low) / 255)


def test_the_target_follows_from_the_last_current_by_the_equation_of_rest():
    """K i - b w = T once the record has settled, so that the hidden load can be known from what is measured."""
    made = motors(measured=["current", "speed"], noise=0.0, samples=400)
    for record in range(5):
        current, speed = made.signals(0, record)[:, -1]
        motor = made.motor(0)
        assert motor.constant * current - motor.friction * speed == pytest.approx(made.drive(0, record).torques[-1], abs=1e-4)


def test_noise_has_the_stated_size_and_equal_draws_give_equal_bytes():
    clean, noisy = motors(noise=0.0), motors(noise=0.02)
    difference = [noisy.pixels(0, record)[0].astype(float) - clean.pixels(0, record)[0] for record in range(20)]
    assert np.std(difference) / 255 == pytest.approx(0.02, rel=0.1)
    np.testing.assert_array_equal(noisy.pixels(0, 7), motors(noise=0.02).pixels(0, 7))
    assert not np.array_equal(noisy.pixels(0, 7), motors(noise=0.02, seed=1).pixels(0, 7))


def test_motors_differ_by_the_spread():
    made = motors(units=200)
    resistances = np.array([made.motor(unit).resistance for unit in range(200)])
    assert resistances.std() == pytest.approx(0.05, rel=0.2)
    assert motors(spread=0.0).motor(3) == motors(spread=0.0).motor(4)


def test_the_card_states_axes_and_units():
    source = motors().card()["source"]
    assert "columns: time, 2 ms each" in source
    assert "rows 0 to 7: voltage, level 0 is 8 and level 255 is 24 V" in source
    assert "rows 8 to 15: current, level 0 is -16 and level 255 is 24 A" in source


@pytest.mark.parametrize(("changed", "said"), [
    ({"units": 0}, "must be above 0"), ({"noise": 1.0}, "noise in"), ({"spread": 0.5}, "spread in"), ({"seed": -1}, "seed"),
    ({"torque": [0.2, 0.1]}, "dataset.torque must be two ascending"), ({"voltage": [1.0]}, "dataset.voltage"),
    ({"measured": ["curent"]}, "did you mean 'current'"), ({"measured": []}, "name each quantity once"),
    ({"measured": ["speed", "speed"]}, "name each quantity once"), ({"inertia": 0.0}, "must be above 0"),
])  # fmt: skip
def test_bad_numbers_are_refused(changed, said):
    with pytest.raises(PersonError, match=said):
        motors(**changed)


def test_the_experiment_stores_records_as_they_are(project):
    """No row or column of a record is interpolated away: the stored size is that of the record."""
    cfg = compose(project / "conf", experiment="motor", overrides=[])
    made = build(cfg["dataset"], source=Path("nowhere"))
    assert made.pixels(0, 0).shape == tuple(cfg["ingest"][key] for key in ("height", "width", "channels"))
    assert cfg["splitter"]["_target_"].endswith("Grouped")
    assert cfg["task"]["_target_"].endswith("Regression")
