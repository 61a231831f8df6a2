import pytest

from pipeline.core import fingerprint as fp

FILES = {
    "core/runner.py": "from pipeline.core.base import ONE\nX = ONE\n",
    "core/base.py": "ONE = 1\n",
    "core/unused.py": "Y = 1\n",
    "stages/train.py": 'def run(cfg, out):\n    """Train."""\n    from pipeline.training.loop import fit\n    return fit()\n',
    "stages/split.py": "import json\nimport numpy as np\nfrom pipeline.core import base\n\ndef run(cfg, out):\n    return base.ONE\n",
    "training/__init__.py": "",
    "training/loop.py": "from pipeline.training import sampler\n\ndef fit():\n    return sampler.order(3)\n",
    "training/sampler.py": "def order(n):\n    # as it comes\n    return list(range(n))\n",
    "model/__init__.py": '"""Models."""\n',
    "model/net.py": "import torch\n\nclass Net:\n    def __init__(self, *, width: int) -> None:\n        self.width = width\n",
    "model/other.py": "class Other:\n    pass\n",
}
CONFIG = {"model": {"_target_": "pipeline.model.net.Net", "width": 3}}


@pytest.fixture
def package(tmp_path):
    root = tmp_path / "pipeline"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def prints(package):
    return {"train": fp.fingerprint(package, "train", CONFIG)["modules"], "split": fp.fingerprint(package, "split", {})["modules"]}


def changed(package, name, text):
    """Stages whose fingerprint an edit changes."""
    before = prints(package)
    (package / name).write_text(text)
    after = prints(package)
    return {stage for stage in before if before[stage] != after[stage]}


def test_the_closure_sees_lazy_imports_submodules_and_packages(package):
    inside, outside = fp.closure(package, ["pipeline.stages.train", "pipeline.model.net"])
    assert inside == {"pipeline.stages.train", "pipeline.training.loop", "pipeline.training.sampler", "pipeline.training",
                      "pipeline.model.net"}  # fmt: skip
    assert outside == {"torch"}


@pytest.mark.parametrize(("name", "text"), [
    ("training/sampler.py", "def order(n):\n    # another comment\n\n\n    return list(\n        range(n),\n    )  # end\n"),
    ("training/sampler.py", '"""A module docstring."""\ndef order(n):\n    """A docstring."""\n    return list(range(n))\n'),
    ("stages/train.py", 'def run(cfg, out):\n    """Trains, in other words."""\n    from pipeline.training.loop import fit\n    return fit()\n'),
    ("model/net.py", 'import torch\n\nclass Net:\n    "doc"\n    def __init__(self, *, width: int) -> None:\n        self.width = (width)\n'),
    ("model/__init__.py", '"""Models, and more words about them."""\n'),
])  # fmt: skip
def test_comments_docstrings_and_formatting_do_not_count(package, name, text):
    assert changed(package, name, text) == set()


@pytest.mark.parametrize(("name", "text", "stages"), [
    ("training/sampler.py", "def order(n):\n    return list(range(n))[::-1]\n", {"train"}),
    ("training/loop.py", FILES["training/loop.py"].replace("3", "4"), {"train"}),
    ("model/net.py", FILES["model/net.py"].replace("width\n", "2 * width\n"), {"train"}),
    ("stages/split.py", FILES["stages/split.py"].replace("base.ONE", "-base.ONE"), {"split"}),
    ("core/base.py", "ONE = 2\n", {"train", "split"}),
    ("core/runner.py", FILES["core/runner.py"].replace("X = ONE", "X = -ONE"), {"train", "split"}),
    ("model/other.py", "class Other:\n    x = 3\n", set()),
    ("core/unused.py", "Y = 2\n", set()),
])  # fmt: skip
def test_an_edit_changes_exactly_the_stages_whose_closure_holds_it(package, name, text, stages):
    assert changed(package, name, text) == stages


def test_a_template_beside_a_module_belongs_to_it(package):
    (package / "stages/split.page.j2").write_text("a")
    assert changed(package, "stages/split.page.j2", "b") == {"split"}
    assert changed(package, "stages/splitter.j2", "b") == set()


def test_a_string_that_is_no_docstring_counts(package):
    text = FILES["training/sampler.py"]
    (package / "training/sampler.py").write_text(text + '\nNAME = "a"\n')
    assert changed(package, "training/sampler.py", text + '\nNAME = "b"\n') == {"train"}


def test_another_part_named_in_conf_changes_the_fingerprint(package):
    before = fp.fingerprint(package, "train", CONFIG)["modules"]
    other = fp.fingerprint(package, "train", {"model": {"_target_": "pipeline.model.other.Other"}})["modules"]
    assert before != other


def test_a_renamed_module_counts(package):
    before = prints(package)
    (package / "training/sampler.py").rename(package / "training/orders.py")
    (package / "training/loop.py").write_text(FILES["training/loop.py"].replace("import sampler", "import orders as sampler"))
    assert prints(package)["train"] != before["train"]


def test_versions_are_public_ones_of_what_is_imported(package, monkeypatch):
    monkeypatch.setattr(fp.importlib.metadata, "version", lambda name: f"2.1+cpu.{name}")
    found = fp.fingerprint(package, "train", CONFIG)["versions"]
    assert found == {"torch": "2.1"}
    assert "numpy" in fp.fingerprint(package, "split", {})["versions"]


def test_another_version_of_an_imported_library_is_another_identity(package, monkeypatch):
    before = fp.fingerprint(package, "train", CONFIG)
    monkeypatch.setattr(fp.importlib.metadata, "version", lambda name: "0.0.1")
    assert fp.fingerprint(package, "train", CONFIG) != before


def test_a_class_of_a_library_named_in_conf_brings_its_version(package):
    config = {"transform": {"_target_": "albumentations.HorizontalFlip"}}
    assert list(fp.fingerprint(package, "split", config)["versions"]) == ["albumentations", "numpy"]


def test_a_data_file_that_bears_a_modules_name_counts_with_it(package):
    (package / "stages/train.html.j2").write_text("<p>one</p>")
    assert changed(package, "stages/train.html.j2", "<p>two</p>") == {"train"}
    assert changed(package, "stages/trainer.html.j2", "<p>another module's</p>") == set()
    assert changed(package, "stages/train.py~", "an editor's copy") == set()
