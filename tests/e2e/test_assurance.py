"""On a whole run every requirement finds its evidence: no stage renamed a number that a gate reads."""

import csv
import json

import pytest

from pipeline.assurance.requirements import REQUIREMENTS
from pipeline.core import artifact

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_every_requirement_is_measured_and_leads_to_the_bytes_on_disk(built):
    with (built.root / "data/assure/matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["gate"] for row in rows if row["value"]} == {requirement.gate for requirement in REQUIREMENTS}
    for row in rows:
        if row["file"]:
            assert row["sha256"] == artifact.sha256(built.root / "data" / row["artifact"] / row["file"])
            assert row["artifact_digest"] == artifact.digest(built.root / "data" / row["artifact"])


def test_every_check_had_something_to_check_and_holds(built):
    checks = json.loads((built.root / "data/assure/checks.json").read_text())
    assert {one["verdict"] for one in checks} == {"holds"}
    assert len(checks) == 6
