"""Principal axes of features, so that distances stand on more samples than dimensions, and little has to travel.

N, B samples, D features, M axes.
"""

import torch
from torch import Tensor, nn

from pipeline.outlier.view import State

FLAT = 1e-6  # an axis of less than this share of the largest variance is left out: it is rounding


def fit_axes(features_ND: Tensor, components: int) -> State:
    """Mean `centre_D` and the leading principal axes `axes_DM` of features.

    Args:
        features_ND: of the train split, N of at least 2.
        components: M; fewer where the features have fewer dimensions or vary in fewer.
    """
    from sklearn.decomposition import PCA

    values = features_ND.double().numpy()
    found = PCA(min(components, min(values.shape) - 1 or 1), random_state=0).fit(values)
    kept = found.explained_variance_ > FLAT * max(float(found.explained_variance_[0]), 1e-30)
    kept[0] = True
    axes = torch.from_numpy(found.components_[kept]).T.float().contiguous()
    return {"centre_D": torch.from_numpy(found.mean_).float(), "axes_DM": axes}


class Projection(nn.Module):
    """Coordinates on the principal axes."""

    centre_D: Tensor
    axes_DM: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        for name in ("centre_D", "axes_DM"):
            self.register_buffer(name, state[name])

    def forward(self, features_BD: Tensor) -> Tensor:
        """(B, D) -> (B, M)."""
        return (features_BD - self.centre_D) @ self.axes_DM
