"""Gates stop with one line; a waiver must say why."""

import pytest

from pipeline.core.errors import PersonError
from pipeline.findings.gates import Gate, check_waivers, stopping


def gate(value, *, limit=0.1, least=False, waiver="", name="near_duplicates", worst=()):
    return Gate(name, value, limit, least, waiver, "the share of copies", "remove the copies", worst)


def test_a_limit_is_itself_allowed():
    assert stopping([gate(0.1), gate(0.1, least=True)]) == ""


@pytest.mark.parametrize(("value", "least", "words"), [(0.2, False, "at most 0.1"), (0.05, True, "at least 0.1")])
def test_beyond_the_limit_one_line_says_all(value, least, words):
    line = stopping([gate(value, least=least), gate(9, name="constant")])
    assert line.startswith(f"quality gate near_duplicates: the share of copies is {value}, the limit is {words}")
    assert "also failed: constant" in line
    assert line.endswith("remove the copies, or say why it may stay in  quality.waivers.near_duplicates")


def test_waived_is_let_through():
    assert stopping([gate(0.2, waiver="these copies are wanted")]) == ""


def test_the_worst_offenders_are_named_and_the_rest_counted():
    assert "; the worst: a.png; b.png; remove the copies" in stopping([gate(0.2, worst=("a.png", "b.png"))])
    line = stopping([gate(0.2, worst=tuple(f"{number}.png" for number in range(12)))])
    assert "; the worst: 0.png; 1.png; 2.png; 3.png; 4.png; and 7 more; remove" in line


def test_waivers_are_held_to_gates_and_reasons():
    check_waivers({"constant": "", "conflicts": "two people labelled each image"}, ["constant", "conflicts"])
    with pytest.raises(PersonError, match="must say why"):
        check_waivers({"constant": "ok"}, ["constant"])
    with pytest.raises(PersonError, match="did you mean 'constant'"):
        check_waivers({"constants": "a good reason it is"}, ["constant"])
