"""Maximum softmax probability: the plainest score of an unknown input.

Source: Hendrycks and Gimpel 2017, A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks,
arXiv 1610.02136, section 3; by pytorch-ood.

B samples, D features, K classes.
"""

from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State


class Softmax:
    """The negated largest probability.

    Args:
        temperature: that the logits are divided by.

    Raises:
        PersonError: a temperature that is not positive.
    """

    needs = ("classes",)

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise PersonError(f"detector.softmax.temperature must be positive: received {temperature}")
        self.temperature = temperature

    def fit(self, known: Known) -> Fitted:
        """Nothing is fitted."""

        def score(seen: Seen) -> Tensor:
            found_B: Tensor = detectors().MaxSoftmax.score(seen.logits_BK, self.temperature)
            return found_B

        return Fitted(score, {})

    def graph(self, state: State) -> nn.Module:
        """-max_k softmax(logits / T)_k."""
        return _Graph(self.temperature)


class _Graph(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits_BK: Tensor, features_BD: Tensor) -> Tensor:
        return -(logits_BK / self.temperature).softmax(dim=1).amax(dim=1)
