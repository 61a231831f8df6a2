"""A gate is held to its value or to its whole interval; what the interval leaves open is said; the line has the numbers."""

import pytest

from pipeline.assurance import gates as words
from pipeline.assurance.checks import Check
from pipeline.assurance.evidence import Evidence
from pipeline.assurance.gates import Gate, stopping

WAIVER = "the customer accepts this in writing"


def gate(value, low=None, high=None, *, limit=0.5, least=True, whole=False, waiver="", name="min_balanced_accuracy"):
    evidence = None if value is None else Evidence(value, low, high, "balanced_accuracy", ())
    return Gate(name, limit, least, evidence, whole, waiver, "balanced accuracy", "gather more data", "evaluate has none")


@pytest.mark.parametrize(("one", "verdict"), [
    (gate(0.6, 0.55, 0.65), words.MET), (gate(0.6, 0.45, 0.75), words.MET_OPEN), (gate(0.4, 0.3, 0.45), words.FAILED),
    (gate(0.4, 0.3, 0.55), words.FAILED_OPEN), (gate(0.6, 0.45, 0.75, whole=True), words.FAILED_OPEN),
    (gate(0.6, 0.5, 0.75, whole=True), words.MET), (gate(0.5), words.MET), (gate(0.5, least=False), words.MET),
    (gate(0.4, 0.3, 0.45, least=False), words.MET), (gate(0.6, 0.55, 0.7, least=False), words.FAILED),
    (gate(0.45, 0.4, 0.55, least=False, whole=True), words.FAILED_OPEN), (gate(0.4, 0.3, 0.45, waiver=WAIVER), words.WAIVED),
    (gate(0.6, 0.55, 0.65, waiver=WAIVER), words.MET), (gate(None), words.MISSING), (gate(None, waiver=WAIVER), words.WAIVED),
    (gate(0.6, limit=None), words.NO_LIMIT), (gate(None, limit=None), words.NOT_MEASURED), (gate(0.4, whole=True), words.FAILED),
])  # fmt: skip
def test_the_verdict_follows_from_value_interval_and_limit(one, verdict):
    assert one.verdict == verdict
    assert one.stops == verdict.startswith("failed")


def test_what_stops_says_the_numbers_the_limit_the_remedies_and_the_other_failures():
    line = stopping([gate(0.9), gate(0.412345, 0.3, 0.45), gate(0.2, name="max_ece", limit=0.1, least=False), gate(None, name="min_certified")], [])
    assert line == (
        "gate min_balanced_accuracy: balanced accuracy is 0.412 [0.3, 0.45], the limit is at least 0.5 (also failed: max_ece 0.2 (no interval), "
        "at most 0.1; min_certified not measured, at least 0.5); gather more data, or say why it may ship all the same in  "
        "gates.waivers.min_balanced_accuracy"
    )


@pytest.mark.parametrize(("whole", "tail"), [(False, "more test samples could decide it"), (True, "gates.hold=interval asks that all of it")])
def test_an_interval_that_holds_the_limit_is_said(whole, tail):
    assert f"which lies inside the interval: {tail}" in stopping([gate(0.45, 0.4, 0.6, whole=whole)], [])


def test_a_gate_whose_number_is_missing_stops_and_says_where_it_was_sought():
    assert "was not measured (evaluate has none), the limit is at least 0.5" in stopping([gate(None)], [])


def test_nothing_stops_where_all_is_met_waived_or_not_asked():
    assert stopping([gate(0.6), gate(0.1, waiver=WAIVER), gate(0.1, limit=None), gate(None, limit=None)], [Check("c", "", (), (), "")]) == ""


def test_a_broken_check_goes_before_every_gate_and_waivers_do_not_help():
    checks = [Check("whole evidence", "says", ("a.json was changed", "b.json was changed"), (), "make them again"), Check("x", "", ("y",), (), "")]
    line = stopping([gate(0.1, waiver=WAIVER)], checks)
    assert line == "assurance, whole evidence: a.json was changed (and 1 more) (also broken: x); make them again"
