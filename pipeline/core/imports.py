"""Libraries, imported without what they do not need here."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def instead(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Inside, a module that nobody has imported yet is another one, or counts as not installed; afterwards all is as it was.

    None in `sys.modules` makes an import raise ModuleNotFoundError (the Python language reference, 5.3.1), which a library takes
    for "not installed".

    Args:
        stand_ins: name -> what an import of it gives, None for nothing.
    """
    absent = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
