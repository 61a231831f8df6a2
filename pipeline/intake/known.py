"""The list of what is known of files: written while a run goes on, read at the start of the next one, believed only whole.

Lines of JSON: `["files", {name: facts}]` and `["outcomes", {key: facts}]` in blocks, so that neither all facts nor the whole
text is in memory while they come; then a line of settings and shards, and last the SHA-256 of all lines before it.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

BLOCK = 1000  # entries of a line
KINDS = ("files", "outcomes")


class KnownList:
    """Writes the list of a run beside that of the run before, which it replaces when it is finished.

    Args:
        path: of the list.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._partial = path, path.with_name(f"{path.name}.partial")
        self._blocks: dict[str, dict[str, list[Any]]] = {kind: {} for kind in KINDS}
        self._total = hashlib.sha256()
        self._mode = "wb"

    def add(self, kind: str, name: str, facts: list[Any]) -> None:
        """One more entry of a kind."""
        block = self._blocks[kind]
        block[name] = facts
        if len(block) >= BLOCK:
            self._write([kind, block])
            block.clear()

    def finish(self, head: Any) -> None:
        """Write what is left, and settings and shards; then the list counts."""
        for kind, block in self._blocks.items():
            self._write([kind, block])
        self._write(head)
        with self._partial.open("ab") as file:
            file.write(self._total.hexdigest().encode())
        self._partial.replace(self.path)

    def _write(self, part: Any) -> None:
        data = orjson.dumps(part, option=orjson.OPT_APPEND_NEWLINE)
        self._total.update(data)
        with self._partial.open(self._mode) as file:
            file.write(data)
        self._mode = "ab"


def read_known(path: Path) -> tuple[Any, Iterator[tuple[str, dict[str, list[Any]]]]] | None:
    """Settings and shards of a list, and its blocks; None where there is none, or it is damaged."""
    body, _, said = path.read_bytes().rpartition(b"\n") if path.is_file() else (b"", b"", b"")
    if not body or hashlib.sha256(body + b"\n").hexdigest().encode() != said:
        return None
    *lines, head = body.split(b"\n")
    return orjson.loads(head), ((kind, block) for kind, block in map(orjson.loads, lines))
