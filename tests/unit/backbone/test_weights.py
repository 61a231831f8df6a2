"""Files of weights: checked by hash before they are opened, and every tensor in its place."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.backbone import weights
from pipeline.core.artifact import sha256
from pipeline.core.errors import PersonError


def network(classes=3, channels=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes))


HEAD = {"2.weight", "2.bias"}


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(network().state_dict(), path)
    return path


def load(made, path, **named):
    return weights.load_pretrained(made, weights=str(path), sha256=named.pop("sha256", None), head=HEAD, **named)


def test_the_origin_names_file_and_hash_and_no_path(file):
    assert load(network(), file) == {"from": "file", "file": "net.safetensors", "sha256": sha256(file)}


def test_the_head_may_differ_and_then_stays_random(file):
    made = network(classes=5)
    before = made[2].weight.clone()
    load(made, file, sha256=sha256(file).upper())
    given, _ = weights.read_weights(file, None)
    assert torch.equal(made[0].weight, given["0.weight"])
    assert torch.equal(made[2].weight, before)


def test_the_head_of_a_network_is_found_by_its_number_of_outputs():
    assert weights.head_of(network, 3) == HEAD


def test_a_model_of_this_project_serves_as_a_start(tmp_path, file):
    given, _ = weights.read_weights(file, None)
    wrapped = {**{f"network.{name}": tensor for name, tensor in given.items()}, "mean": torch.zeros(1), "std": torch.ones(1)}
    save_file(wrapped, tmp_path / "model.safetensors")
    made = network()
    load(made, tmp_path / "model.safetensors")
    assert torch.equal(made[0].weight, given["0.weight"])


def test_another_hash_is_refused_before_the_file_is_opened(file, monkeypatch):
    monkeypatch.setattr(weights, "load_file", lambda *_: pytest.fail("the file was opened"))
    with pytest.raises(PersonError, match=f"net.safetensors has SHA-256 {sha256(file)}, expected {'0' * 64}"):
        load(network(), file, sha256="0" * 64)


def test_a_pickle_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    torch.save(network().state_dict(), path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the pickle was opened"))
    with pytest.raises(PersonError, match=r"net.pth is not a .safetensors file, .* models pull NAME"):
        load(network(), path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x10" + b"\0" * 7 + b"{}"])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(PersonError, match=r"net.safetensors cannot be read as safetensors"):
        load(network(), tmp_path / "net.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PersonError, match=r"there is no file .*net.safetensors"):
        load(network(), tmp_path / "net.safetensors")


def test_mismatches_are_listed_with_what_was_expected(file):
    with pytest.raises(PersonError) as error:
        load(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(4, 3), nn.Linear(3, 3)), file)
    said = str(error.value)
    assert "0.weight expected 8x3x3x3 received 4x3x3x3" in said
    assert "and 3 more" in said


def test_tensors_that_the_network_lacks_are_an_error_unless_they_are_expected(file):
    made = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(PersonError, match=r"1.weight expected nothing received 4"):
        load(made, file)
    load(made, file, ignore=("1.",))


def test_only_a_colour_convolution_is_summed():
    given = {"weight": torch.rand(4, 2, 3, 3), "bias": torch.rand(4)}
    with pytest.raises(PersonError, match="weight expected 4x1x3x3 received 4x2x3x3"):
        weights.fit_weights(nn.Conv2d(1, 4, 3), given, head=())


def test_a_network_that_nobody_publishes_has_no_hub():
    with pytest.raises(PersonError, match=r"model.weights=hub: nobody publishes"):
        weights.load_pretrained(network(), weights="hub", sha256=None, head=())
