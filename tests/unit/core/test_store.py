"""The store: what is written comes back, shards follow the content, and any Arrow reader opens them."""

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import shard_files, shard_rows, shards, store
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.core.shards import Kept, ShardWriter, is_border
from pipeline.core.store import open_samples, open_shards, shard_names, write_shards


def some(count, *, height=4, width=6, channels=3, first=0):
    rng = np.random.default_rng(3 + first)
    return [
        Sample(id=f"id{first + i:04d}", pixels_HWC=rng.integers(0, 256, (height, width, channels), dtype=np.uint8), label=i % 3,
               target=i / 7, weight=0.5, group=f"g{i // 2}", order=i, name=f"{i} ü.png", origin="augmented", parent="p",
               given=("train", "")[i % 2], source_bytes=5_000_000_000 + i, source_height=30 + i, source_width=40, mask_HW=rng.integers(0, 4, (height, width), dtype=np.uint8) if i % 3 == 0 else None,
               boxes=((0.5, 1.0, 3.25, 4.0, 2), (0.0, 0.0, 1.0, 1.0, 0))[: i % 3], keypoints=((1.5, 2.5), (-1.0, -1.0))[: i % 3])
        for i in range(count)
    ]  # fmt: skip


SOURCE = ("source_bytes", "source_height", "source_width")
FACTS = ("id", "name", "label", "weight", "group", "order", "origin", "parent", "given", *SOURCE, "boxes", "keypoints")


@pytest.fixture(params=["mapped", "read"])
def way(request, monkeypatch):
    if request.param == "read":
        monkeypatch.setattr(shard_files, "MAPPED", 0)
        monkeypatch.setattr(shard_files, "OPEN", 2)
    return request.param


def test_samples_come_back_equal_over_several_shards(tmp_path, way):
    samples = some(40)
    assert write_shards(tmp_path, iter(samples), shard_size=4) == 40
    assert len(list((tmp_path / "shards").iterdir())) == len(shard_names(tmp_path)) > 3
    stored = open_samples(tmp_path)
    assert stored.files.mapped == (way == "mapped")
    assert stored.ids == [sample.id for sample in samples]
    for before, after in zip(samples, stored, strict=True):
        assert np.array_equal(before.pixels_HWC, after.pixels_HWC)
        assert (before.mask_HW is None) == (after.mask_HW is None)
        assert before.mask_HW is None or np.array_equal(before.mask_HW, after.mask_HW)
        assert [getattr(before, name) for name in FACTS] == [getattr(after, name) for name in FACTS]
        assert after.target == np.float32(before.target)
        assert after.pixels_HWC.dtype == np.uint8


def test_a_batch_is_the_images_in_the_order_asked_for(tmp_path, way):
    samples = some(30)
    write_shards(tmp_path, samples, shard_size=4)
    places = [29, 0, 7, 7, 13]
    found = open_samples(tmp_path).batch(places)
    assert np.array_equal(found, np.stack([samples[place].pixels_HWC for place in places]))
    found[0] = 0  # a copy, which may be written


def test_a_batch_of_images_of_two_sizes_is_refused(tmp_path):
    write_shards(tmp_path, [*some(1), *some(1, height=5, first=9)])
    with pytest.raises(AssertionError, match="several sizes"):
        open_samples(tmp_path).batch([0, 1])


def test_pixels_are_read_only(tmp_path, way):
    write_shards(tmp_path, some(2))
    with pytest.raises(ValueError, match="read-only"):
        open_samples(tmp_path).pixels(0)[0, 0, 0] = 1


def test_only_the_ids_asked_for_can_be_read(tmp_path):
    write_shards(tmp_path, some(9), shard_size=2)
    stored = open_samples(tmp_path).only(["id0003", "id0000"])
    assert len(stored) == 9
    assert stored.pixels(0).shape == (4, 6, 3)
    assert stored.mask(3) is not None
    for read in (stored.pixels, stored.mask, stored.sample, lambda place: stored.batch([0, place])):
        with pytest.raises(AssertionError, match="id0004"):
            read(4)
    with pytest.raises(AssertionError, match="id0000"):
        stored.only(["id0004", "id0003"]).pixels(0)
    with pytest.raises(KeyError):
        stored.only(["nobody"])


def test_another_process_gets_the_store_without_its_pixels(tmp_path):
    write_shards(tmp_path, some(9, height=200, width=200), shard_size=2)
    sent = pickle.dumps(open_samples(tmp_path).only(["id0003"]))
    assert len(sent) < 2000
    assert pickle.loads(sent).pixels(3).shape == (200, 200, 3)
    with pytest.raises(AssertionError):
        pickle.loads(sent).pixels(4)


def test_positions_follow_the_ids_asked_for(tmp_path):
    write_shards(tmp_path, some(9), shard_size=2)
    stored = open_samples(tmp_path)
    assert stored.positions(["id0007", "id0000", "id0002"]).tolist() == [7, 0, 2]
    with pytest.raises(KeyError):
        stored.positions(["nobody"])


def test_no_sample_is_one_empty_valid_shard(tmp_path):
    assert write_shards(tmp_path, []) == 0
    stored = open_samples(tmp_path)
    assert len(stored) == 0
    assert list(stored) == []
    assert stored.columns["order"].tolist() == []


def test_an_artifact_without_a_list_of_shards_says_what_to_do(tmp_path):
    with pytest.raises(PersonError, match="dvc repro"):
        open_samples(tmp_path)


def test_equal_samples_make_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_shards(tmp_path / name, some(50), shard_size=8)
    assert shard_names(tmp_path / "a") == shard_names(tmp_path / "b")
    for name in shard_names(tmp_path / "a"):
        assert (tmp_path / "a/shards" / name).read_bytes() == (tmp_path / "b/shards" / name).read_bytes()


@pytest.mark.parametrize(
    "change", [{"label": 7}, {"given": "test"}, {"name": "x"}, {"id": "other"}, {"boxes": ()}, {"mask_HW": None}]
)
def test_a_changed_row_changes_the_name_of_its_shard_and_of_no_other(tmp_path, change):
    samples = some(60)
    write_shards(tmp_path / "a", samples, shard_size=8)
    place = 32 if "boxes" in change else 33
    samples[place] = replace(samples[place], **change)
    write_shards(tmp_path / "b", samples, shard_size=8)
    before, after = shard_names(tmp_path / "a"), shard_names(tmp_path / "b")
    assert len(set(before)) == len(before) > 4
    assert len(set(after) - set(before)) in (1, 2)  # two, where the row stood at a border


def test_targets_for_which_json_has_no_word_give_names_of_their_own(tmp_path):
    (sample,) = some(1)
    names = set()
    for number, target in enumerate((math.nan, math.inf, -math.inf, 0.0)):
        write_shards(tmp_path / str(number), [replace(sample, target=target)])
        names |= set(shard_names(tmp_path / str(number)))
    assert len(names) == 4


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_insertion_a_deletion_or_a_change_rewrites_one_shard(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    samples = some(200, height=1, width=1, channels=1)
    place = data.draw(st.integers(0, 199))
    new = some(1, height=1, width=1, channels=1, first=data.draw(st.integers(300, 9000)))
    size = 16
    write_shards(folder / "a", samples, shard_size=size)
    changed = data.draw(st.sampled_from(["insert", "delete", "change"]))
    after = [*samples[:place], *([] if changed == "delete" else new), *samples[place + (changed != "insert") :]]
    write_shards(folder / "b", after, shard_size=size)
    written = set(shard_names(folder / "b")) - set(shard_names(folder / "a"))
    border = is_border(new[0].id, size) or is_border(samples[place].id, size)
    assert len(written) <= (2 if border else 1)
    assert open_samples(folder / "b").ids == [sample.id for sample in after]


def test_a_shard_is_no_longer_than_its_bound_even_without_a_border(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "is_border", lambda *_: False)
    write_shards(tmp_path, some(100), shard_size=4)
    assert len(shard_names(tmp_path)) == 4  # of 32, 32, 32 and 4


def test_the_target_count_is_a_power_of_two_of_the_bytes_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 72 * 20)
    with ShardWriter(tmp_path) as writer:
        writer.add(some(1)[0])
        assert writer._target == 16


def test_kept_rows_give_the_same_bytes_as_fresh_ones_and_equal_shards_are_linked(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BATCH_BYTES", 72 * 3)
    samples = some(90)
    write_shards(tmp_path / "old", samples, shard_size=8)
    old = open_samples(tmp_path / "old")
    files = {name: tmp_path / "old/shards" / name for name in shard_names(tmp_path / "old")}
    changed = [*samples[:40], *some(1, first=5000), *samples[41:]]
    write_shards(tmp_path / "fresh", changed, shard_size=8)

    def rows():
        for place, sample in enumerate(changed):
            blank = np.broadcast_to(np.uint8(0), sample.pixels_HWC.shape)
            yield sample if place == 40 else Kept(replace(sample, pixels_HWC=blank, mask_HW=None), old, place)

    with ShardWriter(tmp_path / "new", shard_size=8, kept=files) as writer:
        for row in rows():
            writer.add(row)
    assert shard_names(tmp_path / "new") == shard_names(tmp_path / "fresh")
    assert writer.linked >= len(writer.names) - 2
    for name in writer.names:
        assert (tmp_path / "new/shards" / name).read_bytes() == (tmp_path / "fresh/shards" / name).read_bytes()
    assert sum((tmp_path / "new/shards" / name).stat().st_nlink == 2 for name in writer.names) == writer.linked


def test_runs_of_images_are_copied_in_order_whatever_file_they_lie_in(tmp_path, way):
    samples = some(40)
    write_shards(tmp_path, samples, shard_size=4)
    stored = open_samples(tmp_path)
    for first, last in ((0, 40), (3, 4), (11, 29)):
        copied = np.zeros((last - first, 72), np.uint8)
        stored.copy(first, last, copied.reshape(-1))
        assert np.array_equal(copied, [sample.pixels_HWC.reshape(-1) for sample in samples[first:last]])
    with pytest.raises(AssertionError, match="id0004"):
        stored.only(["id0003"]).copy(3, 5, np.zeros(144, np.uint8))


class Seen:
    """A watch that keeps everything."""

    def __init__(self):
        self.images, self.shards, self.open = [], {}, []

    def pixels(self, images_BHWC):
        self.open.append(images_BHWC.copy())

    def shard(self, name, checksum):
        self.shards[name] = checksum
        self.images += [image for batch in self.open for image in batch]
        self.open = []


def test_a_watch_sees_every_image_that_is_written_and_the_checksum_of_each_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BATCH_BYTES", 72 * 3)
    seen, samples = Seen(), some(60)
    with ShardWriter(tmp_path, shard_size=8, watch=seen) as writer:
        for sample in samples:
            writer.add(sample)
    assert np.array_equal(seen.images, [sample.pixels_HWC for sample in samples])
    assert list(seen.shards) == writer.names
    assert seen.shards == {name: xxhash.xxh3_64_intdigest((tmp_path / "shards" / name).read_bytes()) for name in writer.names}
    assert all(
        np.array_equal(kept.pixels_HWC, sample.pixels_HWC) for kept, sample in zip(open_samples(tmp_path), samples, strict=True)
    )


def test_a_failed_writer_leaves_no_list_of_shards(tmp_path):
    def broken():
        yield some(1)[0]
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        write_shards(tmp_path, broken())
    assert not (tmp_path / "shards.json").exists()


def test_shards_can_be_opened_from_another_folder(tmp_path):
    write_shards(tmp_path, some(20), shard_size=4)
    assert open_shards(tmp_path, tmp_path / "shards", shard_names(tmp_path)[:1]).ids[0] == "id0000"


def test_any_arrow_reader_opens_a_shard_without_this_package(tmp_path):
    write_shards(tmp_path, some(4))
    code = (
        "import json, sys, pyarrow as pa; path = sys.argv[1] + '/shards/' + json.load(open(sys.argv[1] + '/shards.json'))[0];"
        "t = pa.ipc.open_file(pa.memory_map(path)).read_all();"
        "r = t.to_pylist()[3]; assert len(r['pixels']) == r['height'] * r['width'] * r['channels'] == 72;"
        "assert t.schema.metadata[b'kind'] == b'image' and t.schema.metadata[b'dtype'] == b'uint8';"
        "assert len(r['mask']) == 24 and r['given'] == '' and t.to_pylist()[2]['boxes'][4] == 2.0;"
        "assert 'torch' not in sys.modules and 'pipeline' not in sys.modules; print(r['id'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "id0003", done.stderr


def test_the_list_of_shards_is_plain_json_in_order(tmp_path):
    write_shards(tmp_path, some(60), shard_size=8)
    names = json.loads((tmp_path / "shards.json").read_text())
    assert [row for name in names for row in open_shards(tmp_path, tmp_path / "shards", [name]).ids] == open_samples(tmp_path).ids


def test_shards_of_an_older_version_are_refused_in_one_line(tmp_path, monkeypatch):
    write_shards(tmp_path, some(4))
    for name in ("SCHEMA", "ROWS_SCHEMA"):
        monkeypatch.setattr(shard_rows, name, getattr(shard_rows, name).append(store.pa.field("new", store.pa.int8())))
    with pytest.raises(PersonError, match=r"older version: run  dvc repro"):
        open_samples(tmp_path)


def facts_of(samples):
    return {name: column.tolist() for name, column in samples.columns.items()}, {
        name: place.tolist() for name, place in samples.places.items()
    }


def test_rows_of_all_shards_say_what_the_shards_say(tmp_path):
    write_shards(tmp_path, some(40), shard_size=4)
    by_rows, names = open_samples(tmp_path), shard_names(tmp_path)
    (tmp_path / shard_rows.ROWS).rename(tmp_path / "away.arrow")
    by_shards = open_samples(tmp_path)
    assert repr(facts_of(by_rows)) == repr(facts_of(by_shards))
    assert len(names) > 4
    (tmp_path / "away.arrow").rename(tmp_path / shard_rows.ROWS)
    backwards = open_shards(tmp_path, tmp_path / "shards", names[::-1], order=names)
    assert [sample.id for sample in backwards] == [sample.id for name in names[::-1] for sample in
                                                   open_shards(tmp_path, tmp_path / "shards", [name])]  # fmt: skip


def test_linked_shards_have_the_rows_of_the_store_that_they_come_from(tmp_path, monkeypatch):
    write_shards(tmp_path / "old", some(40), shard_size=4)
    old = open_samples(tmp_path / "old")
    kept = {name: tmp_path / "old/shards" / name for name in shard_names(tmp_path / "old")}
    opened = []
    real = shards.rows_of_shard
    monkeypatch.setattr(shards, "rows_of_shard", lambda path: opened.append(path) or real(path))
    write_shards(tmp_path / "new", (Kept(one, old, place) for place, one in enumerate(some(40))), shard_size=4, kept=kept)
    assert not opened
    assert (tmp_path / "new" / shard_rows.ROWS).read_bytes() == (tmp_path / "old" / shard_rows.ROWS).read_bytes()


def test_rows_that_do_not_belong_to_the_shards_are_not_used(tmp_path):
    write_shards(tmp_path / "a", some(40), shard_size=4)
    write_shards(tmp_path / "b", some(3))
    (tmp_path / "b" / shard_rows.ROWS).replace(tmp_path / "a" / shard_rows.ROWS)
    assert len(open_samples(tmp_path / "a")) == 40
