"""Models whose exact robustness is known: what attacks are held against."""

import torch

from pipeline.adversarial.victim import Victim
from pipeline.core.parts import build
from tests import toy

COUNT = 40


def linear(classes: int) -> tuple[Victim, torch.Tensor]:
    """A linear classifier, images far from black and white, and the predictions as truths."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, classes)).eval()
    x_BCHW = torch.rand(COUNT, 1, 5, 5, generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3
    task = build(toy.option("task", "classification"), card={"classes": [str(k) for k in range(classes)], "name": "toy"})
    with torch.no_grad():
        return Victim(model, task, model(x_BCHW).argmax(1)), x_BCHW


def reach(victim: Victim, x_BCHW: torch.Tensor, dual: float) -> torch.Tensor:
    """The exact distance to the nearest other class, (B,): the gap of the logits over the dual norm of its gradient."""
    weight_KD, output_BK = victim.model[1].weight.detach(), victim.model(x_BCHW).detach()
    gap_BK = output_BK.gather(1, victim.truth_B[:, None]) - output_BK
    slope_BK = torch.linalg.vector_norm(weight_KD[victim.truth_B][:, None] - weight_KD[None], ord=dual, dim=2)
    distance_BK = gap_BK / slope_BK.clamp_min(1e-12)
    distance_BK[torch.arange(len(x_BCHW)), victim.truth_B] = torch.inf
    return distance_BK.min(1).values
