"""ViM: what of the features lies outside their principal space, as a logit of one more class.

Source: Wang, Li, Feng and Zhang 2022, ViM: Out-Of-Distribution with Virtual-logit Matching, arXiv 2203.10807, equations 4 to 7;
by pytorch-ood. The graph keeps the principal space and not its complement: the same residual, from a smaller matrix.

B, N samples, D features, M axes, K classes.
"""

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State


class Vim:
    """Norm of the residual, scaled to the logits, less their free energy.

    Args:
        dimension: of the principal space; half the features' where they have fewer than twice as many.

    Raises:
        PersonError: fewer than one dimension.
    """

    needs = ("classes", "features")

    def __init__(self, *, dimension: int = 128) -> None:
        if dimension < 1:
            raise PersonError(f"detector.vim.dimension must be at least 1: received {dimension}")
        self.dimension = dimension

    def fit(self, known: Known) -> Fitted:
        """Principal space and scale of the train split."""
        wide = known.features_ND.shape[1]
        dimension = min(self.dimension, max(1, wide // 2))
        part = detectors().ViM(None, d=dimension, w=known.weight_KD, b=known.bias_K)
        part.fit_features(known.features_ND, known.truth_N)

        def score(seen: Seen) -> Tensor:
            found_B: Tensor = part.predict_features(seen.features_BD)
            return found_B

        axes_DM = complement(part.principal_subspace, dimension)
        return Fitted(score, {"origin_D": part.u, "axes_DM": axes_DM, "alpha": torch.tensor(part.alpha, dtype=torch.float32)})

    def graph(self, state: State) -> nn.Module:
        """Scale times |r|, less log sum exp(logits), r the features less their part in the principal space."""
        return _Graph(state)


def complement(null_DR: Tensor, dimension: int) -> Tensor:
    """An orthonormal basis (D, M) of what is orthogonal to the columns of `null_DR`, which are orthonormal; D = M + R."""
    rng = torch.Generator().manual_seed(0)
    found_DM = torch.randn(len(null_DR), dimension, generator=rng)
    for _ in range(2):  # the second time removes what rounding left
        found_DM = torch.linalg.qr(found_DM - null_DR @ (null_DR.T @ found_DM))[0]
    return found_DM.contiguous()


class _Graph(nn.Module):
    origin_D: Tensor
    axes_DM: Tensor
    alpha: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        for name in ("origin_D", "axes_DM", "alpha"):
            self.register_buffer(name, state[name])

    def forward(self, logits_BK: Tensor, features_BD: Tensor) -> Tensor:
        away_BD = features_BD - self.origin_D
        residual_BD = away_BD - (away_BD @ self.axes_DM) @ self.axes_DM.T
        score_B: Tensor = self.alpha * residual_BD.norm(dim=1) - logits_BK.logsumexp(dim=1)
        return score_B
