import subprocess
import sys

import numpy as np
import pytest

from pipeline.core.contracts import Sample
from pipeline.core.store import open_samples, write_shards


def some(count, *, height=4, width=6, channels=3):
    rng = np.random.default_rng(3)
    return [
        Sample(id=f"id{i:03d}", pixels_HWC=rng.integers(0, 256, (height, width, channels), dtype=np.uint8), label=i % 3, target=i / 7,
               weight=0.5, group=f"g{i // 2}", order=i, name=f"{i} ü.png", origin="augmented", parent="p")
        for i in range(count)
    ]  # fmt: skip


def test_samples_come_back_equal_over_several_shards(tmp_path):
    samples = some(11)
    assert write_shards(tmp_path, iter(samples), shard_size=4) == 11
    assert len(list((tmp_path / "shards").iterdir())) == 3
    stored = open_samples(tmp_path)
    assert len(stored) == 11
    assert stored.ids == [sample.id for sample in samples]
    for before, after in zip(samples, stored, strict=True):
        assert np.array_equal(before.pixels_HWC, after.pixels_HWC)
        assert (before.label, before.weight, before.group, before.order, before.name, before.origin, before.parent) == (
            after.label, after.weight, after.group, after.order, after.name, after.origin, after.parent)  # fmt: skip
        assert after.target == np.float32(before.target)


def test_pixels_are_a_read_only_view(tmp_path):
    write_shards(tmp_path, some(2))
    with pytest.raises(ValueError, match="read-only"):
        open_samples(tmp_path).pixels(0)[0, 0, 0] = 1


def test_positions_follow_the_ids_asked_for(tmp_path):
    write_shards(tmp_path, some(9), shard_size=2)
    stored = open_samples(tmp_path)
    assert stored.positions(["id007", "id000", "id002"]).tolist() == [7, 0, 2]
    with pytest.raises(KeyError):
        stored.positions(["nobody"])


def test_no_sample_is_one_empty_valid_shard(tmp_path):
    assert write_shards(tmp_path, []) == 0
    stored = open_samples(tmp_path)
    assert len(stored) == 0
    assert list(stored) == []


def test_equal_samples_make_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_shards(tmp_path / name, some(5), shard_size=2)
    for path in sorted((tmp_path / "a" / "shards").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / "shards" / path.name).read_bytes()


def test_any_arrow_reader_opens_a_shard_without_this_package(tmp_path):
    write_shards(tmp_path, some(3))
    code = (
        "import sys, pyarrow as pa; t = pa.ipc.open_file(pa.memory_map(sys.argv[1])).read_all();"
        "r = t.to_pylist()[1]; assert len(r['pixels']) == r['height'] * r['width'] * r['channels'] == 72;"
        "assert 'torch' not in sys.modules and 'pipeline' not in sys.modules; print(r['id'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "shards/00000.arrow")], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "id001", done.stderr
