"""ELPV: labels, weights and groups against the package's own table."""

import importlib.util
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.core.errors import MissingPackageError
from pipeline.dataset import elpv
from pipeline.dataset.elpv import Elpv, runs

ARGUMENTS = {"source": Path("none"), "positive_above": 0.5, "uncertain_weight": 0.5, "module_cells": 60}
installed = pytest.mark.skipif(importlib.util.find_spec(elpv.PACKAGE) is None, reason="elpv-dataset is not installed")


@installed
def test_counts_labels_weights_and_groups_of_the_published_set():
    found = list(Elpv(**ARGUMENTS).entries())
    assert len(found) == len(Elpv(**ARGUMENTS)) == 2624
    assert Counter(round(entry.target, 2) for entry in found) == {0.0: 1508, 0.33: 295, 0.67: 106, 1.0: 715}
    assert sum(entry.label for entry in found) == 106 + 715
    assert all((entry.weight == 0.5) == (0 < entry.target < 1) for entry in found)
    assert [entry.name for entry in found] == [f"cell{number:04d}.png" for number in range(1, 2625)]
    groups = [entry.group for entry in found]
    assert max(Counter(groups).values()) == 60
    assert 40 <= len(set(groups)) <= 48  # 44 modules in truth
    changes = sum(one != other for one, other in pairwise(groups))
    assert changes == len(set(groups)) - 1  # contiguous
    assert sum(group.startswith("mono") for group in groups) == 1074


@installed
def test_bytes_are_those_of_the_file():
    first = next(iter(Elpv(**ARGUMENTS).entries()))
    path = Path(importlib.util.find_spec(elpv.PACKAGE).origin).parent / "data" / "images" / first.name
    assert first.read() == path.read_bytes()
    assert first.read()[:4] == b"\x89PNG"


def test_runs_end_at_the_length_and_at_a_change_of_kind():
    assert runs(["m", "m", "m", "p", "p", "m"], 2) == ["m-000", "m-000", "m-001", "p-002", "p-002", "m-003"]
    assert runs([], 3) == []


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(elpv, "PACKAGE", "elpv_dataset_that_is_absent")
    with pytest.raises(MissingPackageError, match=r"pip install elpv-dataset  \(or: pip install -e '.\[datasets\]'\)"):
        list(Elpv(**ARGUMENTS).entries())


@pytest.mark.parametrize("change", [{"positive_above": 1.0}, {"uncertain_weight": 0.0}, {"module_cells": 0}])
def test_ranges(change):
    with pytest.raises(ValueError, match="received"):
        Elpv(**{**ARGUMENTS, **change})
