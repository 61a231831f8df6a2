"""Snakemake gives the same artifacts as `dvc repro`, from scratch and in a folder of another name; then neither finds anything to do."""

import re
import shutil

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

MEASURED = {
    "export": {"timings.json", "section.json"},          # latency of the exported model on this machine
    "report": {"index.html", "MODEL_CARD.md", "section.json"},  # shows that latency
}  # fmt: skip


def assert_equal_but_for_measured_times(one, other):
    """The lock files are equal, but for outputs that hold measured times, and in those for the files listed."""
    left, right = one.lock(), other.lock()
    assert set(left) == set(right)  # DVC lists them in the order in which they ended
    for name in left:
        for lock in (left, right):
            for entry in [*lock[name]["outs"], *lock[name].get("deps", [])]:
                if entry["path"].removeprefix("data/") in MEASURED:
                    entry.pop("md5")
                    entry.pop("size")
        if name in MEASURED:
            before, after = one.files(name), other.files(name)
            assert set(before) == set(after)
            assert {file for file in before if before[file] != after[file]} <= MEASURED[name]
        assert left[name] == right[name], f"{name} differs"


@pytest.fixture(scope="module")
def scheduled(clone):
    """A clone that Snakemake alone has run."""
    repository = clone("a folder of another name")
    repository.call("snakemake", "-c2")
    return repository


def test_snakemake_from_scratch_gives_the_same_artifacts(built, scheduled):
    scheduled.assert_whole()
    assert_equal_but_for_measured_times(built, scheduled)


def test_then_neither_engine_finds_anything_to_do(scheduled):
    before = {path: path.stat().st_mtime_ns for path in (scheduled.root / "data").rglob("manifest.json")}
    assert scheduled.repro().run == []
    done = scheduled.call("snakemake", "-c2")
    assert "Running stage" not in done.stdout + done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (scheduled.root / "data").rglob("manifest.json")}


def test_snakemake_restores_wiped_artifacts_and_reruns_what_is_stale(scheduled):
    shutil.rmtree(scheduled.root / "data" / "explain")
    scheduled.params(overrides=["report.title=Another"])
    done = scheduled.call("snakemake", "-c2")
    text = done.stdout + done.stderr
    assert "Another" in (scheduled.root / "data/report/index.html").read_text()
    assert (scheduled.root / "data/explain/manifest.json").is_file()
    assert re.search(r"^report +\d", text, re.MULTILINE)
    assert not re.search(r"^train +\d+\.\d s", text, re.MULTILINE)
    assert scheduled.repro().run == []


def test_a_failing_stage_fails_snakemake_and_leaves_nothing_half_done(scheduled):
    scheduled.params(overrides=["explain.count=0"])
    done = scheduled.call("snakemake", "-c2", check=False)
    assert done.returncode != 0
    assert "explain.count: 0 is less than the minimum of 1" in done.stdout + done.stderr
    scheduled.params(overrides=[])
    scheduled.call("snakemake", "-c2")
    scheduled.assert_whole()
