"""albumentations, imported without what it does not need here."""

import importlib
import sys
from types import ModuleType
from typing import Any

from pipeline.core.imports import instead

UNUSED = ("torch", "huggingface_hub")  # it would import them for tensors and for a hub of policies: half of its start
LATE = "scipy.special"  # one transform, RingingOvershoot, asks it for one function


class Late(ModuleType):
    """Stands for a module that is imported when something is first asked of it."""

    def __getattr__(self, name: str) -> Any:
        """From the module itself; of nothing while this one is in its place."""
        if sys.modules.get(self.__name__) is self:
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def import_albumentations() -> None:
    """Import albumentations; of the libraries that 2.0.8 can do without, those that nobody has imported yet stay so."""
    with instead({**dict.fromkeys(UNUSED), LATE: Late(LATE)}):
        importlib.import_module("albumentations")
