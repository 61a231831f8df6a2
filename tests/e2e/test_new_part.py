"""A new model is one file and one yaml: the contract suite finds it, passes it, and fails it when it breaks a law."""

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = '''"""A linear network on pooled colours, for this test.

B batch, C channels, H height, W width, K outputs.
"""

import torch
from torch import Tensor, nn


class Pooled(nn.Module):
    """Mean and maximum of each channel, then one linear layer.

    Args:
        bias: whether the layer has one.
        channels, height, width_pixels, outputs, mean, std: from the data.
    """

    def __init__(self, *, bias: bool, channels: int, height: int, width_pixels: int, outputs: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean_C11", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std_C11", torch.tensor(std).reshape(-1, 1, 1))
        self.head = nn.Linear(2 * channels, outputs, bias=bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        x_BCHW = (x_BCHW - self.mean_C11) / self.std_C11
        return self.head(torch.cat([x_BCHW.mean((2, 3)), x_BCHW.amax((2, 3))], 1))
'''
OPTION = "# Linear on pooled colours.\n_target_: pipeline.model.pooled.Pooled\nbias: true  # of the layer\n"


@pytest.fixture(scope="module")
def extended(clone):
    repository = clone("extended")
    (repository.root / "pipeline/model/pooled.py").write_text(MODEL)
    (repository.root / "conf/model/pooled.yaml").write_text(OPTION)
    return repository


def contract(repository):
    return repository.call("pytest", "tests/contract/test_model.py", "tests/contract/test_dag.py", "-k", "pooled or (room and model)",
                           "-q", "-p", "no:cacheprovider", check=False, timeout=500)  # fmt: skip


def test_it_passes_the_contract_suite_without_a_new_test(extended):
    done = contract(extended)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.strip().splitlines()[-1].split(" passed")[0].split()[-1]) >= 6


def test_it_composes_into_an_experiment(extended):
    done = extended.call("pipeline", "compose", check=False)
    assert done.returncode == 0, done.stderr
    extended.params(overrides=["model=pooled", "model.bias=false"])
    done = extended.call("pipeline", "compose")
    assert "model=pooled" in done.stdout
    extended.params(overrides=["model=poled"])
    assert "did you mean 'pooled'" in extended.call("pipeline", "compose", check=False).stderr


@pytest.mark.parametrize(("law", "old", "new"), [
    ("samples_of_a_batch_are_independent", "mean((2, 3)),", "mean((0, 2, 3)).expand(len(x_BCHW), -1),"),
    ("every_file_of_a_room", "class Pooled", "class Poled"),
])  # fmt: skip
def test_one_that_breaks_a_law_fails(extended, law, old, new):
    path = extended.root / "pipeline/model/pooled.py"
    try:
        path.write_text(MODEL.replace(old, new))
        done = contract(extended)
    finally:
        path.write_text(MODEL)
    assert done.returncode == 1
    assert f"{law}" in done.stdout or "Pooled" in done.stdout
