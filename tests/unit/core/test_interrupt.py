"""Signals that ask a stage to end: at once where nothing is held, noted where something is."""

import os
import signal
import sys
import time
import weakref

import pytest

from pipeline.core import interrupt

NAMES = ("SIGTERM", "SIGUSR1", "SIGUSR2")


@pytest.fixture(autouse=True)
def listening():
    before, hook = {number: signal.getsignal(number) for number in (*interrupt.SIGNALS, signal.SIGINT)}, sys.unraisablehook
    interrupt.listen()
    yield
    interrupt.listen()
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_ends_at_once_where_nothing_is_held(name):
    with pytest.raises(interrupt.Interrupted, match=f"interrupted by {name}: nothing was published; the same command continues") as found:
        signal.raise_signal(getattr(signal, name))
    assert found.value.code == 75


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_noted_where_something_is_held(name):
    with interrupt.held():
        signal.raise_signal(getattr(signal, name))
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.asked() == name
    with pytest.raises(interrupt.Interrupted, match=f"by {name}: the checkpoint of step 5 is kept, nothing was published"):
        interrupt.check("the checkpoint of step 5 is kept")


def test_nothing_is_raised_where_nothing_came():
    interrupt.check()
    assert interrupt.asked() == ""


def test_what_another_process_was_asked_counts_here():
    interrupt.agree("SIGUSR1")
    interrupt.agree("SIGTERM")
    assert interrupt.asked() == "SIGUSR1"


def test_control_c_is_noted_once_and_then_ends_at_once():
    with interrupt.held():
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(interrupt.Interrupted) as found:
        interrupt.check()
    assert found.value.code == 130


def test_control_c_where_nothing_is_held_is_what_it_always_was():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_no_exception_of_a_library_swallows_it():
    assert not issubclass(interrupt.Interrupted, Exception)


def test_a_forked_child_dies_of_the_signal_as_before():
    child = os.fork()
    if child == 0:
        signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


def signalled_in_a_callback(number):
    """The signal comes while a weak reference calls back, where Python drops every exception."""

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert reference() is None
    time.sleep(10 * interrupt.SOON)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGUSR1, interrupt.Interrupted), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_whose_exception_python_dropped_comes_again(number, kind):
    with pytest.raises(kind):
        signalled_in_a_callback(number)


def test_without_that_it_would_be_lost(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda found: None)
    signalled_in_a_callback(signal.SIGUSR1)
    assert interrupt.asked() == "SIGUSR1"


def test_what_else_python_drops_is_said_as_before(capsys):
    class Thing:
        def __del__(self):
            raise ValueError("of a thing")

    thing = Thing()
    del thing
    assert "ValueError: of a thing" in capsys.readouterr().err
    assert interrupt.asked() == ""
