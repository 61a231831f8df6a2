"""Two fresh clones with empty caches end with equal lock files; the second one under a perturbed environment."""

import pytest
import yaml

from pipeline.core.artifact import read_json

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_another_folder_home_locale_zone_and_hash_seed_give_the_same_bytes(built, clone, tmp_path):
    other = clone("Ünother folder, with: a long name")
    (tmp_path / "home").mkdir()
    ran = other.repro(HOME=str(tmp_path / "home"), TZ="Pacific/Chatham", LC_ALL="C", PYTHONHASHSEED="77", OMP_NUM_THREADS="1", USER="nobody")
    assert ran.run == other.stages(), ran.text
    differing = {name for name, digest in built.outputs().items() if other.outputs()[name] != digest}
    assert differing <= {"export", "report"}  # measured latency, and the page that shows it
    for stage in differing:
        before, after = built.files(stage), other.files(stage)
        assert {file for file in before if before[file] != after[file]} <= {"timings.json", "section.json", "index.html", "MODEL_CARD.md"}


def test_nothing_of_this_machine_stands_in_an_artifact(built):
    """No absolute path of the workspace, no host name, no user's home in any published text."""
    import socket
    from pathlib import Path

    words = [str(built.root), str(built.root.parent), str(Path.home()) + "/", socket.gethostname()]
    for path in (built.root / "data").rglob("*"):
        if path.is_file() and path.suffix in {".json", ".yaml", ".csv", ".md", ".html", ".txt"}:
            text = path.read_text(encoding="utf-8")
            for word in words:
                if len(word) > 3:
                    assert word not in text, f"{path} holds {word}"
    assert yaml.safe_load((built.root / "data/compose/config.yaml").read_text())
    assert read_json(built.root / "data/ingest/card.json")
