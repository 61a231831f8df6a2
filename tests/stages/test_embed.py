"""embed: a matrix that numpy maps, row by row the embedder's own features."""

import json

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.core.store import write_shards
from pipeline.embedder import pixels
from pipeline.stages import embed

PIXELS = {"_target_": "pipeline.embedder.pixels.Pixels"}


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    found = [
        Sample(id=f"id{number}", pixels_HWC=rng.integers(0, 256, (4, 5, 1), dtype=np.uint8), name=f"n{number}")
        for number in range(11)
    ]
    write_shards(tmp_path / "ingest", found, shard_size=4)
    return found


def run(tmp_path, name, node, batch_size=3):
    (tmp_path / name).mkdir()
    return embed.run(
        {"embedder": node, "embed": {"batch_size": batch_size}, "threads": 1}, tmp_path / name, ingest=tmp_path / "ingest"
    )


def test_row_i_is_sample_i_whatever_the_batch(tmp_path, samples):
    assert run(tmp_path, "one", PIXELS) == "20 features of pixels for each of 11 samples"
    run(tmp_path, "two", PIXELS, batch_size=64)
    matrix = np.load(tmp_path / "one/features.npy", mmap_mode="r")
    assert isinstance(matrix, np.memmap)
    assert matrix.dtype == np.float32
    assert np.array_equal(np.rint(matrix * 255), np.stack([sample.pixels_HWC.ravel() for sample in samples]))
    assert (tmp_path / "one/ids.txt").read_text().splitlines() == [sample.id for sample in samples]
    assert (tmp_path / "one/features.npy").read_bytes() == (tmp_path / "two/features.npy").read_bytes()


def test_off_publishes_empty_valid_files(tmp_path, samples):
    run(tmp_path, "out", {"_target_": None})
    assert np.load(tmp_path / "out/features.npy").shape == (0, 0)
    assert (tmp_path / "out/ids.txt").read_text() == ""
    assert json.loads((tmp_path / "out/embedder.json").read_text()) == {"name": "none"}


def test_features_that_are_not_finite_name_the_sample(tmp_path, samples, monkeypatch):
    def features(self, pixels_BHWC):
        found = np.zeros((len(pixels_BHWC), 2), np.float32)
        found[1:, 0] = np.nan
        return found

    monkeypatch.setattr(pixels.Pixels, "features", features)
    with pytest.raises(PersonError, match="the features of n1 are not finite"):
        run(tmp_path, "out", PIXELS)
