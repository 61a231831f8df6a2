"""Settings of the chain prune -> project -> compress, and the overrides that each of them is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OFF_SHARE, OFF_VARIANCE = 0.0, 1.0


@dataclass(frozen=True)
class Candidate:
    """One setting of the chain.

    Attributes:
        share: of the channels that pruning takes away; 0 for none.
        variance: of a layer that projection keeps; 1 where nothing is projected.
        compressor: an option of conf/compressor.
    """

    share: float
    variance: float
    compressor: str

    @property
    def shrinkers(self) -> dict[str, dict[str, float]]:
        """Shrinker -> its setting, in the order in which they work."""
        found: dict[str, dict[str, float]] = {}
        if self.share > OFF_SHARE:
            found["prune"] = {"share": self.share}
        if self.variance < OFF_VARIANCE:
            found["project"] = {"variance": self.variance}
        return found

    @property
    def name(self) -> str:
        """For people."""
        return " + ".join([*([self.network] if self.shrinkers else []), self.compressor])

    @property
    def network(self) -> str:
        """What it is made of, for people."""
        words = [f"{name} {value}" for name, setting in self.shrinkers.items() for value in setting.values()]
        return " + ".join(words) or "as trained"

    @property
    def groups(self) -> list[str]:
        """Which options it chooses, as overrides."""
        return [f"shrinker=[{','.join(self.shrinkers) or 'none'}]", f"compressor={self.compressor}"]

    @property
    def leaves(self) -> dict[str, float]:
        """The numbers that it sets, by dotted key."""
        return {f"shrinker.{name}.{key}": value for name, setting in self.shrinkers.items() for key, value in setting.items()}

    @property
    def overrides(self) -> list[str]:
        """All of it, as a person types it."""
        return [*self.groups, *(f"{key}={value}" for key, value in self.leaves.items())]


def candidates(options: Mapping[str, Any]) -> list[Candidate]:
    """The grid of `smallest` of the configuration; those that share a network stand side by side."""
    return [
        Candidate(float(share), float(variance), str(compressor))
        for share in sorted(options["prune"])
        for variance in sorted(options["project"], reverse=True)
        for compressor in options["compressor"]
    ]
