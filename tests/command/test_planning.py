"""Digests: what changes a stage's bytes changes its digest and those below it, and nothing else does."""

import os

import pytest

from pipeline.core.config import Composer, compose
from pipeline.core.errors import PersonError
from pipeline.search.planning import Planner, jobs, settle
from pipeline.search.space import overrides, probes, read_space
from tests import searching


@pytest.fixture(scope="module")
def toy(tmp_path_factory, project):
    return searching.project(tmp_path_factory.mktemp("planned") / "toy", project)


def changed(planner, one, other):
    a, b = planner.cell(one).digests, planner.cell(other).digests
    return {name for name in a if a[name] != b[name]}


def test_only_what_reads_a_key_and_what_stands_on_it_changes(toy):
    planner = Planner(toy, "toy")
    assert list(planner.stages) == ["prep", "split", "train"]
    assert changed(planner, [], ["train.lr=0.1"]) == {"train"}
    assert changed(planner, [], ["splitter.val=0.3"]) == {"split", "train"}
    assert changed(planner, [], ["prep.amount=3"]) == {"prep", "split", "train"}
    assert changed(planner, ["prep.amount=3", "train.lr=0.1"], ["train.lr=0.1", "prep.amount=3"]) == set()
    assert changed(planner, [], ["logger=other"]) == set(), "no stage of the toy reads it"


def test_jobs_are_the_distinct_digests(toy):
    planner = Planner(toy, "toy")
    cells = [planner.cell([f"prep.amount={size}", f"train.lr={lr}"]) for size in (1, 2) for lr in (0.1, 0.2, 0.2)]
    counted = jobs(cells)
    assert [sum(stage == name for stage, _ in counted) for name in planner.stages] == [2, 2, 4]
    assert sum(counted.values()) == 3 * len(cells)


def test_code_and_source_are_part_of_it(toy):
    before = Planner(toy, "toy").cell([]).digests
    module = toy / "pipeline/stages/split.py"
    text = module.read_text()
    module.write_text(text + "\nEXTRA = 1\n")
    after = Planner(toy, "toy").cell([]).digests
    module.write_text(text + "\n# a comment\n")
    assert Planner(toy, "toy").cell([]).digests == before
    module.write_text(text)
    assert {name for name in before if before[name] != after[name]} == {"split", "train"}
    os.utime(toy / "raw/file.txt", ns=(1, 1))
    assert Planner(toy, "toy").cell([]).digests["prep"] != before["prep"]


def test_a_stage_that_opens_the_test_split_is_no_part_of_a_search(toy):
    with pytest.raises(PersonError, match="the stage evaluate looks at the test split, and a search must not"):
        Planner(toy, "toy", target="evaluate")
    assert "evaluate" in Planner(toy, "toy", target="evaluate", test=True).stages


def test_numbers_set_on_what_hydra_made_are_what_hydra_makes(toy):
    composer = Composer(toy / "conf", experiment="toy")
    space = read_space({
        "model": ["plain", "wide"], "train.lr": {"low": 1e-5, "high": 100.0, "log": True}, "train.width": {"low": 1, "high": 64},
    })  # fmt: skip
    for params in [*probes(space), {"model": "wide", "train.lr": 1 / 3, "train.width": 7}]:
        leaves = {key: value for key, value in params.items() if key != "model"}
        chosen = [f"model={params['model']}"] if "model" in params else []
        assert composer(chosen, leaves) == compose(toy / "conf", experiment="toy", overrides=overrides(params))
    for leaves, said in [({"train.width": 65}, "maximum of 64"), ({"train.lrr": 1.0}, "did you mean 'lr'"), ({"train.width": 1.5}, "integer")]:
        with pytest.raises(PersonError, match=said):
            composer([], leaves)
    assert composer([], {}) == compose(toy / "conf", experiment="toy", overrides=[]), "and nothing is left behind"


def test_a_cell_is_what_compose_publishes(toy, tmp_path):
    import yaml

    from pipeline.core.runner import stage_config
    from pipeline.stages import compose as stage  # the real one, on the toy's configuration

    planner = Planner(toy, "toy")
    cell = planner.cell(["prep.amount=2"], {"train.lr": 1e-05})
    settle(cell, toy, "toy", tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    stage.run({"experiment": "toy", "overrides": params["overrides"]}, out, conf=toy / "conf", pipeline=toy / "pipeline")
    published = yaml.safe_load((out / "config.yaml").read_text())
    published["code"].pop("evaluate")
    assert yaml.safe_load((tmp_path / "data/compose/config.yaml").read_text()) == published
    assert stage_config(tmp_path, planner.stages["train"])["train"]["lr"] == 1e-05
