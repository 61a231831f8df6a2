import sys

import pytest

from pipeline.core import parts
from pipeline.core.errors import PersonError

RESNET = "pipeline.model.resnet.ResNet"


@pytest.fixture
def room(tmp_path, monkeypatch):
    """An own room of parts: `pipeline.model` is looked for in a folder of this test, and nothing of it is imported."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net.py").write_text(
        "raise RuntimeError('imported')\n"
        "class Net:\n"
        "    def __init__(self, *, width: int, rate: float = 0.1, name: str | None = None, steps: list[int] = (), on: bool = True,"
        " other: 'Thing' = None): ...\n"
        "class Bare: ...\n"
    )
    monkeypatch.setattr(parts, "PACKAGE", tmp_path)
    return tmp_path


def test_arguments_are_read_without_importing_the_part(room):
    assert parts.declared_arguments("pipeline.model.net.Net")["rate"] == "float"
    assert parts.declared_arguments("pipeline.model.net.Bare") == {}


@pytest.mark.parametrize("arguments", [
    {"width": 3}, {"width": 3, "rate": 1}, {"width": 3, "rate": 0.5}, {"width": 3, "name": None}, {"width": 3, "name": "a"},
    {"width": 3, "steps": [1, 2]}, {"width": 3, "on": False}, {"width": 3, "other": {"any": "thing"}},
])  # fmt: skip
def test_fitting_arguments_pass(room, arguments):
    parts.check_arguments("model", {"_target_": "pipeline.model.net.Net", **arguments})


@pytest.mark.parametrize(("arguments", "said"), [
    ({"widht": 3}, "unknown key model.widht: did you mean 'width'?"),
    ({"width": "3"}, "model.width must be int: received '3'"),
    ({"width": 3.0}, "model.width must be int: received 3.0"),
    ({"width": True}, "model.width must be int: received True"),
    ({"width": None}, "model.width must be int: received None"),
    ({"rate": False}, "model.rate must be float: received False"),
    ({"name": 3}, "model.name must be str | None: received 3"),
    ({"steps": 3}, "model.steps must be list[int]: received 3"),
    ({"on": 1}, "model.on must be bool: received 1"),
])  # fmt: skip
def test_a_wrong_argument_is_named_with_what_was_expected(room, arguments, said):
    with pytest.raises(PersonError) as error:
        parts.check_arguments("model", {"_target_": "pipeline.model.net.Net", **arguments})
    assert said in str(error.value)


def test_a_missing_file_or_class_names_the_nearest(room):
    with pytest.raises(PersonError, match=r"no pipeline/model/nett.py; did you mean 'net'"):
        parts.source_of("pipeline.model.nett.Net")
    with pytest.raises(PersonError, match="did you mean 'Net'"):
        parts.declared_arguments("pipeline.model.net.Nett")


def test_every_target_below_a_configuration_is_found_in_order():
    config = {"a": {"_target_": "x"}, "b": [{"_target_": "y", "c": {"_target_": "z"}}, 3], "d": {"_target_": None}}
    assert list(parts.targets(config)) == ["x", "y", "z"]


def test_allowed_targets_are_classes_of_rooms_and_of_two_libraries():
    for target in (RESNET, "albumentations.HorizontalFlip", "torch.optim.AdamW", "torch.optim.lr_scheduler.OneCycleLR"):
        assert parts.check_target(target) == target
    for target in ("os.system", "albumentations.load", "torch.load", "pipeline.core.runner.Declared", "", 3, ["a"]):
        with pytest.raises(PersonError, match="_target_"):
            parts.check_target(target)


def test_a_library_class_is_built_and_nested_parts_too():
    built = parts.build({"_target_": "albumentations.Compose", "transforms": [{"_target_": "albumentations.NoOp", "p": 0.5}]}, seed=3)
    assert type(built).__name__ == "Compose"
    assert built.transforms[0].p == 0.5


def test_a_name_that_is_no_class_is_refused():
    with pytest.raises(PersonError, match="does not name a class"):
        parts.build({"_target_": "albumentations.DoesNotExist"})


def test_a_refused_target_is_never_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(PersonError):
        parts.build({"_target_": "this.Zen"})
    assert "this" not in sys.modules


def test_off_is_a_null_target():
    assert parts.is_off({"_target_": None})
    assert parts.is_off({})
    assert parts.is_off(None)
    assert not parts.is_off({"_target_": RESNET})


def test_rooms_are_the_folders_that_hold_parts(project):
    package = project / "pipeline"
    held = {path.name for path in package.iterdir() if path.is_dir() and (project / "conf" / path.name).is_dir()}
    assert held - {"study"} == set(parts.ROOMS), "conf/study holds studies of whole runs, which pipeline/study plans; no parts"
