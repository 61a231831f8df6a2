"""Mahalanobis distance to the nearest class in feature space.

Source: Lee, Lee, Lee and Shin 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
arXiv 1807.03888, equations 1 and 2; by pytorch-ood. Differs in: the features of the last layer alone, on their leading principal
axes, since a covariance of thousands of dimensions cannot be had from as few samples; no step along the gradient.

B, N samples, D features, M axes, K classes.
"""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.axes import Projection, fit_axes
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State

SAMPLES = 4  # an axis, at least, behind the covariance


class Mahalanobis:
    """Half the squared distance to the nearest class mean, under one covariance.

    Args:
        components: principal axes of the features; fewer where the train samples are less than four times as many.

    Raises:
        PersonError: fewer than one axis.
    """

    needs = ("features",)

    def __init__(self, *, components: int = 64) -> None:
        if components < 1:
            raise PersonError(f"detector.mahalanobis.components must be at least 1: received {components}")
        self.components = components

    def fit(self, known: Known) -> Fitted:
        """Axes, class means and the shared covariance of the train split; a class that it lacks has no mean."""
        axes = fit_axes(known.features_ND, max(1, min(self.components, len(known.features_ND) // SAMPLES)))
        project = Projection(axes)
        label_N = torch.from_numpy(np.unique(known.truth_N.numpy(), return_inverse=True)[1])
        part = detectors().Mahalanobis(None).fit_features(project(known.features_ND), label_N)

        def score(seen: Seen) -> Tensor:
            found_B: Tensor = part.predict_features(project(seen.features_BD))
            return found_B

        return Fitted(score, {**axes, "mean_KM": part.mu, "precision_MM": part.precision})

    def graph(self, state: State) -> nn.Module:
        """min_k (z - mean_k)^T P (z - mean_k) / 2."""
        return _Graph(state)


class _Graph(nn.Module):
    mean_KM: Tensor
    precision_MM: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        self.project = Projection(state)
        for name in ("mean_KM", "precision_MM"):
            self.register_buffer(name, state[name])

    def forward(self, logits_BK: Tensor, features_BD: Tensor) -> Tensor:
        away_BKM = self.project(features_BD)[:, None, :] - self.mean_KM
        return 0.5 * torch.amin(((away_BKM @ self.precision_MM) * away_BKM).sum(dim=2), dim=1)
