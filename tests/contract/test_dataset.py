"""Every option of conf/dataset is held to the laws of a dataset; a new option is tested with no new test file.

A dataset that reads a person's folder finds one here that serves a class folder and a table alike.
"""

import json
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.core.contracts import Sample
from pipeline.core.decode import Decoder, sample_id
from pipeline.core.parts import build, check_arguments, declared_arguments

CONF = Path(__file__).resolve().parents[2] / "conf/dataset"
OPTIONS = sorted(CONF.glob("*.yaml"))
DECODER = Decoder(
    height=12, width=10, channels=3, fit="stretch", min_side=4, max_pixels=10**7, sixteen_bit="reject", background=255
)
LIMIT = 120


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def part(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def source(tmp_path):
    rows = ["path,label"]
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(tmp_path / name)
        rows.append(f"{name},{'ab'[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def dataset(part, source):
    return build(part, source=source, decode=DECODER.decode)


def test_conf_names_every_argument_but_the_stage_s_own(part):
    check_arguments("dataset", part)
    assert set(declared_arguments(part["_target_"])) - {"source", "decode"} == set(part) - {"_target_"}


def test_the_card_is_plain_and_complete(dataset, source):
    card = dataset.card()
    required = {"name", "source", "license", "citation", "classes", "target"}
    assert required <= set(card) <= required | {"ignored"}
    assert str(source) not in json.dumps(card)
    assert len(set(card["classes"])) == len(card["classes"]) != 1
    if card["target"] is not None:
        assert set(card["target"]) == {"name", "unit", "low", "high"}
        assert card["target"]["low"] < card["target"]["high"]


def test_samples_agree_with_the_card(dataset):
    card = dataset.card()
    found = list(islice(dataset.samples(), LIMIT))
    assert len(found) == min(LIMIT, len(dataset))
    assert all(isinstance(entry, Sample) for entry in found)
    for entry in found:
        assert entry.pixels_HWC.shape == (12, 10, 3)
        assert entry.pixels_HWC.dtype == np.uint8
        assert entry.id == sample_id(entry.pixels_HWC)
        assert 0 < entry.weight <= 1
        assert (entry.origin, entry.parent) == ("real", "")
        assert -1 <= entry.label < len(card["classes"])
        assert (entry.label == -1) == (card["classes"] == [])
        assert (
            math.isnan(entry.target)
            if card["target"] is None
            else card["target"]["low"] <= entry.target <= card["target"]["high"]
        )
    assert [entry.order for entry in found] == sorted({entry.order for entry in found})
    assert len({entry.name for entry in found}) == len(found)


def test_two_passes_are_equal(dataset, part, source):
    again = build(part, source=source, decode=DECODER.decode)
    for one, other in zip(islice(dataset.samples(), LIMIT), islice(again.samples(), LIMIT), strict=True):
        assert np.array_equal(one.pixels_HWC, other.pixels_HWC)
        assert [one.id, one.name, one.label, one.group, one.order, one.weight] == [
            other.id, other.name, other.label, other.group, other.order, other.weight]  # fmt: skip
