import shutil
import sys

import pytest
import yaml

from pipeline.core.config import check, compose
from pipeline.core.errors import PersonError


@pytest.fixture
def conf(tmp_path, project):
    """A copy of conf/ that a test may spoil."""
    return shutil.copytree(project / "conf", tmp_path / "conf")


def test_the_default_composes_to_plain_values(conf):
    config = compose(conf, experiment="solar_cells", overrides=[])
    assert config["dataset"]["_target_"] == "pipeline.dataset.elpv.Elpv"
    assert yaml.safe_load(yaml.safe_dump(config)) == config


def test_a_key_of_an_option_that_another_override_chooses_may_be_null_there(conf):
    config = compose(conf, experiment="digits", overrides=["model=torchvision", "model.side=64", "model.weights=a.safetensors"])
    assert (config["model"]["side"], config["model"]["weights"]) == (64, "a.safetensors")
    with pytest.raises(PersonError, match=r"unknown key model.wieghts: "):
        compose(conf, experiment="digits", overrides=["model=torchvision", "model.wieghts=a"])


def test_an_experiment_and_overrides_win_in_that_order(conf):
    assert compose(conf, experiment="digits", overrides=[])["train"]["max_steps"] == 60
    config = compose(conf, experiment="digits", overrides=["train.max_steps=7", "attack=[fgsm]", "seed=3"])
    assert (config["train"]["max_steps"], list(config["attack"]), config["seed"]) == (7, ["fgsm"], 3)


def test_a_key_of_an_option_chosen_by_another_override_is_known(conf):
    config = compose(conf, experiment="solar_cells", overrides=["model=resnet", "model.width=12"])
    assert config["model"]["width"] == 12


def test_a_key_of_one_of_several_options_chosen_by_another_override_is_known(conf):
    """As `smallest` prints what it found."""
    words = ["shrinker=[prune]", "compressor=fp16", "shrinker.prune.share=0.7"]
    config = compose(conf, experiment="digits", overrides=words)
    assert (list(config["shrinker"]), config["shrinker"]["prune"]["share"]) == (["prune"], 0.7)
    with pytest.raises(PersonError, match=r"unknown key shrinker.prune: "):
        compose(conf, experiment="digits", overrides=["shrinker=[prune]", "shrinker.prune.shrae=0.7"])
    with pytest.raises(PersonError, match=r"^the configuration does not compose: .*shrinker"):
        compose(conf, experiment="digits", overrides=["shrinker.prune.share=0.7"])


def test_composing_twice_gives_the_same_and_leaves_no_state(conf):
    first = compose(conf, experiment="digits", overrides=["model=mlp"])
    compose(conf, experiment="solar_cells", overrides=[])
    assert compose(conf, experiment="digits", overrides=["model=mlp"]) == first


@pytest.mark.parametrize(("override", "said"), [
    ("modle=resnet", "unknown key modle: did you mean 'model'?"),
    ("model=resnett", "unknown option model=resnett: did you mean 'resnet'?"),
    ("attack=[fgsm,pdg]", "unknown option attack=pdg: did you mean 'pgd'?"),
    ("train.max_stps=3", "unknown key train.max_stps: did you mean 'max_steps'?"),
    ("trian.lr=3", "unknown key trian: did you mean 'train'?"),
    ("attack.pgd.stps=3", "unknown key attack.pgd.stps: did you mean 'steps'?"),
    ("+train.max_stps=3", "unknown key train.max_stps: did you mean 'max_steps'?"),
    ("+model.widht=3", "unknown key model.widht"),
    ("train.max_steps=many", "train.max_steps: 'many' is not of type 'integer'"),
    ("train.max_steps=2.5", "train.max_steps: 2.5 is not of type 'integer'"),
    ("train.max_steps=0", "train.max_steps: 0 is less than the minimum of 1"),
    ("train.lr=-1", "train.lr: -1 is less than or equal to the minimum of 0"),
    ("train.lr=nan", "train.lr must be a finite number: received nan"),
    ("train.lr=inf", "train.lr must be a finite number"),
    ("ingest.channels=2", "ingest.channels: 2 is not one of [1, 3]"),
    ("ingest.fit=strech", "ingest.fit: 'strech' is not one of"),
    ("ingest.max_bad_fraction=1.5", "ingest.max_bad_fraction: 1.5 is greater than the maximum of 1"),
    ("seed=-1", "seed: -1 is less than the minimum of 0"),
    ("seed=true", "seed: True is not of type 'integer'"),
    ("train.class_weights=1", "train.class_weights: 1 is not of type 'boolean'"),
    ("model=resnet", None),
    ("train.lr", "is not of the form key=value"),
    ("train lr=3", "is not of the form key=value"),
    ("=3", "is not of the form key=value"),
    ("train.lr=${seed}", "holds an interpolation"),
    ("train.lr=${oc.env:HOME}", "holds an interpolation"),
    ("hydra.run.dir=/", "Hydra's own keys have no effect"),
    ("train.lr=[1", "the configuration does not compose"),
    ("train.lr=???", "train.lr has no value"),
])  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(conf, override, said):
    if said is None:
        compose(conf, experiment="digits", overrides=[override])
        return
    with pytest.raises(PersonError) as error:
        compose(conf, experiment="digits", overrides=[override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_argument_of_a_part_has_the_type_that_its_constructor_declares(conf):
    with pytest.raises(PersonError, match=r"model\.width must be int: received 'wide'"):
        compose(conf, experiment="digits", overrides=["model.width=wide"])
    with pytest.raises(PersonError, match=r"model\.width must be int: received True"):
        compose(conf, experiment="digits", overrides=["model.width=true"])


def test_an_unknown_experiment_names_the_nearest(conf):
    with pytest.raises(PersonError, match="unknown option experiment=digit: did you mean 'digits'"):
        compose(conf, experiment="digit", overrides=[])


def test_a_mistake_in_a_file_of_conf_is_named_too(conf):
    (conf / "experiment" / "mine.yaml").write_text("# @package _global_\ntrain: {max_stps: 3}\n")
    with pytest.raises(PersonError, match="max_stps"):
        compose(conf, experiment="mine", overrides=[])
    (conf / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: resnett\n")
    with pytest.raises(PersonError, match="resnett"):
        compose(conf, experiment="mine", overrides=[])


def test_a_broken_yaml_file_is_one_line(conf):
    (conf / "experiment" / "mine.yaml").write_text("train: [1\n")
    with pytest.raises(PersonError) as error:
        compose(conf, experiment="mine", overrides=[])
    assert "\n" not in str(error.value)


def test_numbers_in_exponent_form_are_numbers(conf):
    assert compose(conf, experiment="digits", overrides=["train.lr=3e-4"])["train"]["lr"] == 3e-4
    assert isinstance(compose(conf, experiment="digits", overrides=[])["export"]["tolerance"], float)


# Dangerous targets: those of Hydra's own tests and advisories, those that its block list let pass, and aliases of both.
HOSTILE = [
    "os.system", "os.popen", "os.execv", "os.remove", "os.rmdir", "os.kill", "os.putenv", "posix.system", "nt.system", "pty.spawn",
    "subprocess.Popen", "subprocess.run", "subprocess.call", "subprocess.check_output", "subprocess.getoutput",
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__", "builtins.getattr",
    "importlib.import_module", "runpy.run_path", "code.InteractiveInterpreter", "shutil.rmtree", "shutil.move",
    "pickle.loads", "pickle.load", "marshal.loads", "joblib.load", "torch.load", "numpy.load", "yaml.unsafe_load", "dill.loads",
    "distutils.spawn.spawn", "torch.utils.collect_env.run", "timeit.timeit", "cProfile.run", "pdb.run", "webbrowser.open",
    "ctypes.CDLL", "socket.socket", "urllib.request.urlopen", "multiprocessing.Process", "asyncio.create_subprocess_shell",
    "logging.os.system", "logging.config.os.system", "pathlib.Path", "tempfile.os.system", "torch.optim.os.system",
    "hydra.utils.instantiate", "hydra.utils.get_method", "omegaconf.OmegaConf.register_new_resolver", "functools.partial",
    "albumentations.core.serialization.load", "albumentations.load", "albumentations.os.system", "torch.optim.lr_scheduler.types",
    "torch.optim.lr_scheduler.os.System", "torch.optim.Adam.__init__",
    "pipeline.core.runner.run_stage", "pipeline.core.artifact.publish", "pipeline.core.parts.build", "pipeline.core.runner.Declared",
    "pipeline.stages.train.run", "pipeline.training.module.Module", "pipeline.command.add.main", "pipeline.__main__.main",
    "pipeline.model.resnet.torch.load", "pipeline.model.resnet.os.system", "pipeline.model.resnet.build", "pipeline.model..resnet.ResNet",
    "pipeline.model.resnet.ResNet.load", "pipeline.model.resnet", "pipeline.nowhere.x.X", "pipeline.model.resnet.ResNet\n",
    " pipeline.model.resnet.ResNet", "../pipeline.model.resnet.ResNet", "pipeline/model/resnet.ResNet", "", "X",
]  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_a_hostile_target_is_refused(target, project):
    with pytest.raises(PersonError, match="_target_"):
        check({"model": {"_target_": target, "command": "id"}}, project / "conf" / "schema.yaml")


@pytest.mark.parametrize("target", ["canary.Run", "canary.run", "pipeline.model.canary.Canary", "albumentations.canary.Run"])
def test_a_target_is_never_imported_by_composing(conf, target, tmp_path, monkeypatch):
    (tmp_path / "canary.py").write_text(f"open({str(tmp_path / 'sang')!r}, 'w').close()\nclass Run: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (conf / "model" / "hostile.yaml").write_text(yaml.safe_dump({"_target_": target}))
    with pytest.raises(PersonError, match="_target_"):
        compose(conf, experiment="solar_cells", overrides=["model=hostile"])
    assert not (tmp_path / "sang").exists()
    assert "canary" not in sys.modules


@pytest.mark.parametrize("place", ["inside an argument", "in a list", "in a list of lists", "beside the rooms"])
def test_a_hostile_target_is_found_wherever_it_hides(conf, place):
    bad = {"_target_": "os.system", "command": "id"}
    path = conf / "transform" / "hostile.yaml"
    target = {"_target_": "pipeline.transform.policy.Policy", "transforms": []}
    if place == "inside an argument":
        target["transforms"] = bad
    elif place == "in a list":
        target["transforms"] = [{"_target_": "albumentations.HorizontalFlip"}, bad]
    elif place == "in a list of lists":
        target["transforms"] = [[[bad]]]
    else:
        (conf / "experiment" / "mine.yaml").write_text(yaml.safe_dump({"surprise": bad}))
        with pytest.raises(PersonError, match=r"os\.system"):
            compose(conf, experiment="mine", overrides=[])
        return
    path.write_text(yaml.safe_dump(target))
    with pytest.raises(PersonError, match=r"os\.system"):
        compose(conf, experiment="digits", overrides=["transform=hostile"])


def test_a_target_that_is_not_text_is_refused(conf):
    with pytest.raises(PersonError, match="_target_ must be the dotted name"):
        compose(conf, experiment="digits", overrides=["model._target_=[os.system]"])


@pytest.mark.parametrize("node", [{"size": 3}, {"image": {"size": [4, 4]}}, {"nfiles": {"low": 1}}, {"parts": [{"size": 1}]}])
def test_a_key_that_the_run_cache_of_dvc_does_not_see_is_refused(conf, node):
    with pytest.raises(PersonError, match=r"DVC's run-cache does not see .* image_"):
        check({"report": {}, "mine": node}, conf / "schema.yaml")
    check({"mine": {"image_size": 3, "sizes": [1]}}, conf / "schema.yaml")


def test_dvc_does_not_see_them_still():
    from dvc.stage.cache import _get_cache_hash

    one, other, seen = ({"cmd": "x", "params": {"c.yaml": {"a": value}}, "outs": []} for value in ({"size": 1}, {"size": 2}, {"sizes": 2}))
    assert _get_cache_hash(one, key=True) == _get_cache_hash(other, key=True), "mended in DVC: take the guard of pipeline.core.config away"
    assert _get_cache_hash(seen, key=True) != _get_cache_hash(other, key=True)
