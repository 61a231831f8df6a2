"""What one run of a study notes before its jobs begin."""

import pytest

from pipeline.study import open as opening
from tests import scale_study


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name, value in scale_study.surroundings(tmp_path).items():
        monkeypatch.setenv(name, value)
    root = scale_study.project(tmp_path / "toy")
    scale_study.write(root, matrix={"experiments": ["toy"]})
    yield root
    opening.HELD.close()


def test_the_source_of_the_plan_is_noted_for_its_jobs(root):
    opened = opening.open_study(root, "m", main=True, dry=False)
    assert opened.plan.facts["source"] == opened.book.plan().facts["source"] == "raw"
