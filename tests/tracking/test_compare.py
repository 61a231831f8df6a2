"""Runs side by side."""

import base64
import json
from pathlib import Path

from pipeline.tracking.compare import compare, flatten, inside
from pipeline.tracking.records import Run


def run(number: int, **changed: object) -> Run:
    base = {
        "id": f"id{number}",
        "name": f"run {number}",
        "started": f"2026-01-0{number}",
        "state": "finished",
        "config": {"train": {"lr": number / 10, "steps": 5}, "facts": {"data": f"{number}" * 64}},
        "history": {0: {"loss": 1.0 * number}, 5: {"loss": 0.5, "acc": 0.9}},
        "summary": {
            "headline": {"value": 0.8, "low": 0.7, "high": 0.9},
            "headline_metric": "auroc",
            "baseline/svm/auroc": {"value": 0.6, "low": 0.5, "high": 0.7},
            "baseline/svm/f1": 0.1,
            "test/f1": 0.25,
        },
    }
    return Run(**{**base, **changed})


def test_only_differing_keys_are_differences_and_facts_come_last() -> None:
    made = compare([run(1), run(2)])
    assert [(line.key, line.cells) for line in made.differences] == [
        ("train.lr", ["0.1", "0.2"]),
        ("facts.data", ["1" * 12, "2" * 12]),
    ]
    assert [line.key for line in made.same] == ["train.steps"]


def test_headline_baselines_and_scale() -> None:
    row = compare([run(1), run(2, summary={})]).rows[0]
    assert row.headline.text == "0.800 [0.700, 0.900]"
    assert list(row.baselines) == ["svm"]
    assert row.baselines["svm"].at < row.headline.low_at < row.headline.at < row.headline.high_at <= 96
    assert compare([run(2, summary={})]).rows[0].headline is None


def test_a_run_with_another_headline_is_not_compared_by_it() -> None:
    other = run(2, summary={"headline": 3.0, "headline_metric": "rmse"})
    assert compare([run(1), other]).rows[1].headline is None


def test_order_is_that_of_the_starts() -> None:
    assert [row.order for row in compare([run(2), run(1)]).rows] == [2, 1]


def test_curves_hold_each_run() -> None:
    made = compare([run(1), run(2), run(3, history={})])
    assert [(plot.metric, [curve.run for curve in plot.curves]) for plot in made.charts] == [("loss", [0, 1]), ("acc", [0, 1])]


def test_flatten() -> None:
    assert flatten({"a": {"b": [1, 2]}, "c": [{"d": None}], "e": {}}) == {"a.b": "[1, 2]", "c[0].d": "null", "e": "{}"}


def media(folder: Path, name: str, data: bytes, kind: str) -> tuple[Path, dict[str, str]]:
    path = folder / "files" / "media" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return folder, {"_type": kind, "path": f"media/{name}", "caption": "what"}


def test_pictures_and_tables_come_from_the_folder_of_the_run_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    found = {
        "a/p": media(tmp_path / "r", "p.png", b"png", "image-file"),
        "a/evil": (tmp_path / "r", {"_type": "image-file", "path": "../../secret.png"}),
        "a/page": media(tmp_path / "r", "p.svg", b"<svg/>", "image-file"),
        "confusion_table": media(
            tmp_path / "r",
            "c.json",
            json.dumps(
                {
                    "columns": ["Actual", "Predicted", "nPredictions"],
                    "data": [["a", "a", 3], ["a", "b", 1], ["b", "a", 0], ["b", "b", 4]],
                }
            ).encode(),
            "table-file",
        ),
    }
    made = compare([run(1, media=found)])
    assert made.pictures["a/p"][0].source == "data:image/png;base64," + base64.b64encode(b"png").decode()
    assert [(made.pictures[key][0].source, made.pictures[key][0].reason) for key in ("a/evil", "a/page")] == [
        ("", "its file is missing")
    ] * 2
    assert made.tables["confusion"][0].columns == ["actual \\ predicted", "a", "b"]
    assert made.tables["confusion"][0].rows == [["a", "3", "1"], ["b", "0", "4"]]
    assert inside(tmp_path / "r", "../../secret.png") is None
    assert inside(tmp_path / "r", "") is None
