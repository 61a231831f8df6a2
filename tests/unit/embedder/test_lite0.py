"""The embedder hands out the backbone's features, sample by sample."""

import numpy as np
import pytest
import torch
import yaml

from pipeline.backbone import lite0 as backbone
from pipeline.core.errors import PersonError
from pipeline.core.parts import build


@pytest.fixture(scope="module")
def node(project):
    return yaml.safe_load((project / "conf/embedder/lite0.yaml").read_text())


@pytest.fixture(scope="module")
def embedder(node):
    return build(node)


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)


def test_features_are_those_of_the_backbone(embedder, node):
    found = embedder.features(PIXELS)
    net = backbone.load_lite0(node["weights_sha256"])
    x_BCHW = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = backbone.pooled_features(net, x_BCHW, node["levels"], node["pool"]).numpy()
    assert found.dtype == np.float32
    assert found.shape == (3, 3504)
    assert np.allclose(found, expected, atol=1e-4)


def test_a_sample_s_features_do_not_depend_on_its_batch(embedder):
    assert np.allclose(embedder.features(PIXELS)[1], embedder.features(PIXELS[1:2])[0], atol=1e-4)


def test_the_description_names_every_feature(embedder, node):
    facts = embedder.describe()
    assert sum(block["count"] for block in facts["features"]) == embedder.features(PIXELS).shape[1]
    assert [(block["from"], block["pool"]) for block in facts["features"][:3]] == [
        ("block 2", "mean"),
        ("block 2", "max"),
        ("block 4", "mean"),
    ]
    assert facts["weights_sha256"] == node["weights_sha256"]


def test_a_level_that_does_not_exist_is_refused_before_any_weights_are_read(node):
    with pytest.raises(PersonError, match=r"levels must be ascending numbers of blocks, 0 to 6: received \[9\]"):
        build({**node, "levels": [9]})
