"""Whether the exported detector of unknown inputs says what the trained one says, sample by sample.

B, N samples.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from pipeline.core.contracts import Loaded
from pipeline.core.errors import PersonError
from pipeline.outlier.watch import OUTPUTS, Watch
from pipeline.training.predict import BATCH, to_batch
from pipeline.training.subset import Subset


@dataclass(frozen=True)
class Agreement:
    """How far the exported detector is from the trained one.

    Attributes:
        detector: its name.
        samples: compared.
        max_abs_diff: of the scores.
        spread: largest less smallest score of the trained one, what a difference is held against.
        other_flags: samples of which one says unknown and the other does not, though neither score lies at the threshold.
        flagged: samples that the trained one calls unknown.
    """

    detector: str
    samples: int
    max_abs_diff: float
    spread: float
    other_flags: int
    flagged: int

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def compare_watch(watch: Watch, exported: Loaded, subset: Subset, *, tolerance: float) -> Agreement:
    """Run both on the same samples.

    Args:
        watch: the trained network with its detector.
        exported: the file, opened in its runtime.
        subset: real samples.
        tolerance: share of the scores' spread within which a score counts as lying at the threshold.

    Raises:
        PersonError: the exported model has no output for it.
    """
    trained, flags, answers, called = [], [], [], []
    with torch.inference_mode():
        for pixels_BHWC in subset.batches(BATCH):
            _, score_B, unknown_B = watch(to_batch(list(pixels_BHWC)))
            found = exported.answers(pixels_BHWC)
            missing = [name for name in OUTPUTS if name not in found]
            if missing:
                raise PersonError(f"the exported model has no output {missing[0]!r}, but a detector was to travel with it")
            trained.append(score_B.numpy())
            flags.append(unknown_B.numpy())
            answers.append(found[OUTPUTS[0]])
            called.append(found[OUTPUTS[1]])
    score_N, answer_N = np.concatenate(trained), np.concatenate(answers)
    spread = float(np.ptp(score_N))
    clear_N = np.abs(score_N - float(watch.threshold)) > tolerance * max(spread, 1e-12)
    other = int(((np.concatenate(flags) != np.concatenate(called)) & clear_N).sum())
    gap = float(np.abs(score_N - answer_N).max())
    return Agreement(watch.chosen.name, len(score_N), gap, spread, other, int(np.concatenate(flags).sum()))


def gate_watch(found: Agreement, *, tolerance: float) -> None:
    """Refuse an exported detector that is not the trained one.

    Args:
        found: of `compare_watch`.
        tolerance: largest difference of a score, as a share of their spread.

    Raises:
        PersonError: a difference above it or not finite, or another flag.
    """
    limit = tolerance * (found.spread or 1.0)
    if not found.max_abs_diff <= limit or found.other_flags:
        raise PersonError(
            f"the exported detector {found.detector} is not the trained one on {found.samples} samples: scores differ by "
            f"{found.max_abs_diff:.3g} (allowed: {limit:.3g}), {found.other_flags} other flags (allowed: 0): "
            "choose another detector with  ood.ship , or none"
        )
