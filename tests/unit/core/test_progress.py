import io

import pytest

from pipeline.core import progress


def test_every_item_passes_and_a_short_loop_says_nothing(capsys):
    assert list(progress.track(iter("abc"), what="read", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_long_loop_without_a_terminal_says_where_it_is(monkeypatch, capsys):
    clock = iter(range(0, 1000, 15))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.track(range(4), what="read", total=4)) == [0, 1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "read: 2 of 4, about 30 s left"
    assert len(lines) == 2


def test_a_long_loop_on_a_terminal_draws_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    assert list(progress.track(range(3), what="read", total=3)) == [0, 1, 2]
    assert "read" in screen.getvalue()


def test_an_error_inside_the_loop_passes_through():
    def broken():
        yield 1
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        list(progress.track(broken(), what="read", total=2))
