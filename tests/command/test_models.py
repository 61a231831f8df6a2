"""The command that lists networks and pulls their weights; what is downloaded here is a file of the test."""

import pytest
import torch
from safetensors.torch import save_file

from pipeline.backbone import hub
from pipeline.command import models
from pipeline.core.artifact import sha256
from pipeline.core.errors import PersonError


def test_the_options_are_listed_with_what_they_are(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert models.main(["list"]) == 0
    said = capsys.readouterr().out
    for name in ("vit", "alexnet", "vgg16", "vgg19", "googlenet", "squeezenet", "torchvision", "timm", "lite0"):
        assert f"model={name} " in said


def test_networks_of_both_libraries_are_found_by_a_pattern(capsys):
    assert models.main(["list", "vgg16*"]) == 0
    said = capsys.readouterr().out
    assert "torchvision/vgg16_bn" in said
    assert "timm/vgg16 " in said
    assert "tv_in1k" in said
    with pytest.raises(PersonError, match="no network of torchvision or timm fits 'vgg160'"):
        models.main(["list", "vgg160"])


@pytest.mark.parametrize(("name", "fetch"), [("torchvision/squeezenet1_1", "torchvision_file"), ("timm/resnet18", "timm_file")])
def test_pull_copies_the_file_and_says_how_conf_names_it(tmp_path, monkeypatch, capsys, name, fetch):
    save_file({"a": torch.zeros(3)}, tmp_path / "cached.safetensors")
    monkeypatch.setattr(hub, fetch, lambda _: tmp_path / "cached.safetensors")
    assert models.main(["pull", name, "--out", str(tmp_path / "weights")]) == 0
    target = tmp_path / "weights" / f"{name.split('/')[1]}.safetensors"
    said = capsys.readouterr().out
    assert f"model={name.split('/')[0]} model.name={name.split('/')[1]} model.weights={target} model.weights_sha256={sha256(target)}" in said


@pytest.mark.parametrize(("name", "line"), [
    ("vgg16", "expected torchvision/NAME or timm/NAME"),
    ("torchvison/vgg16", "did you mean 'torchvision'"),
    ("torchvision/googelnet", "torchvision has no classification network 'googelnet': did you mean 'googlenet'"),
    ("timm/resnet81", "timm has no network 'resnet81': did you mean 'resnet18'"),
])  # fmt: skip
def test_an_unknown_network_is_named_before_anything_is_fetched(name, line):
    with pytest.raises(PersonError, match=line):
        models.main(["pull", name])
