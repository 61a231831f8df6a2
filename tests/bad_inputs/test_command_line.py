"""Bad inputs through `python -m pipeline ingest` in a toy workspace: exit code 1, one line, soon, and nothing left behind."""

import re
import resource

import pytest

from tests.bad_inputs.all_cases import CASES
from tests.bad_inputs.run import LIMIT, NOISE, REMEDY, command, tree, workspace

BY_COMMAND = [pytest.param(case, id=case.id) for case in CASES if case.cli]
MEMORY = 1 << 30  # bytes that the command may take


@pytest.mark.multi
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", BY_COMMAND)
def test_one_line_and_nothing_left(case, tmp_path):
    root = tmp_path / "project"
    source = workspace(case, root)
    before, data = tree(source), tree(root / "data")
    said = command(root, "ingest")
    lines = said.errors.strip().splitlines()
    assert said.code == 1, said.errors
    assert len(lines) == 1, said.errors
    assert lines[0].startswith("error: ")
    assert re.search(case.expect, lines[0]), lines[0]
    assert REMEDY.search(lines[0])
    assert not NOISE.search(lines[0])
    assert said.output == ""
    assert tree(source) == before
    assert tree(root / "data") == data
    left = [name for name in tree(root / ".run") if not re.fullmatch(r"\.run(/ingest(/lock|/tmp|/items.*)?)?", name)]
    assert left == []
    assert {path.name for path in tmp_path.iterdir()} <= {"project", "stdout", "stderr", "elsewhere"}
    assert said.cpu_seconds < LIMIT
    # Linux counts the memory of the process that forked as the peak of what it then executes, and a test process may be large.
    assert said.peak_bytes < max(MEMORY, 1.1 * 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def test_a_good_folder_passes_by_the_same_way(tmp_path):
    """The check itself is checked: without a fault the same workspace publishes."""
    case = next(case for case in CASES if case.id == "F13 made in another order")
    root = tmp_path / "project"
    workspace(case, root)
    said = command(root, "ingest")
    assert said.code == 0, said.errors
    assert (root / "data/ingest/manifest.json").is_file()


@pytest.mark.timeout(120)
def test_data_inside_the_output_folder(tmp_path):
    """K10: ingest would read what it writes."""
    case = next(case for case in CASES if case.id == "F13 made in another order")
    root = tmp_path / "project"
    source = workspace(case, root)
    inside = root / "data/ingest/photos"
    inside.parent.mkdir()
    source.rename(inside)
    params = root / "params.yaml"
    params.write_text(params.read_text().replace(str(source), "data/ingest/photos"))
    before = tree(inside)
    said = command(root, "ingest")
    assert said.code == 1
    assert re.search(r"error: .*source.* data/ingest.*: (move|set|keep)", said.errors), said.errors
    assert tree(inside) == before
