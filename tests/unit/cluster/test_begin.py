"""What a run of Snakemake is refused before anything is submitted."""

import os

import pytest

from pipeline.cluster import begin
from pipeline.core.errors import PersonError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # `begin` puts a folder before it
    yield tmp_path
    while begin.HELD:
        begin.HELD.pop().close()


def test_a_study_is_refused_where_jobs_see_another_folder(folder):
    with pytest.raises(PersonError, match=r"a study runs on this machine or on Slurm: .* leave out this profile"):
        begin.begin({"study": "m", "workspace": "/workspace"}, main=True)
    assert begin.begin({"study": "m"}, main=True) == folder
    assert begin.begin({"workspace": "/workspace"}, main=True) == folder
