"""dvc.yaml, the stages' signatures, conf/, the schema and the Snakefile say one thing, or a test says which of them differs."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from pipeline.core.config import Composer
from pipeline.core.dag import COMPOSED, read_stages
from pipeline.core.fingerprint import closure
from pipeline.core.parts import ROOMS, declared_arguments, source_of, targets

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
STAGES = read_stages(ROOT)
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(f"{path.parent.name}/{path.stem}" for room in ROOMS for path in (CONF / room).glob("*.yaml"))
ASKED = ("plant",)  # rooms that no stage reads: a command composes one of their options
LISTED = ("baseline", "attack", "explainer", "detector", "verifier")  # rooms of which several parts are chosen at once
composer = lru_cache(maxsize=None)(lambda experiment: Composer(CONF, experiment=experiment))
HEAVY = ("torch", "torchvision", "timm", "pytorch_lightning", "lightning", "torchmetrics")


def compose(experiment, *overrides):
    return composer(experiment)(overrides)


def tree(name):
    return ast.parse((ROOT / "pipeline" / "stages" / f"{name}.py").read_text())


def run_of(name):
    return next(node for node in tree(name).body if isinstance(node, ast.FunctionDef) and node.name == "run")


def option(name):
    """One option of a room as Hydra reads it: with the options that its own defaults name, and without a package line."""
    loaded = yaml.safe_load((CONF / f"{name}.yaml").read_text()) or {}
    config = {}
    for entry in loaded.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            config |= option(f"{Path(name).parent}/{entry}")
    return config | loaded


# --- dvc.yaml and the stages


def test_every_stage_has_one_module_and_every_module_one_stage():
    modules = {path.stem for path in (ROOT / "pipeline" / "stages").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_the_signature_takes_what_dvc_yaml_hands_out(name):
    arguments = run_of(name).args
    assert [arg.arg for arg in arguments.args] == ["cfg", "out"]
    keywords = {arg.arg for arg in arguments.kwonlyargs}
    if arguments.kwarg is None:  # report takes whatever artifacts there are
        assert keywords - {"scratch", "items"} == set(STAGES[name].inputs)
    assert run_of(name).returns is not None


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_one_public_function(name):
    public = [node.name for node in tree(name).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert "run" in public


def read_keys(nodes, variable="cfg"):
    """Constant keys that code reads from the configuration: cfg["key"] and cfg.get("key")."""
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == variable:
                if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                    yield node.slice.value
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == variable
                and isinstance(node.args[0], ast.Constant)
            ):
                yield node.args[0].value


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_no_key_that_it_does_not_declare(name):
    declared = {key.split(".")[0] for key in STAGES[name].keys} | set(STAGES[name].params)
    assert set(read_keys(tree(name).body)) <= declared


@pytest.mark.parametrize("name", [name for name in STAGES if name != "compose"])
def test_a_stage_declares_no_key_that_nothing_reads(name):
    """Over-declaring is honest but wasteful: the stage would run again for nothing."""
    modules, _ = closure(ROOT / "pipeline", [f"pipeline.stages.{name}"])
    trees = [ast.parse(path.read_text()) for module in modules if (path := ROOT / (module.replace(".", "/") + ".py")).is_file()]
    used = set(read_keys(trees)) | {"seed", "threads"}  # these two are read by the runner for every stage
    declared = {key for key in STAGES[name].keys if not key.startswith("code.")}
    assert declared <= used, f"{name} declares {declared - used} and reads none of it"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_publishes_one_directory_of_its_own_name(name):
    block = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]
    assert block["outs"] == [f"data/{name}"]
    assert block["cmd"] == f"python -m pipeline {name}"
    assert block["desc"]


@pytest.mark.parametrize("name", [name for name in STAGES if name != "compose"])
def test_a_stage_depends_on_its_own_code_and_on_nothing_that_comes_later(name):
    assert f"code.{name}" in STAGES[name].keys
    assert not [key for key in STAGES[name].keys if key.startswith("code.") and key != f"code.{name}"]
    order = list(STAGES)
    assert all(order.index(before) < order.index(name) for before in STAGES[name].upstream(STAGES))


def test_only_source_is_a_template_and_topology_is_no_parameter():
    text = (ROOT / "dvc.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", "\n".join(line for line in text.splitlines() if not line.startswith("#")))) == {"source"}
    config = compose("digits")
    assert not {"devices", "nodes", "workers", "num_workers", "accelerator", "gpus"} & set(json.dumps(config).replace('"', " ").split())


def test_metrics_and_plots_of_dvc_yaml_lie_in_artifacts_of_stages():
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    paths = list(declared["metrics"])
    for plot in declared["plots"]:
        for settings in plot.values():
            paths += list(settings["y"])
    for path in paths:
        assert Path(path).parts[0] == "data"
        assert Path(path).parts[1] in STAGES


# --- conf/ and the stages


def test_every_declared_key_is_one_of_the_composed_configuration_and_the_other_way_round():
    config = compose("digits")
    declared = {key for stage in STAGES.values() for key in stage.keys if not key.startswith("code.")}
    commands = {path.stem for path in (ROOT / "pipeline" / "command").glob("*.py")}
    of_commands = set(config) - declared
    assert of_commands <= commands, "what no stage reads is the key of a command of that name"
    assert declared | of_commands == set(config)


def test_every_number_of_config_and_train_has_a_range_in_the_schema():
    schema = yaml.safe_load((CONF / "schema.yaml").read_text())["properties"]
    for name, value in compose("solar_cells").items():
        if name not in ROOMS:
            assert name in schema, f"{name} has no range in conf/schema.yaml"
            if isinstance(value, dict):
                assert set(value) <= set(schema[name]["properties"])
                assert schema[name]["additionalProperties"] is False


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_experiment_composes(experiment, task):
    compose(experiment, f"task={task}")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_checked_commented_and_names_a_class_that_exists(name):
    text, config = (CONF / f"{name}.yaml").read_text(), option(name)
    assert "_target_" in config
    if name.endswith("/none"):
        assert config == {"_target_": None}
    for target in targets(config):
        if target.startswith("pipeline."):
            assert source_of(target).parent.name == Path(name).parent.name
            declared_arguments(target)
    assert "#" in text
    for line in text.splitlines():
        if re.match(r"^[a-z]\w*: *[^ ]", line):
            assert "#" in line, f"{line!r} has no comment with its unit or source"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_composes_into_the_digits(name):
    room, choice = name.split("/")
    config = compose("solar_cells", f"{room}=[{choice}]" if room in LISTED else f"{'+' * (room in ASKED)}{room}={choice}")
    chosen = config[room] if room not in LISTED else config[room].get(choice, config[room])
    assert chosen is not None


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_has_an_option_and_its_sign(room):
    files = {path.stem for path in (ROOT / "pipeline" / room).glob("*.py")} - {"__init__"}
    named = {source_of(target).stem for path in (CONF / room).glob("*.yaml") for target in targets(option(f"{room}/{path.stem}"))
             if target.startswith("pipeline.")}  # fmt: skip
    assert files == named
    sign = ast.parse((ROOT / "pipeline" / room / "__init__.py").read_text())
    assert len(sign.body) == 1
    assert ast.get_docstring(sign)


# --- engines


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """What `snakemake -c2 --dry-run` plans in a copy, rule -> its block of text, in the order planned."""
    copy = tmp_path_factory.mktemp("planned")
    for name in ("pipeline", "profiles"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run([sys.executable, "-m", "snakemake", "-c2", "--dry-run", "--nocolor"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    blocks = re.split(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, flags=re.MULTILINE)[1:]
    return dict(zip(blocks[::2], blocks[1::2], strict=True))


def test_snakemake_plans_the_same_stages_after_what_they_need(planned):
    assert set(planned) == {"all", *STAGES}
    order = list(planned)
    for name, stage in STAGES.items():
        assert all(order.index(before) < order.index(name) for before in stage.upstream(STAGES))
        for before in stage.upstream(STAGES):
            assert f".snakemake/asked/{before}" in planned[name]


@pytest.mark.parametrize("name", STAGES)
def test_snakemake_gets_threads_memory_and_walltime_from_dvc_yaml(planned, name):
    meta = STAGES[name].resources
    assert f"mem_mb={meta['resources']['mem_mb']}" in planned[name]
    assert f"runtime={meta['resources']['runtime']}" in planned[name]
    assert (f"threads: {meta['threads']}" in planned[name]) == (meta["threads"] > 1)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_needs_of_a_machine(name):
    meta = STAGES[name].resources
    assert meta["threads"] >= 1
    assert set(meta["resources"]) == {"mem_mb", "runtime"}
    config = compose("solar_cells")
    if "threads" in STAGES[name].keys:
        assert meta["threads"] == config["threads"]


# --- imports


PROBE = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(name for name in {heavy!r} if name in sys.modules)))
"""


def imported(module):
    done = subprocess.run([sys.executable, "-c", PROBE.format(heavy=HEAVY), module], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["compose", "ingest", "split", "assure", "report"])
def test_light_stages_import_no_torch(name):
    assert imported(f"pipeline.stages.{name}") == set()


@pytest.mark.parametrize("name", [name for name in STAGES if name not in {"compose", "ingest", "split", "assure", "report", "train", "synthesize"}])
def test_only_stages_that_train_may_import_lightning(name):
    assert not imported(f"pipeline.stages.{name}") & {"pytorch_lightning", "lightning", "torchmetrics"}
    _, outside = closure(ROOT / "pipeline", [f"pipeline.stages.{name}", "pipeline.core.runner"])
    assert not outside & {"pytorch_lightning", "lightning", "torchmetrics"}


@pytest.mark.parametrize("name", ["compose", "ingest", "split", "assure", "report"])
def test_light_stages_reach_no_torch_by_a_lazy_import_either(name):
    config = compose("solar_cells")
    roots = [f"pipeline.stages.{name}", "pipeline.core.runner"]
    for room in (key for key in STAGES[name].keys if key in ROOMS):
        roots += [target.rsplit(".", 1)[0] for target in targets(config[room])]
    modules, _ = closure(ROOT / "pipeline", roots)
    for module in modules:
        path = ROOT / (module.replace(".", "/") + ".py")
        assert not path.is_file() or not (runtime_imports(path) & set(HEAVY)), f"{name} reaches {module}, which imports torch"


def runtime_imports(path):
    """Top-level names that a module imports when it runs, those under TYPE_CHECKING left out."""
    names = set()
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        waiting += list(ast.iter_child_nodes(node))
    return names


@pytest.mark.parametrize("module", ["pipeline.__main__", *(f"pipeline.command.{path.stem}" for path in (ROOT / "pipeline/command").glob("*.py"))])
def test_words_for_people_start_without_torch(module):
    assert imported(module.removesuffix(".__init__")) == set()


def test_composing_writes_what_dvc_reads():
    """DVC resolves dotted keys and numbers in exponent form as OmegaConf writes them."""
    assert COMPOSED == "data/compose/config.yaml"
    text = OmegaConf.to_yaml(OmegaConf.create({"lr": 1e-4}))
    assert OmegaConf.create(text).lr == 1e-4
