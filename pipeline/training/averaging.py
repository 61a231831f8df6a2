"""A moving average of a network's weights, which is shipped in place of the last ones.

Source: B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the exponential form with
a decay that warms up, min(decay, (1 + t) / (10 + t)) at step t, is that of TensorFlow's ExponentialMovingAverage: without it the
first weights linger in a short training (0.99 ** 300 is 5 % of them).
"""

import copy

from torch import Tensor, nn


def average_of(model: nn.Module) -> nn.Module:
    """A copy to be moved; it takes no gradient."""
    return copy.deepcopy(model).requires_grad_(False)


def decay_at(step: int, decay: float) -> float:
    """Share of the average that stays after optimiser step `step`, counted from 0."""
    return min(decay, (1 + step) / (10 + step))


class Moving:
    """Moves `average` towards `model`; what is no float, such as a counter, is copied. Their tensors must stay where they are."""

    def __init__(self, average: nn.Module, model: nn.Module) -> None:
        found = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
        self.pairs: list[tuple[Tensor, Tensor]] = list(found)

    def __call__(self, decay: float) -> None:
        """One move: average = decay * average + (1 - decay) * model."""
        for slow, fast in self.pairs:
            slow.lerp_(fast, 1 - decay) if slow.is_floating_point() else slow.copy_(fast)
