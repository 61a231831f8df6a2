"""Every option of conf/embedder is held to the laws of an embedder; a new option is tested with no new test file."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.parts import build, check_arguments, declared_arguments, is_off

CONF = Path(__file__).resolve().parents[2] / "conf/embedder"
OPTIONS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("*.yaml"))}
NAMES = [name for name, node in OPTIONS.items() if not is_off(node)]


@pytest.fixture(scope="module", params=NAMES)
def part(request):
    return OPTIONS[request.param]


@pytest.fixture(scope="module")
def embedder(part):
    return build(part)


def images(channels):
    return np.random.default_rng(0).integers(0, 256, (3, 40, 48, channels), dtype=np.uint8)


def test_conf_names_every_argument(part):
    check_arguments("embedder", part)
    assert set(declared_arguments(part["_target_"])) == set(part) - {"_target_"}


def test_there_is_a_way_to_switch_it_off():
    assert OPTIONS["none"] == {"_target_": None}


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_finite_float32_and_leave_the_images_alone(embedder, channels):
    given = images(channels)
    found = embedder.features(given)
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert len(found) == 3
    assert np.isfinite(found).all()
    assert np.array_equal(given, images(channels))


def test_a_sample_does_not_depend_on_its_batch_and_a_repeat_is_equal(embedder):
    found = embedder.features(images(1))
    assert np.array_equal(found, embedder.features(images(1)))
    assert np.allclose(found[1:2], embedder.features(images(1)[1:2]), atol=1e-3)
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_the_description_is_plain(embedder):
    facts = embedder.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert {"name", "source", "license", "weights_sha256", "features"} <= set(facts)
    assert all({"from", "pool", "count"} <= set(block) for block in facts["features"])
    if facts["features"]:
        assert sum(block["count"] for block in facts["features"]) == embedder.features(images(1)).shape[1]
