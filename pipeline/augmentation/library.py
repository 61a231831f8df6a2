"""albumentations, imported without what it does not need here."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    with instead({**dict.fromkeys(UNUSED), LATE: Late(LATE)}), _validators_late():
        importlib.import_module("albumentations")


@contextmanager
def _validators_late() -> Iterator[None]:
    """Inside, pydantic makes the validator of a class when it is first used: albumentations has one for each of 130 transforms.

    It is pydantic's setting `defer_build`, which classes inherit.
    """
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
