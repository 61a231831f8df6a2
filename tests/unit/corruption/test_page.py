"""What is said of corruptions: collapse, words, tables with intervals, pictures with and without a reference."""

import csv
import dataclasses
import math

import numpy as np
import pytest

from pipeline.core.parts import build
from pipeline.corruption import measure, sheets
from pipeline.corruption.page import Found, collapsed, half, write_tables
from tests import toy

TASK = build(toy.option("task", "classification"), card={"name": "toy", "classes": ["bar", "disc"]})
CELLS = measure.cells_of(["fog", "darkness"], [1, 5])
ENTRY = {"value": 0.5, "low": 0.4, "high": 0.6}


def found(reference="linear", headline=(0.9, 0.8, 0.69, 0.9, 0.4), chance=0.5):
    names = [f"{name}_{severity}" for name, severity in CELLS[1:]] + ["clean", "corrupted", "fog", "darkness"]
    keys = [f"{name}_{what}" for name in names for what in ("auroc", "error")] + [f"reference_{name}_error" for name in names]
    numbers = {key: ENTRY for key in [*keys, "mce", "fog_ce", "darkness_ce"] if reference or not key.startswith(("reference", "mce"))}
    return Found(list(CELLS), [{"auroc": value} for value in headline], numbers, reference, {"auroc": chance})


def test_a_collapse_is_the_loss_of_half_the_skill():
    assert collapsed(found(), "auroc") == ["fog", "darkness"]
    assert collapsed(found(headline=(0.9, 0.8, 0.71, 0.9, 0.8)), "auroc") == []
    assert collapsed(found(headline=(1.0, 1.4, 1.6, 1.0, 1.0), chance=2.0), "auroc") == ["fog"]  # lower is better
    assert collapsed(found(chance=math.nan), "auroc") == collapsed(found(chance=0.9), "auroc") == []


def test_the_half_names_the_reference_and_what_is_counted():
    made = half(TASK, found(), count=30, coverage=0.95)
    assert "mean corruption error 0.500 [0.400, 0.600] of linear's" in made.said
    assert "1 of the fifteen" in made.text[0]
    assert "Darkness is ours" in made.text[0]
    table = made.tables[0]
    assert [row[0] for row in table.rows] == ["clean", "fog", "darkness", "mean of all"]
    assert table.rows[-1][-1] == "0.500 [0.400, 0.600]"
    assert table.rows[0][-1] is None
    alone = half(TASK, found(""), count=30, coverage=0.95)
    assert len(alone.tables[0].columns) == 3
    assert not any("baseline" in text for text in [*alone.text, *alone.said, *(picture.caption for picture in alone.pictures)])
    nothing = Found([measure.CLEAN], [{"auroc": 0.9}], {}, "", {"auroc": 0.5})
    assert half(TASK, nothing, count=30, coverage=0.95).tables == []


def test_every_row_of_the_tables_has_its_interval(tmp_path):
    write_tables(found(), "auroc", tmp_path)
    with (tmp_path / "corruptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["corruption"], row["severity"]) for row in rows] == [(name, str(severity)) for name, severity in CELLS]
    assert all(row[f"{what}_{end}"] for row in rows for what in ("auroc", "error", "reference_error") for end in ("low", "high"))
    with (tmp_path / "corruption_errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["corruption"], row["in_mce"], row["ce"], row["ce_high"]) for row in rows] == [
        ("fog", "1", "0.5", "0.6"), ("darkness", "0", "0.5", "0.6")]  # fmt: skip


@pytest.mark.parametrize("reference", ["linear", ""])
def test_the_curves_hold_every_severity_from_clean_on(reference, tmp_path):
    made = found(reference)
    shares = sheets.Shares(made.cells, made.numbers, reference)
    severity, lines = shares.line("fog")
    assert severity == [0, 1, 5]
    assert np.allclose(lines, [[0.5] * 3, [0.4] * 3, [0.6] * 3])
    sheets.curves(shares, tmp_path / "curves.png", label="error")
    assert (tmp_path / "curves.png").stat().st_size > 3000


def test_the_sheet_shows_up_to_three_severities_and_the_clean_image(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(sheets.pictures, "sheet", lambda images, titles, path, **options: asked.update(titles=titles, **options))
    cells = measure.cells_of(["fog", "snow"], [1, 2, 3, 4, 5])
    sheets.sheet(cells, lambda cell: np.zeros((4, 4, 1), np.uint8), lambda number: f"says {number}", tmp_path / "sheet.png")
    assert asked["titles"][:3] == ["fog 1\nsays 1", "fog 3\nsays 3", "fog 5\nsays 5"]
    assert asked["titles"][-1] == "clean\nsays 0"
    assert asked["columns"] == 9
    assert sheets.plainest(np.asarray([0.2, -0.9, 0.1])) == 1


@pytest.mark.parametrize(("mce", "said"), [
    ({"value": 0.8, "low": 0.7, "high": 0.9}, "than the baseline; here it does."), ({"value": 1.2, "low": 1.1, "high": 1.3}, "here it errs more."),
    ({"value": 0.9, "low": 0.7, "high": 1.1}, "no difference is shown."), (None, "here it is undefined"),
])  # fmt: skip
def test_a_difference_is_claimed_only_outside_the_interval(mce, said):
    made = found()
    made.numbers.pop("mce")
    assert said in half(TASK, dataclasses.replace(made, numbers={**made.numbers, **({"mce": mce} if mce else {})}), count=30, coverage=0.95).text[0]
