"""Prices, durations and the table of forecast and truth."""

import json

import pytest

from pipeline.core import cost
from pipeline.core.cost import Price, duration, price, size, table, told
from pipeline.core.errors import PersonError
from pipeline.core.section import Section

ONE = {"step_seconds": 0.1, "validate_seconds": 1.0, "checkpoint_seconds": None, "samples_per_second": 640.0, "device_peak_bytes": None}
TIMINGS = {"run_id": "a" * 16, "forecast": {**ONE, "seconds": 3600.0, "peak_bytes": 1_000_000_000},
           "measured": {**ONE, "seconds": 4320.0, "peak_bytes": 900_000_000}}  # fmt: skip


def test_the_environment_goes_before_the_configuration(monkeypatch):
    monkeypatch.delenv(cost.VARIABLE, raising=False)
    assert price() == Price()
    assert price({"price_per_hour": 2.0, "currency": "EUR"}) == Price(2.0, "EUR")
    monkeypatch.setenv(cost.VARIABLE, "3.5 USD")
    assert price({"price_per_hour": 2.0, "currency": "EUR"}) == Price(3.5, "USD")
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv(cost.VARIABLE, wrong)
        with pytest.raises(PersonError, match=f"PIPELINE_PRICE_PER_HOUR must be.*received '{wrong}'"):
            price()


def test_words():
    assert [duration(value) for value in (0.0123, 4.21, 75, 4000, 200000)] == ["12 ms", "4.2 s", "1 min 15 s", "1 h 06 min", "2 d 7 h"]
    assert [size(value) for value in (4096, 3.5e6, 612e6, 1.25e9)] == ["4.1 KB", "3.5 MB", "612 MB", "1.25 GB"]
    assert [Price(2.5, "EUR").of(seconds) for seconds in (7200, 1)] == ["5.00 EUR", "below 0.01 EUR"]
    assert Price().of(7200) == ""


def test_truth_stands_beside_the_forecast():
    rows = {row[0]: row[1:] for row in table(TIMINGS, Price(2.5, "EUR")).rows}
    assert rows["time of the training loop"] == ["1 h 00 min", "1 h 12 min", "+20 %"]
    assert rows["memory of the process, at its peak"] == ["1 GB", "900 MB", "-10 %"]
    assert rows["money, at 2.5 EUR an hour"] == ["2.50 EUR", "3.00 EUR", "+20 %"]
    assert "one checkpoint" not in rows
    assert not any("money" in row[0] for row in table(TIMINGS, Price()).rows)
    alone = {row[0]: row[1:] for row in table({**TIMINGS, "forecast": None}, Price()).rows}
    assert alone["time of the training loop"] == [None, "1 h 12 min", None]


def test_times_of_another_run_or_none_are_not_shown(tmp_path):
    section = Section("Training", "done")
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "a" * 16}))
    assert told(section, tmp_path, Price()) == section
    (tmp_path / "timings.json").write_text(json.dumps({**TIMINGS, "run_id": "b" * 16}))
    assert told(section, tmp_path, Price()) == section
    (tmp_path / "timings.json").write_text(json.dumps(TIMINGS))
    assert told(section, tmp_path, Price()).tables[0].rows
