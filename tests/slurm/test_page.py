"""docs/cluster.md, word by word: what its page on several nodes tells a person to type ends with what it promises."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.slurm.cluster import jobs, wait
from tests.slurm.conftest import surrounded

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(6000)]
PAGE = Path(__file__).resolve().parents[2] / "docs/cluster.md"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


def typed(heading):
    """The commands of the page below a heading, one a line."""
    part = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    text = next(one for one in part if one.startswith(heading))
    return [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines() if line.strip()]


def follow(repository, line, timeout=5400):
    """Type a line of the page; a batch job is waited for. Returns what was said, by the job too."""
    before = {one["JobId"] for one in jobs()}
    done = subprocess.run(["bash", "-c", line], cwd=repository.root, env=surrounded(repository), capture_output=True, text=True, timeout=timeout)
    text = done.stdout + done.stderr
    assert done.returncode == 0, f"{line}\n{text[-6000:]}"
    if not line.startswith("sbatch"):
        return text
    number = next(one["JobId"] for one in jobs() if one["JobId"] not in before)
    wait(lambda: next(one for one in jobs() if one["JobId"] == number)["JobState"] in ENDED, timeout, "the job did not end")
    text = (repository.root / f"slurm-{number}.out").read_text()
    assert next(one for one in jobs() if one["JobId"] == number)["JobState"] == "COMPLETED", text[-6000:]
    return text


def test_the_page_on_several_nodes(cluster, prepared):
    scheduled, by_hand = typed("A training on several nodes")
    repository = prepared("page")
    assert "process 1 of 2 is done" in follow(repository, by_hand)
    train = repository.outputs()["train"]
    follow(repository, scheduled)
    repository.assert_whole()
    assert repository.outputs()["train"] == train
    assert set(repository.outputs()) == set(repository.stages())
    local = prepared("page-local")
    local.call("dvc", "repro", "--single-item", "train", PIPELINE_DEVICES="2")
    assert local.outputs()["train"] == train


def test_what_the_page_installs_is_there():
    install, scheduled = typed("Slurm")
    extras = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert install == "pip install -c constraints.txt -e '.[slurm]'"
    assert extras["slurm"]
    assert (PAGE.parents[1] / scheduled.split()[-1] / "config.yaml").is_file()
