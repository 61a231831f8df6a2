"""Every bad input ends in one clear line, or in the repair that is documented; the person's folder is as it was."""

import re

import pytest

from pipeline.core.errors import PersonError
from pipeline.stages import ingest
from tests.bad_inputs.all_cases import CASES
from tests.bad_inputs.case import QUARANTINE, REPAIR, STOP, picture
from tests.bad_inputs.run import NOISE, REMEDY, ingested, tree

SHEET = picture(1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The sheet of samples costs more than all the rest of a case and says nothing here; the command line draws it."""
    monkeypatch.setattr(ingest, "contact_sheet", lambda samples, card, path, **_: path.write_bytes(SHEET))


def named(*kinds):
    return [pytest.param(case, id=case.id) for case in CASES if case.kind in kinds]


def line_of(error: BaseException) -> str:
    """What the command line prints."""
    return " ".join(str(error).split())


def assert_clear(line: str) -> None:
    assert REMEDY.search(line), f"no remedy in: {line}"
    assert not NOISE.search(line), f"not for people: {line}"
    assert len(line) < 2000, f"{len(line)} characters"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", named(STOP, QUARANTINE))
def test_it_stops_with_one_clear_line(case, tmp_path):
    source = tmp_path / "photos"
    case.build(source)
    before = tree(source)
    with pytest.raises(PersonError) as caught:
        ingested(case, source, tmp_path / "out")
    line = line_of(caught.value)
    assert re.search(case.expect, line), line
    assert_clear(line)
    assert tree(source) == before


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", named(QUARANTINE))
def test_it_is_put_aside_with_its_reason_where_that_is_allowed(case, tmp_path):
    source = tmp_path / "photos"
    case.build(source)
    result = ingested(case, source, tmp_path / "out", max_bad_fraction=0.2)
    said = [f"{name}: {reason}" for name, reason in result.quarantine.items()]
    assert len(said) == 1
    assert re.search(case.expect, " ".join(said[0].split())), said
    assert result.card["quarantined"] == 1
    assert result.card["samples"] in (11, 12)  # beside twelve good ones, or one of twelve


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", named(REPAIR))
def test_it_is_repaired_as_documented(case, tmp_path):
    source = tmp_path / "photos"
    case.build(source)
    before = tree(source)
    result = ingested(case, source, tmp_path / "out")
    told = " ".join([result.warned, *(f"{name}: {reason}" for name, reason in result.quarantine.items())])
    assert re.search(case.expect, told), told
    assert case.expect or case.then is not None
    if case.then is not None:
        case.then(result)
    assert tree(source) == before
