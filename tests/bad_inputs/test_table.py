"""The table itself: large enough, no name twice, and every row of the list of faults that concerns data stands in it."""

import re
from collections import Counter

from tests.bad_inputs.all_cases import CASES, ELSEWHERE
from tests.bad_inputs.case import REPAIR

# Rows of the list of faults that ingest, the datasets and the splits must handle; the lists end at F14, G12, I5 (tables), J9, K10, M10.
ROWS = [*(f"F{n}" for n in range(1, 15)), *(f"G{n}" for n in range(1, 13)), *(f"I{n}" for n in range(1, 6)),
        *(f"J{n}" for n in range(1, 10)), *(f"K{n}" for n in range(1, 11)), *(f"M{n}" for n in range(1, 11))]  # fmt: skip


def test_size_and_names():
    names = Counter(case.id for case in CASES)
    assert len(CASES) >= 150
    assert [name for name, count in names.items() if count > 1] == []
    assert sum(case.cli for case in CASES) >= 20
    assert all(case.expect or case.then for case in CASES)


def test_every_row_is_covered(project):
    here = {case.row for case in CASES}
    assert sorted(set(ROWS) - here - set(ELSEWHERE)) == []
    assert here & set(ELSEWHERE) == set()
    for row, (file, function) in ELSEWHERE.items():
        text = (project / file).read_text(encoding="utf-8")
        assert re.search(rf"def {function}\b", text), f"{row}: {file} has no {function}"


def test_no_expectation_would_match_anything():
    for case in CASES:
        if case.kind != REPAIR:
            assert not re.search(case.expect, "error: something went wrong: mend it"), case.id
