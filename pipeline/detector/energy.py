"""Free energy of the logits.

Source: Liu, Wang, Owens and Li 2020, Energy-based Out-of-distribution Detection, arXiv 2010.03759, equation 4; by pytorch-ood.

B samples, D features, K classes.
"""

from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State


class Energy:
    """-T log sum exp(logits / T).

    Args:
        temperature: T.

    Raises:
        PersonError: a temperature that is not positive.
    """

    needs = ("classes",)

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise PersonError(f"detector.energy.temperature must be positive: received {temperature}")
        self.temperature = temperature

    def fit(self, known: Known) -> Fitted:
        """Nothing is fitted."""

        def score(seen: Seen) -> Tensor:
            found_B: Tensor = detectors().EnergyBased.score(seen.logits_BK, self.temperature)
            return found_B

        return Fitted(score, {})

    def graph(self, state: State) -> nn.Module:
        """The same expression."""
        return _Graph(self.temperature)


class _Graph(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits_BK: Tensor, features_BD: Tensor) -> Tensor:
        return -self.temperature * (logits_BK / self.temperature).logsumexp(dim=1)
