"""Every option of conf/logger offers the whole contract, and none of it ever raises or waits."""

import inspect
import os
import time
from pathlib import Path

import pytest
import yaml

from pipeline.core.config import check
from pipeline.core.parts import build, declared_arguments, is_off

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "logger").glob("*.yaml"))
MEMBERS = {
    "open": ["run_id", "name", "config", "facts"],
    "log": ["step", "values"],
    "picture": ["key", "path", "caption", "step"],
    "table": ["key", "columns", "rows"],
    "summary": ["values"],
    "finish": [],
    "finish_report": ["directories", "run_id"],
}


def node(option: str) -> dict[str, object]:
    return yaml.safe_load((CONF / "logger" / f"{option}.yaml").read_text(encoding="utf-8"))


def test_none_is_an_option_without_a_class() -> None:
    assert "none" in OPTIONS
    assert is_off(node("none"))


@pytest.mark.parametrize("option", OPTIONS)
def test_the_option_names_every_argument_and_passes_the_schema(option: str) -> None:
    card = node(option)
    check({"logger": card}, CONF / "schema.yaml")
    if not is_off(card):
        assert set(card) - {"_target_"} == set(declared_arguments(card["_target_"]))


@pytest.mark.parametrize("option", [option for option in OPTIONS if not is_off(node(option))])
class TestTracker:
    def test_it_offers_the_contract(self, option: str) -> None:
        part = build(node(option))
        for name, arguments in MEMBERS.items():
            assert [*inspect.signature(getattr(part, name)).parameters] == arguments, name

    def test_before_open_and_after_finish_all_is_silent(
        self, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        part = build(node(option))
        part.log(0, {"loss": 1.0})
        part.picture("p", tmp_path / "absent.png", "")
        part.table("t", ["a"], [[1]])
        part.summary({"a": 1})
        part.finish()
        assert list(tmp_path.iterdir()) == []

    def test_a_whole_run_is_quick_to_feed_and_stays_below_run(
        self, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("WANDB_MODE", "offline")
        part = build({**node(option), "timeout_seconds": 60.0})
        before = set(os.listdir())
        began = time.monotonic()
        part.open("contract", "name", {"lr": 0.1}, {"inputs": {"ingest": "abc"}})
        for step in range(200):
            part.log(step, {"loss": 1.0 / (step + 1)})
        part.picture("p", tmp_path / "absent.png", "a picture that is not there", step=3)
        part.table("t", ["a", "b"], [[1, "x"], [None, 2.5], ["y", None]])
        part.summary({"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}})
        assert time.monotonic() - began < 2, "feeding must not wait for the tracker"
        part.finish()
        assert capfd.readouterr().err == ""
        assert set(os.listdir()) - before <= {".run", "home"}
        assert any((tmp_path / ".run").rglob("*contract*"))
