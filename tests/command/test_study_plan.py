"""Jobs are the distinct digests, exactly: counted here by composing every cell alone and writing out what each stage reads."""

import json

import pytest

from pipeline.core.config import compose
from pipeline.core.dag import read_stages
from pipeline.core.errors import PersonError
from pipeline.search.planning import Planner
from pipeline.study.matrix import Matrix
from pipeline.study.plan import make_plan
from tests import searching


@pytest.fixture(scope="module")
def toy(tmp_path_factory, project):
    return searching.project(tmp_path_factory.mktemp("plan") / "toy", project)


def matrix(**changes):
    facts = {"name": "m", "experiments": ("toy",), "arms": {"plain": (), "wide": ("model=wide",), "size": ("prep.amount=2",)}, "seeds": (0, 7),
             "target": "evaluate", "reference": "plain"}  # fmt: skip
    return Matrix(**{**facts, **changes})


def places(root, plan):
    """(stage, what it reads written out with what it stands on) of each cell, without a digest of ours."""
    stages = read_stages(root)
    found = {}
    for cell in plan.cells.values():
        config = compose(root / "conf", experiment=cell.experiment, overrides=cell.overrides)
        texts = {"compose": json.dumps([cell.experiment, list(cell.overrides)])}
        for name in plan.stages[1:]:
            read = {key: config[key] for key in stages[name].keys if key in config}
            above = [texts[path.removeprefix("data/")] for path in stages[name].inputs.values() if path.startswith("data/")]
            texts[name] = json.dumps([name, read, above], sort_keys=True)
        found |= {(cell.name, name): texts[name] for name in plan.stages}
    return found


@pytest.mark.parametrize("changes", [
    {}, {"folds": 3, "arms": {"a": (), "b": ("prep.amount=2",)}}, {"folds": 3, "seeds": (), "arms": {"a": ()}}, {"arms": {"a": ("splitter=kfold", "splitter.test_fold=1"), "b": ("splitter=kfold",)}},
    {"arms": {"a": ("seed=7",), "b": ()}, "seeds": ()}, {"arms": {"a": (), "same": ("model=plain",)}},
], ids=["plain", "folds", "folds-alone", "own-folds", "own-seed", "twins"])  # fmt: skip
def test_cells_share_a_job_exactly_where_a_stage_reads_the_same(toy, changes):
    plan = make_plan(toy, matrix(**changes))
    texts = places(toy, plan)
    by_text, by_digest = {}, {}
    for (cell, stage), text in texts.items():
        by_text.setdefault((stage, text), set()).add(cell)
        by_digest.setdefault((stage, plan.cells[cell].digests[stage]), set()).add(cell)
    assert sorted(map(sorted, by_text.values())) == sorted(map(sorted, by_digest.values()))
    assert len(plan.jobs) == len(by_text)
    assert sum(job.cells for job in plan.jobs.values()) == len(plan.cells) * len(plan.stages)


def test_cells_are_grouped_as_the_planner_of_a_search_groups_them(toy):
    plan = make_plan(toy, matrix(folds=3, seeds=(1,)))
    planner = Planner(toy, "toy", target="evaluate", test=True)
    pairs = {(plan.cells[name].digests[stage], digest) for name, cell in plan.cells.items()
             for stage, digest in planner.cell(cell.overrides).digests.items()}  # fmt: skip
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})


def test_a_job_stands_on_jobs_of_its_own_cell(toy):
    plan = make_plan(toy, matrix())
    order = list(plan.jobs)
    for name, job in plan.jobs.items():
        assert set(job.needs) <= {"-".join(pair) for pair in plan.cells[job.cell].digests.items()}
        assert all(order.index(need) < order.index(name) for need in job.needs)


def test_a_changed_file_of_the_source_and_changed_code_make_other_jobs(toy):
    before = set(make_plan(toy, matrix()).jobs)
    (toy / "raw/more.txt").write_text("more")
    after = set(make_plan(toy, matrix()).jobs)
    assert {name.partition("-")[0] for name in before & after} == {"compose"}
    train = toy / "pipeline/stages/train.py"
    kept = train.read_text()
    train.write_text(kept.replace("0.9 -", "0.8 -"))
    changed = set(make_plan(toy, matrix()).jobs)
    train.write_text(kept)
    (toy / "raw/more.txt").unlink()
    assert {name.partition("-")[0] for name in changed - after} == {"compose", "train", "evaluate"}


def test_the_first_wrong_cell_is_named(toy):
    with pytest.raises(PersonError, match=r"cell toy-typo-s0: unknown key train\.rl"):
        make_plan(toy, matrix(arms={"plain": (), "typo": ("train.rl=1",)}))
