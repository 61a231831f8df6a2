"""Distance to the k-th nearest training sample in feature space.

Source: Sun, Ming, Zhu and Li 2022, Out-of-Distribution Detection with Deep Nearest Neighbors, arXiv 2204.06507, equation 3; by
pytorch-ood. Differs in: features are brought to their principal axes first, so that the samples can travel with the model.

B, N samples, D features, M axes, K classes.
"""

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.axes import Projection, fit_axes
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State

TINY = 1e-12  # length below which a vector is not scaled up


class Knn:
    """Euclidean distance of unit vectors to the k-th nearest of the train split.

    Args:
        k: neighbours; the paper takes 50 for 50,000 samples.
        components: principal axes of the features.

    Raises:
        PersonError: fewer than one neighbour or axis.
    """

    needs = ("features",)

    def __init__(self, *, k: int = 10, components: int = 64) -> None:
        if min(k, components) < 1:
            raise PersonError(f"detector.knn.k and components must be at least 1: received {k} and {components}")
        self.k = k
        self.components = components

    def fit(self, known: Known) -> Fitted:
        """The samples of the train split themselves, on their axes, as unit vectors.

        Raises:
            PersonError: they are fewer than k.
        """
        if len(known.features_ND) < self.k:
            count = len(known.features_ND)
            raise PersonError(f"detector.knn.k={self.k} needs as many train samples, and there are {count}: set a smaller k")
        axes = fit_axes(known.features_ND, self.components)
        project = Projection(axes)
        bank_NM = _unit(project(known.features_ND))
        part = detectors().KNN(None, k=self.k).fit_features(bank_NM, torch.zeros(len(bank_NM), dtype=torch.int64))

        def score(seen: Seen) -> Tensor:
            found_B: Tensor = part.predict_features(project(seen.features_BD))
            return found_B.float()

        return Fitted(score, {**axes, "bank_NM": bank_NM})

    def graph(self, state: State) -> nn.Module:
        """|z - z_(k)|, the k-th nearest found by the inner product."""
        return _Graph(state, self.k)


def _unit(z_BM: Tensor) -> Tensor:
    unit_BM: Tensor = z_BM / z_BM.norm(dim=1, keepdim=True).clamp_min(TINY)
    return unit_BM


class _Graph(nn.Module):
    bank_NM: Tensor

    def __init__(self, state: State, k: int) -> None:
        super().__init__()
        self.project, self.k = Projection(state), k
        self.register_buffer("bank_NM", state["bank_NM"])

    def forward(self, logits_BK: Tensor, features_BD: Tensor) -> Tensor:
        z_BM = _unit(self.project(features_BD))
        place_B = (z_BM @ self.bank_NM.T).topk(self.k, dim=1).indices[:, -1]
        score_B: Tensor = (z_BM - self.bank_NM[place_B]).norm(dim=1)
        return score_B
