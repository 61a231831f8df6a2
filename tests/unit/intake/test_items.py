"""What is known of a file: its stamp, its key, and a list that is believed only whole. tests/stages/test_ingest.py has the runs."""

import os
from functools import partial

import numpy as np
import pytest
import xxhash

from pipeline.core import shards
from pipeline.core.record import Entry, OnDisk, Sample
from pipeline.core.shards import ShardWriter
from pipeline.core.store import open_shards, write_shards
from pipeline.images.decoding import Refused, Taken
from pipeline.images.geometry import Decoded
from pipeline.intake import items as module
from pipeline.intake import tally as tally_module
from pipeline.intake.items import Earlier, Items, checksum

PIXELS = np.zeros((2, 2, 1), np.uint8)


@pytest.fixture
def path(tmp_path, monkeypatch):
    real = module.time.time_ns
    monkeypatch.setattr(module.time, "time_ns", lambda: real() + 10**10)
    (tmp_path / "items").mkdir()
    (tmp_path / "a.png").write_bytes(b"content")
    return tmp_path / "a.png"


def items(path, settings="s"):
    return Items(path.parent / "items", settings, largest=1000)


def learn(path, entry, outcome):
    found = items(path)
    found.remember(entry, found.look(entry), outcome)
    write_shards(path.parent / "out", [Sample(id="x", pixels_HWC=PIXELS)])
    found.save(path.parent / "out")


def test_a_known_file_is_not_read(path):
    entry = Entry("a", path.read_bytes)
    learn(path, entry, Taken("x", Decoded(PIXELS, None, ((0.0, 0.0, 1.0, 1.0, 2),), ((1.0, 1.0),), (40, 30))))
    again = items(path)
    look = again.look(entry)
    assert look.outcome == Earlier(0, ((0.0, 0.0, 1.0, 1.0, 2),), ((1.0, 1.0),), (40, 30))
    assert look.length == len(b"content")
    assert (again.counts.read, again.counts.known) == (0, 1)


def test_a_file_on_disk_is_known_by_its_path(path):
    learn(path, Entry("a", OnDisk(str(path))), Refused("why"))
    again = items(path)
    assert again.look(Entry("a", OnDisk(str(path)))).outcome == Refused("why")
    assert (again.counts.read, again.counts.known) == (0, 1)


def test_what_is_counted_while_writing_is_what_reading_counts(path, monkeypatch):
    """Batches of three, some of them cut by the end of a shard; flat images among them."""
    monkeypatch.setattr(shards, "BATCH_BYTES", 3 * 75)
    monkeypatch.setattr(tally_module, "BATCH_BYTES", 3 * 75)
    rng = np.random.default_rng(0)
    images = [
        np.full((5, 5, 3), n, np.uint8) if n % 7 == 0 else rng.integers(0, 256, (5, 5, 3), dtype=np.uint8) for n in range(50)
    ]
    found = items(path)
    with ShardWriter(path.parent / "out", shard_size=8, watch=found.watch) as writer:
        for number, image in enumerate(images):
            writer.add(Sample(id=f"x{number}", pixels_HWC=image))
    monkeypatch.setattr(module, "tally", None)  # nothing is read again
    total = found.tally(path.parent / "out")
    assert (total.samples, total.flat) == (50, 8)
    for name in writer.names:
        read = tally_module.tally(open_shards(path.parent / "out", path.parent / "out/shards", [name]))
        crc, counted = found._shards[name]
        assert (crc, counted.plain()) == (checksum(path.parent / "out/shards" / name), read.plain())


def test_content_is_known_under_another_name_and_from_memory(path):
    learn(path, Entry("a", path.read_bytes), Refused("why"))
    for entry in (Entry("b", path.read_bytes), Entry("c", partial(bytes, b"content"))):
        assert items(path).look(entry).outcome == Refused("why")


@pytest.mark.parametrize(
    "change",
    [
        {"crop": (0.0, 0.0, 1.0, 1.0)},
        {"boxes": ((0.0, 0.0, 1.0, 1.0, 0),)},
        {"keypoints": ((0.0, 0.0),)},
        {"read_mask": lambda: b""},
    ],
)
def test_whatever_else_decides_the_outcome_is_part_of_the_key(path, change):
    learn(path, Entry("a", path.read_bytes), Refused("why"))
    assert items(path).look(Entry("a", path.read_bytes, **change)).outcome is None
    assert items(path, "other settings").look(Entry("a", path.read_bytes)).outcome is None


def test_labels_and_names_are_no_part_of_the_key(path):
    learn(path, Entry("a", path.read_bytes), Refused("why"))
    assert items(path).look(Entry("a", path.read_bytes, label=3, group="g", given="test", weight=0.5)).outcome == Refused("why")


def test_a_failure_that_the_machine_may_have_caused_is_not_kept(path):
    learn(path, Entry("a", path.read_bytes), Refused("too slow", lasting=False))
    assert items(path).look(Entry("a", path.read_bytes)).outcome is None


def test_a_file_that_is_replaced_is_read_again(path):
    entry = Entry("a", path.read_bytes)
    learn(path, entry, Refused("why"))
    before = path.stat()
    path.unlink()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = items(path)
    assert again.look(entry).outcome is None
    assert again.counts.read == 1


def test_a_file_too_large_to_be_an_image_is_not_read(path):
    path.write_bytes(bytes(1001))
    found = items(path)
    assert found.look(Entry("a", path.read_bytes)).outcome.reason.startswith("too large: 1001 bytes")
    assert found.counts.read == 0


@pytest.mark.parametrize("size", [0, 1, (8 << 20) + 5])
def test_the_checksum_is_that_of_the_whole_file(tmp_path, size):
    data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    (tmp_path / "x").write_bytes(data)
    assert checksum(tmp_path / "x") == xxhash.xxh3_64_intdigest(data)
