"""What every test shares: quiet third parties, one thread, and the folder of the project."""

import os
from pathlib import Path

import pytest

os.environ.update({
    "DVC_NO_ANALYTICS": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_ERROR_REPORTING": "false", "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline", "MPLBACKEND": "Agg",
})  # fmt: skip
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def project() -> Path:
    """The repository under test."""
    return Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs share one repository, so they stay in order on one process while the other one runs the rest."""
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            item.add_marker(pytest.mark.xdist_group("e2e"))
