"""albumentations, imported without what it does not need here."""

import importlib
import sys

UNUSED = ("torch", "huggingface_hub")  # it would import them for tensors and for a hub of policies: half of its start


def import_albumentations() -> None:
    """Import albumentations; of the libraries that it can do without, those that nobody has imported yet stay so.

    None in `sys.modules` makes an import raise ModuleNotFoundError (the Python language reference, 5.3.1), which albumentations
    2.0.8 takes for "not installed". The entries are removed again at once.
    """
    absent = [name for name in UNUSED if name not in sys.modules]
    blocked: dict[str, None] = dict.fromkeys(absent)
    sys.modules.update(blocked)  # type: ignore[arg-type]
    try:
        importlib.import_module("albumentations")
    finally:
        for name in absent:
            del sys.modules[name]
