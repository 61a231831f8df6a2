"""The live line: on a terminal one line that goes away, elsewhere a line every tenth of the steps, and nothing for short work."""

import io

import pytest
from rich.console import Console

from pipeline.training import live
from pipeline.training.live import Live


@pytest.fixture
def hands(monkeypatch):
    class Hands:
        now = 1000.0

    monkeypatch.setattr(live.time, "monotonic", lambda: Hands.now)
    return Hands


def run(hands, *, terminal, seconds, steps=200, width=100):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, color_system=None)
    shown = Live("train", total=steps, batch_size=32, console=console)
    for step in range(1, steps + 1):
        hands.now += seconds / steps
        shown.update(step, {"loss": 1 / step, "accuracy": 0.9} if step % 10 == 0 else None)
    bar = shown.bar
    shown.close()
    return out.getvalue(), bar


def test_short_work_is_silent(hands):
    assert run(hands, terminal=False, seconds=4.0) == ("", None)
    assert run(hands, terminal=True, seconds=4.0) == ("", None)


def test_without_a_terminal_a_tenth_is_a_line(hands):
    text, bar = run(hands, terminal=False, seconds=100.0)
    lines = text.splitlines()
    assert bar is None
    assert len(lines) == 10
    assert lines[4].startswith("train: step 100 of 200, loss 0.01, accuracy 0.9, 64/s, ")
    assert lines[4].endswith("B, 50.0 s left")


def test_on_a_terminal_one_line_is_redrawn_and_taken_away(hands):
    text, bar = run(hands, terminal=True, seconds=100.0)
    assert bar is not None
    assert "loss 0.01  accuracy 0.9  64/s" in text
    drawn, _, cleared = text.partition("\x1b[?25h")
    assert drawn.count("\n") == 1
    assert cleared == "\r\x1b[1A\x1b[2K"
    assert text.count("train") <= 2 * 100 / live.REDRAW / 2 + 2  # at most twice a second


def test_a_narrow_terminal_cuts_the_line_and_does_not_fold_it(hands):
    drawn = run(hands, terminal=True, seconds=100.0, width=40)[0].partition("\x1b[?25h")[0]
    assert drawn.count("\n") == 1
    assert "…" in drawn


def test_a_resumed_training_starts_where_it_is(hands):
    out = io.StringIO()
    shown = Live("train", total=200, done=150, batch_size=32, console=Console(file=out, force_terminal=False, width=100))
    for step in range(151, 201):
        hands.now += 1.0
        shown.update(step)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [f"train: step {step} of 200" for step in (160, 180, 200)]
