"""The order of samples is a function of the step alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.stream import BatchStream, StepStream


def stream(**changed):
    chosen = {"count": 10, "batch_size": 4, "max_steps": 9, "start_step": 0, "seed": 0, "rank": 0, "world": 1} | changed
    return StepStream(chosen.pop("count"), **chosen)


@settings(deadline=None)
@given(start=st.integers(0, 9), count=st.integers(1, 23), seed=st.integers(0, 5))
def test_a_resumed_stream_is_the_tail_of_the_whole_one(start, count, seed):
    whole = list(stream(count=count, seed=seed))
    assert list(stream(count=count, seed=seed, start_step=start)) == whole[start * 4 :]


def test_every_epoch_holds_each_sample_once_and_epochs_differ():
    keys = list(stream(count=12, batch_size=4, max_steps=9))
    for epoch in range(3):
        assert Counter(index for e, index in keys if e == epoch) == Counter(range(12))
    assert [i for e, i in keys if e == 0] != [i for e, i in keys if e == 1]


@pytest.mark.parametrize("start", [0, 3])
def test_ranks_share_each_global_batch(start):
    one = list(stream(start_step=start))
    ranks = [list(stream(start_step=start, rank=rank, world=2)) for rank in range(2)]
    for step in range(9 - start):
        whole = one[step * 4 : step * 4 + 4]
        assert sorted(ranks[0][step * 2 : step * 2 + 2] + ranks[1][step * 2 : step * 2 + 2]) == sorted(whole)


def test_the_length_is_that_of_the_whole_stream():
    assert len(stream(start_step=5)) == len(stream()) == 36
    assert len(stream(world=2)) == 18


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of the number of processes, 3"):
        stream(world=3)


@settings(deadline=None)
@given(start=st.integers(0, 9), count=st.integers(1, 23), rank=st.integers(0, 1), world=st.integers(1, 2))
def test_batches_are_the_items_in_their_order(start, count, rank, world):
    items = stream(count=count, start_step=start, rank=rank % world, world=world)
    size, keys = 4 // world, list(items)
    assert len(keys) == (9 - start) * size
    expected = [keys[place : place + size] for place in range(0, len(keys), size)]
    found = [list(zip(epoch_B.tolist(), index_B.tolist(), strict=True)) for epoch_B, index_B in BatchStream(items)]
    assert found == expected
    assert len(BatchStream(items)) == 9
