"""What is known of one artifact, sample by sample and radius by radius - verified, violated or unproven - and the laws of that.

verified: a bound proves that no image of the ball gets another answer. violated: the artifact itself, run in its own runtime,
gave one, on an image of the ball (or on the clean one). unproven: neither. The ball is L-infinity, clipped to the pixels' range.

N samples, R radii, K outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.verification.graph import Graph

VERIFIED, VIOLATED, UNPROVEN = "verified", "violated", "unproven"
Flags = NDArray[np.bool_]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Artifact:
    """One form of the model.

    Attributes:
        name: trained, exported or compressed.
        files: each file that it consists of -> its SHA-256.
        answer: images in [0, 1] (N, C, H, W) -> decoded predictions (N, K), by the artifact's own runtime.
        graph: what the bounds are taken of; None where there is none.
        reason: why there is none.
        whole_levels: whether it takes images of whole grey levels alone.
    """

    name: str
    files: Mapping[str, str]
    answer: Callable[[Tensor], NDArray[np.float32]]
    graph: Graph | None
    reason: str
    whole_levels: bool


@dataclass(frozen=True)
class Findings:
    """What was found of one artifact.

    Attributes:
        right_N: whether the clean image gets the right answer.
        violated_NR: whether an image of the ball was found that gets a wrong one.
        least_NR: greatest lower bound found of the margin; NaN where none was sought.
        method_NR: which verifier found it; "" where none was sought.
        reason: why nothing could be bounded; "" where it could.
    """

    right_N: Flags
    violated_NR: Flags
    least_NR: Reals
    method_NR: NDArray[np.str_]
    reason: str = ""

    @property
    def verified(self) -> Flags:
        """(N, R): proven at this radius or at a larger one, whose ball holds this one."""
        proven_NR = np.nan_to_num(self.least_NR, nan=-np.inf) > 0
        return np.logical_or.accumulate(proven_NR[:, ::-1], axis=1)[:, ::-1]

    @property
    def broken(self) -> Flags:
        """(N, R): violated at this radius, at a smaller one, or wrong without any change."""
        return np.logical_or.accumulate(self.violated_NR | ~self.right_N[:, None], axis=1)

    @property
    def status(self) -> NDArray[np.str_]:
        """One of the three words, (N, R)."""
        return np.where(self.verified, VERIFIED, np.where(self.broken, VIOLATED, UNPROVEN))

    @property
    def shares(self) -> Reals:
        """For intervals: right; then not broken at each radius; then verified at each radius, (N, 1 + 2 R)."""
        return np.concatenate([self.right_N[:, None], ~self.broken, self.verified], axis=1).astype(np.float64)


def enforce(findings: Findings, ids: Sequence[str], radii: Sequence[float], *, who: str) -> None:
    """Hold the sandwich: what is verified was not attacked with success, and what withstood was right to begin with.

    Raises:
        RuntimeError: a sample is both verified and violated, or the counts are not in order: a bound or an attack is wrong.
    """
    both = np.argwhere(findings.verified & findings.broken)
    if len(both):
        row, place = both[0]
        raise RuntimeError(
            f"{len(both)} verdicts on the {who} model contradict each other: the first, sample {ids[row]}, is verified by "
            f"{findings.method_NR[row, place] or 'a larger radius'} and violated by an attack at a radius of {radii[place]:.5g}; "
            "the bounds do not hold"
        )
    verified_R, standing_R = findings.verified.sum(0), (~findings.broken).sum(0)
    if not (np.all(verified_R <= standing_R) and np.all(standing_R <= findings.right_N.sum())):
        raise RuntimeError(f"certified <= attacked <= clean does not hold of the {who} model: {verified_R} and {standing_R}")


def enforce_bounds(least_NR: Reals, seen_NR: Reals, *, who: str, slack: float) -> None:
    """Hold bounds against what the artifact answered inside the ball.

    Args:
        least_NR: lower bounds of the margin; NaN where there is none.
        seen_NR: margins that were seen; NaN where they are too large to be told from decoded predictions.
        who: of whom.
        slack: what a runtime's decoding may add, as a share of 1 + |margin|.

    Raises:
        RuntimeError: a margin lies below its bound.
    """
    room_NR = seen_NR - least_NR + slack * (1 + np.abs(seen_NR))
    if np.any(room_NR < 0):
        worst = np.unravel_index(int(np.nanargmin(room_NR)), room_NR.shape)
        raise RuntimeError(
            f"a margin of the {who} model is {seen_NR[worst]:.6g}, below its lower bound of {least_NR[worst]:.6g}: "
            "the bounds do not hold"
        )


def curve(findings: Findings, intervals: Mapping[str, Mapping[str, float]], radii: Sequence[float]) -> list[dict[str, Any]]:
    """One entry a radius: accuracies with their intervals, and how many samples have each status."""
    status_NR = findings.status
    entries = []
    for place, eps in enumerate(radii):
        counts = {word: int((status_NR[:, place] == word).sum()) for word in (VERIFIED, VIOLATED, UNPROVEN)}
        shares = {name: dict(intervals[f"{name}_{place}"]) for name in ("attacked", "certified")}
        entries.append({"eps": eps, "levels": round(255 * eps, 6), **shares, **counts})
    return entries


def certificate(
    artifact: Artifact, findings: Findings, *, entries: Sequence[Mapping[str, Any]], clean: Mapping[str, float],
    ids: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Everything that is claimed of one artifact, as plain JSON, with the hashes of the files that it is claimed of.

    Args:
        artifact: which.
        findings: of it.
        entries: of `curve`.
        clean: accuracy without any attack, with its interval.
        ids: of the samples.
    """
    status_NR = findings.status
    rows = [
        {
            "id": identity, "status": status_NR[row].tolist(), "method": findings.method_NR[row].tolist(),
            "margin_at_least": [round(value, 9) if np.isfinite(value) else None for value in findings.least_NR[row].tolist()],
        }
        for row, identity in enumerate(ids)
    ]  # fmt: skip
    return {
        "sha256": dict(artifact.files), "inputs": "whole grey levels" if artifact.whole_levels else "any pixels in [0, 1]",
        "unbounded": findings.reason, "clean": dict(clean), "curve": [dict(entry) for entry in entries], "samples": rows,
    }  # fmt: skip
