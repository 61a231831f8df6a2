"""Attacked images, and what other forms of the model make of them: whether an attack on the network reaches what is shipped.

Szegedy et al. 2014, "Intriguing properties of neural networks" (arXiv 1312.6199), section 4.2: an adversarial example of one
network is often one of another. Here the others are the same network after export and after quantisation, run in their own
runtime, on images of whole grey levels, as they are given them.

N samples, A attacks, C channels, H height, W width, K columns of a decoded prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.verification.certificates import Artifact, Flags, Reals
from pipeline.verification.statement import Statement

LINF = "linf"
ALMOST = 1 + 1e-9  # radii that are written to so many places are equal


@dataclass(frozen=True, eq=False)
class Raid:
    """One attack at one radius, on samples of the test split.

    Attributes:
        name: of the attack.
        norm: linf or l2.
        eps: radius.
        ids: of the N samples.
        levels_NCHW: attacked images in whole grey levels, uint8, inside the ball.
        exact_NCHW: as the attack left them, in [0, 1]; None where that was not kept.
    """

    name: str
    norm: str
    eps: float
    ids: tuple[str, ...]
    levels_NCHW: Tensor
    exact_NCHW: Tensor | None = None

    @property
    def radius(self) -> str:
        """For people."""
        return f"{255 * self.eps:.3g}/255" if self.norm == LINF else f"{self.eps:.3g} (l2)"


@dataclass(frozen=True)
class Look:
    """What one artifact answered to attacked images.

    Attributes:
        raid: the images.
        artifact: its name.
        exact: whether the images were shown as the attack left them, not rounded.
        right_N: whether the claim holds of the answer.
        margin_N: of the claim; NaN where it cannot be told.
    """

    raid: Raid
    artifact: str
    exact: bool
    right_N: Flags
    margin_N: Reals


def read_raids(path: Path) -> tuple[tuple[str, ...], list[Raid]]:
    """What the stage robustness attacked: ids of the samples, and one raid an attack.

    Args:
        path: `adversarial.npz`: ids (N,), attack, norm, eps (A,), images (A, N, H, W, C) uint8.
    """
    if not path.is_file():
        return (), []
    with np.load(path) as held:
        ids = tuple(str(identity) for identity in held["ids"])
        images_ANCHW = torch.from_numpy(held["images"]).permute(0, 1, 4, 2, 3)
        names, norms, radii = held["attack"].tolist(), held["norm"].tolist(), held["eps"].tolist()
    parts = zip(names, norms, radii, images_ANCHW, strict=True)
    return ids, [Raid(str(name), str(norm), float(eps), ids, levels_NCHW) for name, norm, eps, levels_NCHW in parts]


def carry_over(raids: Sequence[Raid], artifacts: Sequence[Artifact], claim: Callable[[Sequence[str]], Statement]) -> list[Look]:
    """Show every attacked image to every artifact.

    Args:
        raids: the images.
        artifacts: who answers; one that takes more than whole grey levels is shown the exact images too.
        claim: ids -> what must hold of these samples.
    """
    looks = []
    for raid in raids:
        statement = claim(raid.ids)
        for artifact in artifacts:
            shown = [(raid.levels_NCHW.float() / 255, False)]
            if raid.exact_NCHW is not None and not artifact.whole_levels:
                shown.append((raid.exact_NCHW, True))
            for x_NCHW, exact in shown:
                answer_NK = artifact.answer(x_NCHW)
                looks.append(Look(raid, artifact.name, exact, statement.holds(answer_NK), statement.margins(answer_NK)))
    return looks


def violations(looks: Sequence[Look], who: str, ids: Sequence[str], radii: Sequence[float]) -> NDArray[np.bool_]:
    """Whether an attacked image inside the L-infinity ball of each radius got a wrong answer of this artifact, (N, R)."""
    violated_NR = np.zeros((len(ids), len(radii)), dtype=bool)
    for look in looks:
        if look.artifact == who and look.raid.norm == LINF:
            wrong = {identity for identity, right in zip(look.raid.ids, look.right_N, strict=True) if not right}
            inside_R = np.asarray([look.raid.eps <= eps * ALMOST for eps in radii])
            violated_NR |= np.asarray([identity in wrong for identity in ids])[:, None] & inside_R
    return violated_NR


def least_seen(looks: Sequence[Look], who: str, ids: Sequence[str], radii: Sequence[float]) -> Reals:
    """The least margin that this artifact showed inside each ball, (N, R); infinite where none was seen."""
    least_NR = np.full((len(ids), len(radii)), np.inf)
    for look in looks:
        if look.artifact == who and look.raid.norm == LINF:
            seen = dict(zip(look.raid.ids, look.margin_N.tolist(), strict=True))
            margin_N = np.nan_to_num([seen.get(identity, np.inf) for identity in ids], nan=np.inf)
            inside_R = np.asarray([look.raid.eps <= eps * ALMOST for eps in radii])
            least_NR = np.where(inside_R, np.minimum(least_NR, margin_N[:, None]), least_NR)
    return least_NR
