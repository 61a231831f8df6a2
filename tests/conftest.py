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


# Files that share one costly thing, which a process makes once: they go to the same process.
TOGETHER = {"test_review.py": "tracked_runs", "test_sync.py": "tracked_runs", "test_records.py": "tracked_runs"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs share one repository, and the tests of a file its fixtures: each group stays in order on one process.

    Whole runs are the longest group: they come first, so that one process does them while another does all the rest.
    """
    for item in items:
        whole = item.get_closest_marker("e2e") is not None
        item.add_marker(pytest.mark.xdist_group("e2e" if whole else TOGETHER.get(item.path.name, item.path.stem)))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
