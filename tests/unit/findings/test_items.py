"""What is kept of samples moves to where they stand now, and only new ones are looked at."""

import numpy as np
import pytest

from pipeline.core.record import Sample
from pipeline.core.store import open_samples, write_shards
from pipeline.findings.items import gather

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 8, 1), dtype=np.uint8)


def stored(folder, numbers):
    write_shards(folder, [Sample(id=f"x{number}", pixels_HWC=IMAGES[number]) for number in numbers])
    return open_samples(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 2], [9, 0, 1, 2]),  # a new one before the first
        ([0, 1, 2, 3], [0, 8, 1, 3, 9]),
        ([0, 1, 2, 3], [3, 2, 1, 0]),
        ([0, 1, 2, 3], [8, 9, 10]),
        ([5], [4, 5, 6, 7, 8]),
    ],
)
def test_rows_are_those_of_a_run_that_knows_nothing(tmp_path, before, after):
    gather(stored(tmp_path / "before", before), tmp_path / "kept", {})
    samples = stored(tmp_path / "after", after)
    found = gather(samples, tmp_path / "kept", {})
    fresh = gather(samples, tmp_path / "fresh", {})
    assert found.computed == len(set(after) - set(before))
    assert fresh.computed == len(after)
    assert np.array_equal(found.small_N, fresh.small_N)
    assert np.array_equal(found.thumb_NTT, fresh.thumb_NTT)
    assert {name: values.tolist() for name, values in found.measures.items()} == {
        name: values.tolist() for name, values in fresh.measures.items()
    }


def test_other_code_knows_nothing(tmp_path):
    samples = stored(tmp_path / "samples", range(4))
    gather(samples, tmp_path / "kept", {"modules": "one"})
    assert gather(samples, tmp_path / "kept", {"modules": "two"}).computed == 4
