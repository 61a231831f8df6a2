"""Columns by buffers against pyarrow's own conversions."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import columns
from pipeline.core.columns import column, lengths_of, values_of

CASES = [
    (["", "ä", "a" * 300, "日本"], pa.string()),
    ([b"", b"\x00\xff", b"mask"], pa.binary()),
    ([1, -2, 2**31 - 1], pa.int32()),
    ([0, 2**40], pa.int64()),
    ([0.1, float("inf"), -0.0], pa.float32()),
    ([[], [1.5, 2.0], [3.0]], pa.list_(pa.float32())),
]


@pytest.mark.parametrize(("values", "kind"), [*CASES, *[([], kind) for _, kind in CASES]], ids=str)
def test_a_column_is_that_of_pyarrow(values, kind):
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, type=kind))


@pytest.mark.parametrize("kind", [pa.string(), pa.int32(), pa.float32()], ids=str)
def test_values_are_those_of_pyarrow_over_chunks_and_slices(kind):
    text = pa.types.is_string(kind)
    values = ["b", "a", "b", "ä"] if text else [3, 1, 2, 5]
    chunks = pa.chunked_array([pa.array(values, kind)[1:], pa.array([], kind), pa.array(values, kind)], type=kind)
    found = values_of(chunks)
    np.testing.assert_array_equal(found, chunks.to_numpy())
    assert found.dtype == chunks.to_numpy().dtype


def test_equal_text_is_one_object():
    found = values_of(pa.chunked_array([["group a"], ["group a"]]))
    assert found[0] is found[1]


@pytest.mark.slow  # 2 GB of it
def test_more_text_than_one_chunk_can_hold_stays_in_several():
    zeros = pa.py_buffer(np.zeros(3 << 29, np.uint8))  # 1.5 GiB that are never touched
    ends = pa.py_buffer(np.array([0, 3 << 29], np.int32))
    long = pa.Array.from_buffers(pa.string(), 1, [None, ends, zeros])
    assert [len(chunk) for chunk in columns._joined(pa.chunked_array([long, long]))] == [1, 1]


def test_lengths_are_those_of_the_lists():
    rows = [[1.0], [], [2.0, 3.0]]
    chunks = pa.chunked_array([pa.array(rows, pa.list_(pa.float32()))[1:], pa.array([], pa.list_(pa.float32()))])
    assert lengths_of(chunks).tolist() == [0, 2]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit into int32"):
        column([2**31], pa.int32())
    with pytest.raises(ValueError, match="received bool"):
        column([True], pa.bool_())
    with pytest.raises(ValueError, match="1 missing"):
        values_of(pa.chunked_array([pa.array([1, None])]))


def test_pandas_stays_unimported():
    code = """
import sys
import pyarrow as pa
from pipeline.core.columns import column, lengths_of, values_of
values_of(pa.chunked_array([column(["a"], pa.string())]))
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
