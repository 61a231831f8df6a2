"""Mistakes of a person: one line that says what was expected, what was received and what to do."""

import difflib
from collections.abc import Iterable


class PersonError(ValueError):
    """A mistake that a person can mend. The command line prints its message alone, without a traceback."""


class BadSampleError(PersonError):
    """One input file cannot be used; ingest puts it into quarantine with this reason."""


class MissingPackageError(PersonError):
    """An optional package is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        command = f"pip install {package}" + (f"  (or: pip install -e '.[{extra}]')" if extra else "")
        super().__init__(f"the package {package!r}, needed for {purpose}, is not installed: run  {command}")


def near_match(name: str, options: Iterable[str]) -> str:
    """Name the closest option, or list them: the tail of an error message about an unknown name.

    >>> near_match("modle", ["model", "train"])
    "did you mean 'model'? (options: model, train)"
    """
    known = sorted(options)
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? (options: {listed})" if close else f"options: {listed}"
