"""Random draws that depend on a key alone: never on the order of draws, the worker, the process or a restart.

A key is a few integers and strings, such as `(seed, "augment", copy, id)`. Its SHA-256 is the key of a counter-based generator
(Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), so neighbouring keys give unrelated streams.
"""

import hashlib
import operator
from json.encoder import encode_basestring_ascii

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """A generator of its own for this key; equal keys give equal streams on every machine.

    >>> generator(0, "augment", 1).integers(100) == generator(0, "augment", 1).integers(100)
    True
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(key)[:16], "big")))


def seed(*key: int | str) -> int:
    """A seed in [0, 2**63) for generators of other libraries, such as `torch.Generator.manual_seed`."""
    return int.from_bytes(_digest(key)[:8], "big") >> 1


def _digest(key: tuple[int | str, ...]) -> bytes:
    """Hash of a key without ambiguity: 1 and "1" differ, and so do ("ab", "c") and ("a", "bc"); numpy integers count as int."""
    plain = [encode_basestring_ascii(part) if isinstance(part, str) else str(operator.index(part)) for part in key]
    return hashlib.sha256(f"[{', '.join(plain)}]".encode()).digest()  # as JSON, in half the time that `json` takes
