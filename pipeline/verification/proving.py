"""Bounds of a claim on many samples at many radii, no more of them than can still prove anything.

Radii are taken in rising order. A sample that is not proven at one radius is not tried at a larger one, whose ball holds the
smaller; verifiers are taken in the order given, each on what those before it could not prove.

N samples, R radii, B batch, C channels, H height, W width, S functions of the outputs, K outputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import PersonError
from pipeline.core.progress import track
from pipeline.verification.graph import Graph, Unboundable, evaluate
from pipeline.verification.intervals import ball
from pipeline.verification.margins import Lower
from pipeline.verification.statement import Statement

BYTES = 2**28  # that the boxes of one batch may take
MOST = 32  # samples a batch


@dataclass(frozen=True)
class Proof:
    """What was bounded.

    Attributes:
        least_NR: greatest lower bound found of a claim's margin; NaN where none was sought.
        method_NR: which verifier found it.
        reason: why nothing could be bounded; "" where it could.
    """

    least_NR: NDArray[np.float64]
    method_NR: NDArray[np.str_]
    reason: str = ""


def check_radii(radii: Sequence[float]) -> list[float]:
    """Radii in rising order.

    Raises:
        PersonError: none, or one outside the range of the pixels.
    """
    rising = sorted({float(eps) for eps in radii})
    if not rising or not 0 < rising[0] <= rising[-1] <= 1:
        raise PersonError(
            f"certify.radii must lie above 0 and up to 1, the range of the pixels (2/255 is 0.00784314): received {list(radii)}"
        )
    return rising


def prove(
    verifiers: Mapping[str, Lower], graph: Graph, statement: Statement, x_NCHW: Tensor, *, radii: Sequence[float],
    open_NR: NDArray[np.bool_],
) -> Proof:  # fmt: skip
    """Lower bounds of the margins.

    Args:
        verifiers: by name, the cheap ones first.
        graph: of the artifact.
        statement: the claim on the N samples.
        x_NCHW: images in [0, 1].
        radii: rising, pixels in [0, 1].
        open_NR: what may be proven: not what is wrong to begin with.
    """
    shape = (len(x_NCHW), len(radii))
    least_NR, method_NR = np.full(shape, np.nan), np.full(shape, "", dtype=f"<U{max(map(len, verifiers))}")
    exact, reasons = graph.to(torch.float64), dict.fromkeys(verifiers, "")
    for place, eps in track(list(enumerate(radii)), what="bounds", total=len(radii)):
        rows = np.flatnonzero(open_NR[:, place] & (least_NR[:, place - 1] > 0 if place else np.ones(shape[0], dtype=bool)))
        for name, verifier in verifiers.items():
            try:
                for some in [] if reasons[name] else _batches(rows, exact, x_NCHW):
                    found_B = _least(verifier, exact, statement.rows(some), x_NCHW[some], eps=eps)
                    better_B = ~(found_B <= least_NR[some, place])  # also where nothing was known yet
                    least_NR[some[better_B], place], method_NR[some[better_B], place] = found_B[better_B], name
            except Unboundable as error:
                reasons[name] = str(error)
            rows = rows[~(least_NR[rows, place] > 0)]
    return Proof(least_NR, method_NR, next(iter(reasons.values())) if all(reasons.values()) else "")


def _least(verifier: Lower, graph: Graph, statement: Statement, x_BCHW: Tensor, *, eps: float) -> NDArray[np.float64]:
    """Lower bounds of the margins (B,); minus infinity where the bound is no number."""
    weights_BSK, constant_BS = statement.functions()
    with torch.no_grad():
        bound_BS = verifier.lower(graph, ball(x_BCHW.double(), eps), weights_BSK)
    least_B: NDArray[np.float64] = (bound_BS + constant_BS).amin(1).numpy()
    return np.where(np.isnan(least_B), -np.inf, least_B)


def footprint(graph: Graph, x_BCHW: Tensor) -> int:
    """Numbers that all layers of a network hold for one image."""
    values = {graph.nodes[0].name: torch.empty((1, *x_BCHW.shape[1:]), device="meta")}
    for node in graph.nodes[1:]:
        constants = {name: torch.empty(value.shape, device="meta") for name, value in node.constants.items()}
        values[node.name] = evaluate(replace(node, constants=constants), *(values[name] for name in node.inputs))
    return sum(value.numel() for value in values.values())


def _batches(rows: NDArray[np.int64], graph: Graph, x_NCHW: Tensor) -> Iterator[NDArray[np.int64]]:
    size = min(MOST, max(1, BYTES // (16 * footprint(graph, x_NCHW))))
    yield from (rows[start : start + size] for start in range(0, len(rows), size))
