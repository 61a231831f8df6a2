"""The attacks of AutoAttack, by pyautoattack, one after the other on the samples that still stand.

Sources: F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
ICML 2020, arXiv 2003.01690 (APGD on cross-entropy and on the targeted difference of logits ratio, the order of the ensemble);
F. Croce and M. Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020, arXiv 1907.02044
(FAB); M. Andriushchenko et al., "Square Attack", ECCV 2020, arXiv 1912.00049. Differs in: fewer steps, so a sample leaves after
each single run that fools it; with two or three classes, for which the targeted ratio is not defined, the untargeted one (three)
or cross-entropy alone (two); a sample that no attack fools keeps the image of its highest loss. Where there are no classes, or
the closure is a plain one, APGD and Square climb the loss itself, and no sample leaves.

B batch, C channels, H height, W width, K classes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor
from torch.nn.functional import softsign

from pipeline.adversarial.ball import check_images, distance, slack
from pipeline.adversarial.climb import undifferentiable
from pipeline.adversarial.victim import Victim, better, judge
from pipeline.core.contracts import LossOf

NAMES = {"linf": "Linf", "l2": "L2"}
SILENT = logging.getLogger(__name__)  # pyautoattack writes there where a gradient is zero; robustness finds that by Square
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ground:
    """What every attack of an ensemble is told.

    Attributes:
        predict: images -> logits (B, K).
        classes: K, or 0 where the logits stand for a loss.
        eps: radius.
        norm: linf or l2.
    """

    predict: Predict
    classes: int
    eps: float
    norm: str


Shot = Callable[[Ground, Tensor, Tensor], Tensor]  # (ground, images, labels) -> candidates


class _Fab(FABAttack_PT):  # type: ignore[misc]
    """FAB that leaves the gradients of the model's parameters alone."""

    def get_diff_logits_grads_batch_targeted(self, imgs: Tensor, la: Tensor, la_target: Tensor) -> tuple[Tensor, Tensor]:
        """Difference of two logits (B, 1) and its gradient by the pixels (B, 1, C, H, W)."""
        row_B = torch.arange(len(imgs))
        with torch.enable_grad():
            pixels_BCHW = imgs.clone().requires_grad_()
            output_BK = self.predict(pixels_BCHW)
            gap_B = output_BK[row_B, la_target] - output_BK[row_B, la]
            slope_BCHW = torch.autograd.grad(gap_B.sum(), pixels_BCHW)[0]
        return gap_B.detach().unsqueeze(1), slope_BCHW.unsqueeze(1)


def cross_entropy(steps: int) -> Shot:
    """APGD on cross-entropy."""
    def shot(ground: Ground, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
        attack = APGDAttack(ground.predict, n_iter=steps, eps=ground.eps, norm=NAMES[ground.norm], loss="ce", logger=SILENT)
        return _descend(attack, x_BCHW, label_B)

    return shot


def ratio(steps: int) -> Shot:
    """APGD on the difference of logits ratio (three classes or more)."""
    def shot(ground: Ground, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
        attack = APGDAttack(ground.predict, n_iter=steps, eps=ground.eps, norm=NAMES[ground.norm], loss="dlr", logger=SILENT)
        return _descend(attack, x_BCHW, label_B)

    return shot


def targeted_ratio(steps: int, rank: int) -> Shot:
    """APGD on the targeted ratio, towards the class of this rank (2 is the most likely wrong one; four classes or more)."""
    def shot(ground: Ground, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
        attack = APGDAttack_targeted(ground.predict, n_iter=steps, eps=ground.eps, norm=NAMES[ground.norm], logger=SILENT)
        with torch.no_grad():
            attack.y_target = ground.predict(x_BCHW).argsort(dim=1)[:, -rank]
        return _descend(attack, x_BCHW, label_B)

    return shot


def boundary(steps: int, rank: int) -> Shot:
    """FAB towards the boundary with the class of this rank."""
    def shot(ground: Ground, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
        attack = _Fab(ground.predict, n_iter=steps, eps=ground.eps, norm=NAMES[ground.norm], device=x_BCHW.device)
        attack.target_class = rank
        found_BCHW: Tensor = attack.attack_single_run(x_BCHW, label_B, is_targeted=True)
        return found_BCHW

    return shot


def square(queries: int, share: float = 0.8) -> Shot:
    """The square attack; `share` of the image that the first square covers."""
    def shot(ground: Ground, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
        attack = SquareAttack(
            ground.predict, n_queries=queries, eps=ground.eps, norm=NAMES[ground.norm], p_init=share, device=x_BCHW.device
        )
        attack.init_hyperparam(x_BCHW)
        found_BCHW: Tensor = attack.attack_single_run(x_BCHW, label_B)[1]
        return found_BCHW

    return shot


def ensemble(
    classes: int, *, steps: Sequence[int], targets: int, fab_steps: int, fab_targets: int, queries: int
) -> list[Shot]:  # fmt: skip
    """The attacks in order, for so many classes; 0 classes stand for a loss that is climbed itself.

    Args:
        classes: K.
        steps: of APGD on cross-entropy, one run for each number; the last holds for the other runs of APGD too.
        targets: classes of targeted APGD, at most.
        fab_steps: of FAB; 0 leaves it out.
        fab_targets: classes of FAB, at most.
        queries: of Square; 0 leaves it out.
    """
    shots = [cross_entropy(count) for count in steps]
    if classes == 3:
        shots.append(ratio(steps[-1]))
    if classes > 3:
        shots += [targeted_ratio(steps[-1], rank) for rank in range(2, 2 + min(targets, classes - 1))]
    if classes and fab_steps:
        shots += [boundary(fab_steps, rank) for rank in range(2, 2 + min(fab_targets, classes - 1))]
    return [*shots, square(queries)] if queries else shots


def hunt(shots: Sequence[Shot], loss_of: LossOf, x_BCHW: Tensor, *, eps: float, norm: str, rng: torch.Generator) -> Tensor:
    """Take the shots in turn at the samples that no earlier one fooled.

    Args:
        shots: of this module.
        loss_of: a `Victim`, or any closure of the losses (B,).
        x_BCHW: images in [0, 1]; untouched.
        eps: radius.
        norm: linf or l2.
        rng: seeds every draw; torch's global generator is left as it was.

    Returns:
        Images (B, C, H, W) inside the ball and in [0, 1]; a sample that was wrong before keeps its clean pixels.

    Raises:
        ValueError: pixels outside [0, 1], or a closure that does not return one loss a sample.
        PersonError: the model cannot be differentiated.
    """
    best_BCHW = x_BCHW.detach().clone()
    if len(x_BCHW) == 0:
        return best_BCHW
    check_images(x_BCHW, eps, norm)
    victim = loss_of if isinstance(loss_of, Victim) and loss_of.categories else None
    loss_B, wrong_B = judge(loss_of, best_BCHW)
    for shot in shots:
        left = (~wrong_B).nonzero()[:, 0]
        if not len(left):
            break
        facing = victim.rows(left) if victim else loss_of
        label_B = victim.truth_B[left] if victim else torch.zeros(len(left), dtype=torch.int64, device=x_BCHW.device)
        ground = Ground(victim.outputs if victim else _standing_for(loss_of), victim.categories if victim else 0, eps, norm)
        clean_BCHW = x_BCHW.detach()[left]
        found_BCHW = _inside(_seeded(shot, ground, clean_BCHW, label_B, rng=rng), clean_BCHW, eps=eps, norm=norm)
        after_B, mistaken_B = judge(facing, found_BCHW)
        kept = better((after_B, mistaken_B), (loss_B[left], wrong_B[left])).nonzero()[:, 0]
        best_BCHW[left[kept]], loss_B[left[kept]], wrong_B[left[kept]] = found_BCHW[kept], after_B[kept], mistaken_B[kept]
    return best_BCHW


def _seeded(shot: Shot, ground: Ground, x_BCHW: Tensor, label_B: Tensor, *, rng: torch.Generator) -> Tensor:
    start = int(torch.randint(2**62, (1,), generator=rng))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        return shot(ground, x_BCHW, label_B).detach()


def _descend(attack: Any, x_BCHW: Tensor, label_B: Tensor) -> Tensor:
    """One run of APGD: where it fooled the model the image that did, elsewhere the one of the highest loss."""
    attack.init_hyperparam(x_BCHW)
    try:
        best_BCHW, right_B, _, fooling_BCHW = attack.attack_single_run(x_BCHW, label_B)
    except RuntimeError as error:  # of autograd alone: the graph ends before the pixels
        if "does not require grad" in str(error) or "not have been used in the graph" in str(error):
            raise undifferentiable() from error
        raise
    found_BCHW: Tensor = torch.where(right_B.view(-1, 1, 1, 1), best_BCHW, fooling_BCHW)
    return found_BCHW


def _inside(found_BCHW: Tensor, x_BCHW: Tensor, *, eps: float, norm: str) -> Tensor:
    """The candidates; the clean image where one left its ball or is not finite, as FAB's often are."""
    found_BCHW = found_BCHW.clamp(0, 1)
    fits_B = distance(found_BCHW, x_BCHW, norm) <= eps + slack(eps)
    return torch.where(fits_B.view(-1, 1, 1, 1), found_BCHW, x_BCHW)


def _standing_for(loss_of: LossOf) -> Predict:
    """Logits (B, 2) whose first class is always the likelier one, and less so the higher the loss."""
    def predict(x_BCHW: Tensor) -> Tensor:
        loss_B = loss_of(x_BCHW)
        return torch.stack([1 - softsign(loss_B), torch.zeros_like(loss_B)], dim=1)

    return predict
