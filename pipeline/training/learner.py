"""The one LightningModule: any model, any task. A step is a function of (seed, step, rank) alone.

B batch, K outputs.
"""

import copy
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pipeline.core.contracts import Task
from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed as keyed_seed
from pipeline.training.mixing import Mixer

Batch = dict[str, Tensor]


class Learner(pl.LightningModule):
    """AdamW (Loshchilov & Hutter 2019), linear warm-up and cosine decay per step, optional moving average of the weights.

    Args:
        model: what is trained.
        task: loss of raw outputs.
        recipe: `lr`, `weight_decay`, `warmup`, `max_steps`, `clip`, `ema`, `mix` and `mix_alpha` of conf/train.
        seed: of the randomness inside the model (dropout).
        owner: the network whose `penalty` and `learning_rates` hold, where `model` is only its head.

    Raises:
        PersonError: images are to be mixed and the model sees cached features.
    """

    def __init__(
        self, model: nn.Module, *, task: Task, recipe: dict[str, Any], seed: int, owner: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False) if recipe["ema"] else None
        mixer = Mixer(kind=recipe.get("mix", "none"), alpha=recipe.get("mix_alpha", 1.0), seed=seed)
        mixer.check(images=owner is None or owner is model)
        self._rest: dict[str, Any] = {"task": task, "recipe": recipe, "seed": seed, "owner": owner or model, "mixer": mixer}
        self.grad_norm = math.nan

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Weighted mean loss, plus the model's own penalty; stops before the step when it is not finite."""
        torch.manual_seed(keyed_seed(self._rest["seed"], "step", self.global_step, self.global_rank))
        mixed = self._rest["mixer"](batch["x"], self.global_step, self.global_rank)
        output_BK = self.model(mixed.x_BCHW)
        losses_B = mixed.weigh(lambda truth_B: self._rest["task"].losses(output_BK, truth_B), batch["truth"], batch["weight"])
        loss = losses_B.sum() / batch["weight"].sum()
        penalty = getattr(self._rest["owner"], "penalty", None)
        if penalty is not None:
            loss = loss + penalty()
        if not torch.isfinite(loss):
            worst = batch["index"][~torch.isfinite(losses_B)].tolist()[:5]
            raise PersonError(
                f"the loss is {loss.item()} at step {self.global_step} (learning rate {self.rate():.3g}, samples {worst}): "
                "lower train.lr or train.clip; the last finite checkpoint is kept"
            )
        return loss  # type: ignore[no-any-return]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by the total norm, and remember what it was."""
        limit = self._rest["recipe"]["clip"] or math.inf
        self.grad_norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), limit))

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, then move the average; here and not in a hook, so that a checkpoint of this step holds it."""
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            decay = self._rest["recipe"]["ema"]
            pairs = zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, 1 - decay) if slow.is_floating_point() else slow.copy_(fast)

    def configure_optimizers(self) -> Any:
        """AdamW; biases and norms are not decayed; a schedule that is a pure function of the step."""
        recipe = self._rest["recipe"]
        factors: dict[str, float] = getattr(self._rest["owner"], "learning_rates", dict)()
        groups = []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                factor = next((value for prefix, value in factors.items() if name.startswith(prefix)), 1.0)
                decay = recipe["weight_decay"] if parameter.ndim > 1 else 0.0
                groups.append({"params": [parameter], "lr": recipe["lr"] * factor, "weight_decay": decay})
        if not groups:
            raise PersonError("the model has no trainable parameter: raise model.trainable_blocks")
        optimizer = torch.optim.AdamW(groups)
        steps, warmup = recipe["max_steps"], recipe["warmup"]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, steps, warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self) -> float:
        """The largest learning rate now."""
        optimizer: Any = self.optimizers()
        return float(max(group["lr"] for group in optimizer.param_groups))

    def shipped(self) -> nn.Module:
        """The network to publish: the moving average where there is one."""
        return self.average if self.average is not None else self.model


def rate_factor(step: int, max_steps: int, warmup: float) -> float:
    """Linear warm-up over the first share of the steps, then cosine to zero (Loshchilov & Hutter 2017, eq. 5)."""
    rising = max(1, round(warmup * max_steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, max_steps - rising))))
