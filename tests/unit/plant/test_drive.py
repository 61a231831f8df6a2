"""The drive with a virtual sensor: a perfect one, one that is worse, one that is slower."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.dataset.motor import MotorLoad
from pipeline.loop.contract import Material, Said
from pipeline.plant.drive import voltage
from pipeline.simulation.motor import Motor

CONF = Path(__file__).resolve().parents[3] / "conf"


def plant(**changes):
    return build(
        {
            **yaml.safe_load((CONF / "plant/drive.yaml").read_text()),
            "motors": 6,
            "records": 20,
            "max_ratio": 0.9,
            "latency_ms": 1.0,
            **changes,
        }
    )


def rig():
    words = yaml.safe_load((CONF / "dataset/motor.yaml").read_text())
    return MotorLoad(source=Path(), **{key: value for key, value in words.items() if key != "_target_"})


def formula(data):
    """The load from the last columns of a window, by the motor's own equation at rest: T = K i - b w with K w = u - R i."""
    resistance, _, constant, _, friction = data.typical

    def ask(pixels_HWC):
        share = pixels_HWC[:, -24:, 0].astype(float).reshape(2, data.rows, -1).mean(axis=(1, 2)) / 255
        volts, current = (
            low + part * (high - low)
            for (low, high), part in zip((data.ranges["voltage"], data.ranges["current"]), share, strict=True)
        )
        return Said(np.array([constant * current - friction * (volts - resistance * current) / constant]), False, 1e-3)

    return ask


def material(ask=None, **changes):
    data = rig()
    words = {"classes": [], "truth_N": np.zeros(0), "ids": [], "groups": [], "pixels": None, "dataset": data, "coverage": 0.95,
             "resamples": 50, "seed": 0}  # fmt: skip
    return Material(**{**words, "ask": ask or formula(data), **changes})


def states(outcome):
    return {one.name: one.state for one in outcome.requirements}


@pytest.fixture(scope="module")
def good():
    return plant().run(material())


def test_a_good_sensor_holds_the_speed_nearly_as_well_as_the_true_load(good):
    (_, rows), *_ = good.tables.values()
    error = {name: mean for name, mean, *_ in rows}
    assert error["true load"] <= error["model"] < 0.7 * error["without"]
    assert states(good)["max_ratio"] == "met"
    assert plant().run(material()).events == good.events


@pytest.mark.parametrize("said", [0.0, 0.25])
def test_a_worse_sensor_is_missed(said):
    outcome = plant().run(material(lambda _: Said(np.array([said]), False, 1e-3)))
    assert states(outcome)["max_outside"] == states(outcome)["max_ratio"] == "missed"


def test_a_slower_sensor_is_missed_and_holds_the_speed_worse(good):
    slow = plant(extra_ms=600.0).run(material())
    assert states(slow)["max_late"] == states(slow)["actuate"] == "missed"
    assert value(slow, "max_ratio") > value(good, "max_ratio") + 0.1


def value(outcome, name):
    return next(one.value for one in outcome.requirements if one.name == name)


WINDOW = 96  # turns of 2 ms, of conf/dataset/motor.yaml


def steered(seconds, count=12, **changes):
    """The voltage at each turn where the answers are known beforehand, and the answers."""
    data, said = rig(), np.random.default_rng(0).uniform(0.02, 0.24, count)
    told = iter(zip(said, np.broadcast_to(seconds, count), strict=True))
    it = plant(records=count, **changes)
    loads = it._loads(data, 0, 0)
    ran = it._steer(data, data.motor(data.units), loads, lambda *_: next(told))
    return ran.volts_VT.ravel(), said, data


@pytest.mark.parametrize("windows", [0, 1, 2, 5])
@pytest.mark.parametrize("actuate", [0.0, 0.25, 1.0])
def test_an_answer_is_applied_as_many_windows_later_as_it_takes(windows, actuate):
    volts, said, data = steered(windows * 0.192, actuate=actuate, gain=0.7)
    belief, wanted = np.mean(data.torque), []
    for one in said:  # the filter of the controller, and the voltage of each belief
        belief += 0.7 * (one - belief)
        wanted.append(np.clip(voltage(Motor(*data.typical), 200.0, belief), *data.voltage))
    first = voltage(Motor(*data.typical), 200.0, np.mean(data.torque))
    delay = WINDOW + max(round(actuate * WINDOW), windows * WINDOW)  # a window is full before it is answered
    shifted = np.concatenate([np.full(delay, first), np.repeat(wanted, WINDOW)])[: len(volts)]
    np.testing.assert_allclose(volts, shifted, rtol=1e-12)


def test_an_answer_never_overtakes_the_one_before_it():
    slow = np.zeros(12)
    slow[2] = 3 * 0.192  # it comes at the end of window 5; those of windows 3 and 4 wait for it
    volts, said, data = steered(slow, gain=1.0, actuate=0.25)
    wanted = [voltage(Motor(*data.typical), 200.0, one) for one in said]
    assert volts[5 * WINDOW + 80] == volts[3 * WINDOW] == pytest.approx(wanted[1])
    assert volts[6 * WINDOW] == pytest.approx(wanted[4])
    assert volts[6 * WINDOW + 24] == pytest.approx(wanted[5])


def test_one_motor_shows_nothing_of_the_spread_between_motors():
    outcome = plant(motors=1, max_ratio=2.0).run(material())
    (ratio,) = (one for one in outcome.requirements if one.name == "max_ratio")
    assert (ratio.low, ratio.high, ratio.state) == (0.0, np.inf, "not shown")
    assert "nothing is known of the spread" in outcome.facts["motors"]


def test_the_voltage_is_the_inverse_of_the_rest():
    motor = Motor(1.0, 5e-4, 0.05, 5e-5, 2e-5)
    assert abs(motor.rest(voltage(motor, 200.0, 0.1), 0.1)[1] - 200.0) < 1e-9


def test_the_model_never_sees_a_motor_of_the_data():
    data, seen = rig(), []
    data.motor = lambda unit: seen.append(unit) or Motor(*data.typical)
    plant(motors=3, records=2).run(material(dataset=data))
    assert min(seen) >= data.units


def test_what_is_no_motor_is_refused():
    with pytest.raises(PersonError, match="experiment=motor"):
        plant().run(material(dataset=object()))
    with pytest.raises(PersonError, match="cannot be held"):
        plant(speed=5000.0).run(material())
    with pytest.raises(PersonError, match="out of range"):
        plant(gain=1.5)
