"""Every attack of conf at every radius, on the same samples.

B batch, C channels, H height, W width, K columns of a decoded prediction, N samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.adversarial.ball import eight_bit
from pipeline.adversarial.promises import Seen, check_promises
from pipeline.adversarial.victim import Passes, Victim
from pipeline.core.keyed import seed
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track

FEWEST, MOST, NUMBERS = 8, 64, 720_000  # of a batch: EfficientNet-Lite0 at 300 pixels keeps 150 MB an image


@dataclass(frozen=True)
class Prey:
    """Samples under attack, and the model that answers for them.

    Attributes:
        task: of the model.
        model: in evaluation mode.
        seed: of the attacks' draws.
        x_NCHW: images, whole grey levels as pixels in [0, 1].
        truth_N: of the task.
        weight_N: confidence of each truth.
        ids: of the samples.
    """

    task: Any
    model: nn.Module
    seed: int
    x_NCHW: Tensor
    truth_N: Tensor
    weight_N: NDArray[np.float64]
    ids: Sequence[str]

    @property
    def batch(self) -> int:
        """Samples that are attacked together; a function of the shape alone."""
        return max(FEWEST, min(MOST, NUMBERS // self.x_NCHW[0].numel()))

    def metrics(self, prediction_NK: NDArray[np.float32]) -> dict[str, float]:
        """The task's metrics of decoded predictions."""
        found: dict[str, float] = self.task.metrics(prediction_NK, self.truth_N.numpy(), self.weight_N)
        return found

    def see(self, x_NCHW: Tensor) -> Seen:
        """What the model makes of these images, in batches of the size that attacks use."""
        with torch.no_grad():
            starts = range(0, len(x_NCHW), self.batch)
            output_NK = torch.cat([self.model(x_NCHW[start : start + self.batch]) for start in starts])
        loss_N = self.task.losses(output_NK, self.truth_N)
        wrong_N = Victim(self.model, self.task, self.truth_N).wrong(output_NK)
        return Seen(x_NCHW, self.task.decode(output_NK).float().numpy(), loss_N, wrong_N)


@dataclass(frozen=True)
class Assault:
    """What one attack did at one radius.

    Attributes:
        name: of the option.
        norm: linf or l2.
        eps: radius, pixels in [0, 1].
        multiple: of the option's eps that this is.
        after: the attacked images and what the model makes of them.
        metrics: of the task.
        fooled: share of the samples that were right before and are wrong now; None for a value or where none was right.
        reached: share that a targeted attack brought to its goal; None for others and for values.
        passes: forward and backward passes, images a sample.
        gradients: whether the attack saw any.
    """

    name: str
    norm: str
    eps: float
    multiple: float
    after: Seen
    metrics: dict[str, float]
    fooled: float | None
    reached: float | None
    passes: float
    gradients: bool

    @property
    def radius(self) -> str:
        """For people: "2/255", or the length in l2."""
        return f"{255 * self.eps:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g} (l2)"


@dataclass(frozen=True)
class Rounded:
    """The images of one assault in whole grey levels, as a deployed model is given them.

    Attributes:
        assault: which.
        levels_NCHW: uint8.
        wrong_N: whether the class of the rounded image is wrong.
    """

    assault: Assault
    levels_NCHW: Tensor
    wrong_N: Tensor


@dataclass(frozen=True)
class Campaign:
    """All assaults on the same samples.

    Attributes:
        prey: the samples.
        clean: before any attack.
        metrics: of the clean samples.
        assaults: in the order of conf, each attack's radii rising.
        rounded: of each attack the assault nearest to its eps.
    """

    prey: Prey
    clean: Seen
    metrics: dict[str, float]
    assaults: list[Assault]
    rounded: list[Rounded]

    def standing(self, norm: str, eps: float, *, gradients: bool | None = None) -> Tensor:
        """Samples that are right under every assault of this norm up to this radius, (N,) bool.

        Args:
            norm: linf or l2.
            eps: radius.
            gradients: only of attacks that saw gradients, or that saw none; None for all.
        """
        standing_N = ~self.clean.wrong_N
        for one in self.assaults:
            if one.norm == norm and one.eps <= eps * (1 + 1e-9) and gradients in (None, one.gradients):
                standing_N = standing_N & ~one.after.wrong_N
        return standing_N

    def balls(self) -> list[tuple[str, float]]:
        """Norms and radii that were attacked, rising; linf first."""
        return sorted({(one.norm, one.eps) for one in self.assaults}, key=lambda ball: (ball[0] != "linf", ball[1]))


def run_attacks(nodes: Mapping[str, Any] | None, prey: Prey) -> Campaign:
    """Attack the samples in every way of conf.

    Args:
        nodes: name -> part of conf/attack; options `none` are left out.
        prey: the samples.

    Raises:
        PersonError: a radius is outside the input range, or a model has no gradient.
        RuntimeError: an attack broke its promise.
    """
    wanted = {name: node for name, node in (nodes or {}).items() if not is_off(node)}
    planned = [
        (name, multiple, build({**node, "eps": float(node["eps"]) * multiple}))
        for name, node in wanted.items()
        for multiple in sorted(float(multiple) for multiple in build(node).radii)
    ]
    clean = prey.see(prey.x_NCHW)
    assaults = []
    for name, multiple, attack in track(planned, what="attacks", total=len(planned)):
        assaults.append(_assault(prey, clean, attack, name=name, multiple=multiple))
        check_promises(clean, assaults[-1].after, eps=attack.eps, norm=attack.norm)
    nearest = [min((one for one in assaults if one.name == name), key=lambda one: abs(one.multiple - 1)) for name in wanted]
    return Campaign(prey, clean, prey.metrics(clean.prediction_NK), assaults, [_round(prey, one) for one in nearest])


def _assault(prey: Prey, clean: Seen, attack: Any, *, name: str, multiple: float) -> Assault:
    passes, found, goals = Passes(), [], []
    for start in range(0, len(prey.x_NCHW), prey.batch):
        x_BCHW = prey.x_NCHW[start : start + prey.batch]
        victim = Victim(prey.model, prey.task, prey.truth_N[start : start + prey.batch], passes)
        rng = torch.Generator().manual_seed(seed(prey.seed, "attack", name, start))
        found.append(attack(victim, x_BCHW, rng))
        if getattr(attack, "targeted", False) and victim.categories:
            goals.append(Victim(prey.model, prey.task, victim.truth_B).far_goal(x_BCHW))
    after = prey.see(torch.cat(found))
    right_N = ~clean.wrong_N
    fooled = float(after.wrong_N[right_N].float().mean()) if prey.task.categories and bool(right_N.any()) else None
    reached = float((torch.from_numpy(after.prediction_NK).argmax(1) == torch.cat(goals)).float().mean()) if goals else None
    return Assault(
        name, attack.norm, attack.eps, multiple, after, prey.metrics(after.prediction_NK), fooled, reached,
        passes.total / len(prey.x_NCHW), getattr(attack, "gradients", True),
    )  # fmt: skip


def _round(prey: Prey, assault: Assault) -> Rounded:
    levels_NCHW = eight_bit(assault.after.x_NCHW, prey.x_NCHW, assault.eps, assault.norm)
    return Rounded(assault, levels_NCHW, prey.see(levels_NCHW.float() / 255).wrong_N)
