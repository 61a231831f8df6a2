"""albumentations comes without torch and SciPy where nobody needs them, and works; a torch that is there already stays."""

import subprocess
import sys

CODE = """
import sys
from pipeline.augmentation.library import import_albumentations
import_albumentations()
assert not {"torch", "huggingface_hub", "scipy.special"} & set(sys.modules)
import albumentations, numpy as np
from pipeline.transform.policy import Policy
policy = Policy(transforms=[albumentations.HorizontalFlip(p=1.0)])
print(policy(np.arange(3, dtype=np.uint8).reshape(1, 3, 1), np.random.default_rng(0)).ravel().tolist())
ringing = Policy(transforms=[albumentations.RingingOvershoot(p=1.0)])
print(ringing(np.full((16, 16, 3), 9, dtype=np.uint8), np.random.default_rng(0)).max())
assert "scipy.special" in sys.modules
"""


def test_augmentation_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n")[:2], done.returncode) == (["[2, 1, 0]", "9"], 0), done.stderr


def test_what_is_imported_already_stays(monkeypatch):
    from pipeline.augmentation import library

    monkeypatch.setitem(sys.modules, "torch", "here")
    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    monkeypatch.setattr(library.importlib, "import_module", lambda name: seen.append(dict(sys.modules)))
    seen = []
    library.import_albumentations()
    assert seen[0]["torch"] == sys.modules["torch"] == "here"
    assert seen[0]["huggingface_hub"] is None
    assert "huggingface_hub" not in sys.modules
