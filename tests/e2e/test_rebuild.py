"""The rebuild matrix: what `dvc repro` runs after each kind of change, with real DVC over the toy DAG.

`report` prints the configuration and the lineage of every stage, so it follows whatever changes `data/compose`.
"""

import ast
import contextlib
import json
import shutil

import pytest

from pipeline.core.fingerprint import module_hash

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def repository(duplicate):
    return duplicate("rebuilt")


@contextlib.contextmanager
def edited(path, change):
    """Change a file inside the block, and bring it back byte by byte afterwards."""
    before = path.read_bytes()
    path.write_text(change(path.read_text()))
    assert path.read_bytes() != before
    try:
        yield
    finally:
        path.write_bytes(before)


def reworded(text):
    """The same code in other words: other docstrings, no comments, another format, further comments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Expr(ast.Constant("In other words."))
    return "# a new comment\n\n\n" + ast.unparse(tree) + "\n\n# the end\n"


def test_nothing_changed_and_nothing_runs(repository):
    ran = repository.repro()
    assert ran.run == ran.restored == []
    assert ran.skipped == repository.stages()


def test_words_and_format_of_every_module_run_only_compose(repository):
    with contextlib.ExitStack() as stack:
        for path in (repository.root / "pipeline").rglob("*.py"):
            before = module_hash(path)
            stack.enter_context(edited(path, reworded))
            assert module_hash(path) == before
        assert repository.repro().run == ["compose"]


@pytest.mark.parametrize(("module", "stages"), [
    pytest.param("core/intervals.py", {"augment", "synthesize", "baseline", "calibrate", "evaluate", "robustness", "ood", "compress"}, marks=pytest.mark.slow),  # eight stages
    ("corruption/noise.py", {"robustness"}),                         # imported by one
    pytest.param("splitter/stratified.py", {"split"}, marks=pytest.mark.slow),  # a class that `_target_` names, as noise is
    pytest.param("explainer/gradcam.py", {"explain"}, marks=pytest.mark.slow),  # as the noise above
    ("splitter/blocked.py", set()),                                  # a part that this experiment does not use
    ("stages/report.html.j2", set()),                                # what a stage reads beside its module: report alone
])  # fmt: skip
def test_an_edit_runs_exactly_the_stages_whose_closure_holds_it(repository, module, stages):
    with edited(repository.root / "pipeline" / module, lambda text: text + ("\nUNUSED = 1\n" if module.endswith(".py") else "<!-- x -->")):
        ran = set(repository.repro().run)
    expected = {"compose", *stages} | ({"report"} if stages or module.startswith("stages/report") else set())
    assert ran == expected


def test_one_leaf_of_conf_runs_its_stage_and_what_reads_its_output_and_reverting_restores(repository, built):
    before = built.outputs()
    with edited(repository.root / "conf/experiment/small.yaml", lambda text: text.replace("explain: {count: 4}", "explain: {count: 3}")):
        assert repository.repro().run == ["compose", "explain", "assure", "report"]
        changed = {name for name, digest in repository.outputs().items() if digest != before[name]}
        assert changed == {"compose", "explain", "assure", "report"}
    ran = repository.repro()
    assert ran.run == []
    assert set(ran.restored) >= {"compose", "explain", "assure", "report"}
    assert repository.outputs() == before


def test_a_comment_in_conf_runs_only_compose(repository):
    with edited(repository.root / "conf/config.yaml", lambda text: "# words\n" + text):
        assert repository.repro().run == ["compose"]


@pytest.mark.slow  # as a leaf of conf above
def test_an_override_and_its_revert_run_nothing_twice(repository, built):
    before = built.outputs()
    repository.params(overrides=["explain.count=3"])
    first = repository.repro()
    repository.params(overrides=[])
    assert "train" not in first.run
    assert repository.repro().run == []
    assert repository.outputs() == before


@pytest.mark.slow  # as the fresh clone below, which has no data either
def test_wiped_data_is_restored_without_a_run(repository):
    shutil.rmtree(repository.root / "data")
    ran = repository.repro()
    assert ran.run == []
    repository.assert_whole()
    assert {path.name for path in (repository.root / "data").iterdir() if path.is_dir()} >= set(repository.stages())


def test_a_fresh_clone_with_a_shared_cache_runs_nothing(repository, clone):
    other = clone("another name")
    other.call("dvc", "cache", "dir", "--local", str(repository.root / ".dvc" / "cache"))
    shutil.copy(repository.root / "dvc.lock", other.root / "dvc.lock")
    ran = other.repro()
    assert ran.run == []
    assert other.outputs() == repository.outputs()
    other.assert_whole()


def test_a_mistake_in_params_runs_nothing_and_loses_nothing(repository, built):
    before = built.outputs()
    repository.params(overrides=["train.max_stps=3"])
    done = repository.call("dvc", "repro", check=False)
    repository.params(overrides=[])
    assert done.returncode != 0
    assert "unknown key train.max_stps: did you mean 'max_steps'?" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert repository.repro().run == []
    assert repository.outputs() == before


def test_an_experiment_runs_with_overrides_in_hydras_grammar(repository):
    repository.commit()
    done = repository.call("pipeline", "exp", "explain.count=2", "report.title='a, b: [c]'", "--name", "two-maps")
    assert "Running stage 'explain'" in done.stdout + done.stderr
    assert "Running stage 'train'" not in done.stdout + done.stderr
    assert "two-maps" in done.stdout + done.stderr
    config = (repository.root / "data/compose/config.yaml").read_text()
    assert "title: 'a, b: [c]'" in config
    repository.git("checkout", "--", "params.yaml", "dvc.lock")
    assert repository.repro().run == []


@pytest.mark.slow  # as `exp` above
def test_dvcs_own_way_to_set_parameters_works(repository):
    done = repository.call("dvc", "exp", "run", "-S", 'overrides=["explain.count=2"]', "-S", "experiment=toy")
    assert "explain" in done.stdout + done.stderr
    assert repository.outputs()["explain"] != json.loads(json.dumps(repository.outputs()))["train"]
    repository.git("checkout", "--", "params.yaml", "dvc.lock")
    assert repository.repro().run == []


@pytest.mark.slow  # more than a minute
def test_a_sweep_of_four_runs_from_the_queue_and_is_shown(repository):
    done = repository.call("pipeline", "exp", "explain.count=2,3", "report.picture_width=1000,1200", "--name", "sweep", timeout=1500)
    assert "4 runs:" in done.stdout
    shown = json.loads(repository.call("dvc", "exp", "show", "--json").stdout)
    found = {}
    for commit in shown:
        for group in commit.get("experiments") or []:
            for revision in group["revs"]:
                found[revision["name"]] = revision["data"]
    sweep = {name: data for name, data in found.items() if name.startswith("sweep-")}
    assert len(sweep) == 4, done.stdout + done.stderr
    chosen = {tuple(data["params"]["params.yaml"]["data"]["overrides"]) for data in sweep.values()}
    assert chosen == {(f"explain.count={count}", f"report.picture_width={width}") for count in (2, 3) for width in (1000, 1200)}
    assert all("data/evaluate/metrics.json" in data["metrics"] for data in sweep.values())


def test_metrics_and_plots_are_shown_by_dvc(repository):
    metrics = json.loads(repository.call("dvc", "metrics", "show", "--json").stdout)
    assert "data/evaluate/metrics.json" in json.dumps(metrics)
    repository.call("dvc", "metrics", "diff", "--json", "HEAD")
    repository.call("dvc", "plots", "show", "--out", str(repository.root.parent / "plots"))
    assert (repository.root.parent / "plots" / "index.html").is_file()
