"""Limits, the smallest that keeps them, and the front, on made-up measurements."""

from dataclasses import replace

import pytest

from pipeline.compression.candidates import Candidate, candidates
from pipeline.compression.choice import Result, front, missed, smallest
from pipeline.compression.measuring import At, Measured, summed
from pipeline.compression.page import COLUMNS, Searched, rows, write_page

LIMITS = {"max_drop": 0.01, "hold": "value", "max_ms": None, "max_memory_mb": None, "max_size_mb": None, "batch": 1}


def result(share, *, size, value=0.9, change=0.0, width=0.0, ms=1.0, memory=10e6, compressor="int8"):
    at = At(ms=ms, ms_high=1.1 * ms, faster=(0.9 / ms, 1 / ms, 1.1 / ms), memory=int(memory), cpu_ms=ms, work=ms)
    interval = {"value": change, "low": change - width, "high": change + width}
    metric = {"value": value, "low": value - 0.05, "high": value + 0.05}
    return Result(Candidate(share, 1.0, compressor), measured=Measured(size, {1: at, 32: at}), metric=metric, change=interval)


def original():
    made = result(0.0, size=1000)
    return Result(None, measured=made.measured, metric=made.metric, change={"value": 0.0, "low": 0.0, "high": 0.0})


def test_the_smallest_is_the_smallest_of_those_that_keep_every_limit():
    found = [result(0.1, size=500), result(0.3, size=300, change=-0.005), result(0.5, size=100, change=-0.02)]
    assert smallest(found, LIMITS, higher=True) is found[1]
    assert smallest(found, {**LIMITS, "max_drop": 0.0}, higher=True) is found[0]
    assert smallest(found, {**LIMITS, "max_size_mb": 0.00005}, higher=True) is None
    assert smallest([], LIMITS, higher=True) is None


def test_where_lower_is_better_a_rise_is_the_loss():
    worse = result(0.1, size=10, change=0.02)
    assert missed(worse, LIMITS, higher=False) == ["loses 0.0200"]
    assert missed(worse, LIMITS, higher=True) == []


def test_an_interval_that_reaches_beyond_the_limit_is_not_kept_where_all_of_it_must():
    wide = result(0.1, size=10, change=-0.005, width=0.01)
    assert missed(wide, LIMITS, higher=True) == []
    assert missed(wide, {**LIMITS, "hold": "interval"}, higher=True) == ["loses 0.0150"]
    assert missed(result(0.1, size=10, change=0.005, width=0.01), {**LIMITS, "hold": "interval"}, higher=False) == ["loses 0.0150"]


def test_times_and_memory_are_held_at_the_batch_that_is_asked():
    slow = result(0.1, size=10, ms=2.0, memory=50e6)
    assert missed(slow, {**LIMITS, "max_ms": 2.1}, higher=True) == ["2.2 ms"], "three of four calls, not the median"
    assert missed(slow, {**LIMITS, "max_ms": 2.3, "max_memory_mb": 49}, higher=True) == ["50 MB of memory"]
    assert missed(slow, {**LIMITS, "max_ms": 2.3, "max_memory_mb": 50}, higher=True) == []


def test_one_that_could_not_be_made_or_measured_is_never_chosen():
    broken = Result(Candidate(0.5, 1.0, "int8"), why="no layer is worth it")
    blind = result(0.1, size=1)
    blind = Result(blind.candidate, measured=blind.measured, metric={}, change={})
    assert missed(broken, LIMITS, higher=True) == ["no layer is worth it"]
    assert smallest([broken, blind], LIMITS, higher=True) is None


def test_the_front_holds_whom_nobody_beats():
    good, small, slow = result(0.1, size=500), result(0.3, size=100, value=0.8), result(0.5, size=500, ms=1.2)
    same = result(0.6, size=500, ms=1.04)
    assert front([good, small, slow, same], higher=True) == {good.name, small.name, same.name}
    assert front([good, result(0.7, size=500, value=0.95)], higher=False) == {good.name}


def test_the_grid_is_ordered_by_what_is_shared_and_says_itself_in_overrides():
    grid = candidates({"prune": [0.5, 0.0], "project": [0.95, 1.0], "compressor": ["fp16", "int8"]})
    assert [one.name for one in grid] == [
        "fp16", "int8", "project 0.95 + fp16", "project 0.95 + int8", "prune 0.5 + fp16", "prune 0.5 + int8",
        "prune 0.5 + project 0.95 + fp16", "prune 0.5 + project 0.95 + int8",
    ]  # fmt: skip
    assert Candidate(0.0, 0.999999, "int8").overrides[-1] == "shrinker.project.variance=0.999999"
    assert grid[0].overrides == ["shrinker=[none]", "compressor=fp16"]
    assert grid[-1].overrides == [
        "shrinker=[prune,project]", "compressor=int8", "shrinker.prune.share=0.5", "shrinker.project.variance=0.95"
    ]  # fmt: skip


def test_medians_and_quartiles_of_calls():
    calls = [(0.001 * number, 0.002, 0.004, 0.008) for number in (1, 2, 4)]
    at = summed(calls, size=4, memory=7)
    assert (at.ms, at.cpu_ms, at.memory) == (pytest.approx(2), pytest.approx(0.5), 7)
    assert at.ms_high == pytest.approx(3)
    assert at.faster[1] == pytest.approx(2)
    assert at.work == pytest.approx(0.25)


def test_the_page_names_the_choice_and_what_the_others_miss(tmp_path):
    found = [original(), result(0.3, size=300, change=-0.002), result(0.5, size=100, change=-0.5),
             Result(Candidate(0.7, 1.0, "int8"), why="it <breaks>")]  # fmt: skip
    chosen = smallest(found[1:], LIMITS, higher=True)
    searched = Searched(found, chosen, LIMITS, "AUROC", True, {"candidates": "3"}, lambda one: ["name='two words'", *one.overrides])
    table = rows(searched)
    assert [row["candidate"] for row in table] == ["original", "prune 0.5 + int8", "prune 0.3 + int8", "prune 0.7 + int8"]
    assert set(table[0]) == set(COLUMNS)
    assert table[2]["overrides"] == """ 'name='"'"'two words'"'"'' 'shrinker=[prune]' compressor=int8 shrinker.prune.share=0.3""".strip()
    assert searched.command() == f"python -m pipeline exp {table[2]['overrides']}"
    text = write_page(searched, tmp_path).read_text(encoding="utf-8")
    assert "<b>prune 0.3 + int8</b>" in text
    assert "shrinker.prune.share=0.3" in text
    assert "loses 0.5000" in text
    assert "it &lt;breaks&gt;" in text
    assert "data:image/png;base64," in text
    assert (tmp_path / "pareto.csv").read_text(encoding="utf-8").count("\n") == 5
    assert "No candidate keeps that" in write_page(replace(searched, chosen=None), tmp_path).read_text(encoding="utf-8")
