"""The one LightningModule: any model, any task. A step is a function of (weights, seed, step, rank) alone.

B batch, K outputs.
"""

import contextlib
import inspect
import math
import os
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pipeline.core.contracts import Task
from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed as keyed_seed
from pipeline.training.averaging import Moving, average_of, decay_at
from pipeline.training.hardening import hardener_of
from pipeline.training.mixing import Mixed, Mixer
from pipeline.training.optimisers import optimisers_of
from pipeline.training.processes import mean_over_processes
from pipeline.training.schedules import schedule_of

Batch = dict[str, Tensor]
NAMED = 5  # samples that an error names


class Learner(pl.LightningModule):
    """One optimiser step a batch: forward, backward in parts, clip, step at the rate of the schedule, move the average.

    Lightning's manual optimisation: a batch may be taken in several parts, Muon comes with a second optimiser, and the loop
    around a step costs less.

    Args:
        model: what is trained.
        task: loss of raw outputs.
        recipe: conf/train.
        seed: of the randomness inside the model (dropout).
        owner: the network whose `penalty` and `learning_rates` hold, where `model` is only its head.

    Attributes:
        names: ids of the samples, for a person whose loss is not finite; may be given afterwards.

    Raises:
        PersonError: images are to be mixed or attacked and the model sees cached features, or the recipe names what does not
            exist.
    """

    def __init__(
        self, model: nn.Module, *, task: Task, recipe: dict[str, Any], seed: int, owner: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.average = average_of(model) if recipe["ema"] else None
        mixer = Mixer(kind=recipe.get("mix", "none"), alpha=recipe.get("mix_alpha", 1.0), seed=seed)
        images = owner is None or owner is model
        mixer.check(images=images)
        self._rest: dict[str, Any] = {
            "recipe": recipe, "seed": seed, "owner": owner or model, "mixer": mixer,
            "hardener": hardener_of(recipe, task, seed=seed, images=images),
        }  # fmt: skip
        self.schedule = schedule_of(recipe)
        self.grad_norm = math.nan
        self.names: Sequence[str] = ()
        self._steppers: list[Any] = []
        self._trained: list[nn.Parameter] = []
        self._moving: Moving | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """As torch's, which searches its tables, but for the running hook's name, which Lightning notes twenty times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """One optimiser step; returns its loss. Stops before the step when the loss or a gradient is not finite."""
        rest, step = self._rest, self.global_step
        rest["index"] = batch["index"]
        self._seed(self._step_seed(step))
        mixed = rest["mixer"](batch["x"], step, self.global_rank)
        counted, *others = self._steppers or self._prepared()
        for parameter in self._trained:
            parameter.grad = None
        loss = self._backward(batch, mixed)
        factor = self.schedule(step)
        for stepper in (counted, *others):
            for group in stepper.param_groups:
                group["lr"] = group["initial_lr"] * factor
        counted.step()
        for other in others:
            other.step()
        if self._moving is not None:
            self._moving(decay_at(step, rest["recipe"]["ema"]))
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip by the total norm, remember what it was, and stop when it is not finite."""
        limit = self._rest["recipe"]["clip"] or math.inf
        self.grad_norm = float(nn.utils.clip_grad_norm_(self._trained, limit))
        if not math.isfinite(self.grad_norm):
            raise PersonError(
                f"the norm of the gradient is {self.grad_norm} at step {self.global_step} (learning rate {self.rate():.3g}, "
                f"samples {self._named(self._rest['index'])} and others): lower train.lr; the last finite checkpoint is kept"
            )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        """Lightning's, but for a batch that lies where it should."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def configure_optimizers(self) -> Any:
        """As the recipe names them; the schedule is no object of Lightning's but a function of the step."""
        factors: dict[str, float] = getattr(self._rest["owner"], "learning_rates", dict)()
        return optimisers_of(self.model, self._rest["recipe"], factors)

    def rate(self) -> float:
        """The largest learning rate of the step that is taken next."""
        peak = max(group["initial_lr"] for stepper in self._steppers or self._prepared() for group in stepper.param_groups)
        return float(peak * self.schedule(self.global_step))

    def shipped(self) -> nn.Module:
        """The network to publish: the moving average where there is one."""
        return self.average if self.average is not None else self.model

    def _backward(self, batch: Batch, mixed: Mixed) -> Tensor:
        """Gradients of the weighted mean loss of the batch, in `accumulate` parts of which each adds its share.

        Batch norm sees the statistics of a part; but for that and for rounding the gradient is that of the whole batch.
        """
        rest, count = self._rest, len(batch["truth"])
        parts = _parts(count, rest["recipe"].get("accumulate", 1))
        weight, total = mean_over_processes(batch["weight"].sum()), torch.zeros(())
        for part in parts:
            with self._unsynchronised() if part is not parts[-1] else contextlib.nullcontext():
                whole = len(parts) == 1
                x_BCHW = mixed.x_BCHW if whole else mixed.x_BCHW[part]
                weigh = partial(mixed.weigh, truth_B=batch["truth"], weight_B=batch["weight"], part=part)
                losses_B = rest["hardener"](self.model, x_BCHW, weigh, (self.global_step, self.global_rank, part.start))
                loss = losses_B.sum() / weight
                penalty = getattr(rest["owner"], "penalty", None)
                if penalty is not None and part is parts[0]:
                    loss = loss + penalty()
                if not math.isfinite(loss.item()):
                    self._refuse(loss, losses_B, batch["index"][part])
                self._differentiate(loss)
            total = loss.detach() if whole else total.to(loss.device) + loss.detach()
        return total

    def _refuse(self, loss: Tensor, losses_B: Tensor, index_B: Tensor) -> None:
        worst = self._named(index_B[~torch.isfinite(losses_B)])
        raise PersonError(
            f"the loss is {loss.item()} at step {self.global_step} (learning rate {self.rate():.3g}, samples {worst}): "
            "lower train.lr or train.clip; the last finite checkpoint is kept"
        )

    def _named(self, index_B: Tensor) -> str:
        """The first samples of a batch, by their ids where they are known, else by their numbers."""
        found = index_B.tolist()[:NAMED]
        return str([self.names[number] for number in found] if len(self.names) else found)

    def _prepared(self) -> list[Any]:
        """The optimisers, the first as Lightning counts its steps, the others bare; and the pairs of the average."""
        counted: Any = self.optimizers()
        bare: Any = self.optimizers(use_pl_optimizer=False)
        self._steppers = [counted[0], *bare[1:]] if isinstance(counted, list) else [counted]
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.average is not None:
            self._moving = Moving(self.average, self.model)
        if self.device.type == "cpu" and not torch.cuda.is_available():
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # Lightning's 1 makes every optimiser step search the disk for GPUs
        return self._steppers

    def _step_seed(self, step: int) -> int:
        return keyed_seed(self._rest["seed"], "step", step, self.global_rank)

    def _seed(self, seed: int) -> None:
        """Seed the randomness inside the model. `torch.manual_seed` does the same and formats a stack trace for absent GPUs."""
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.manual_seed(seed)

    def _differentiate(self, loss: Tensor) -> None:
        """The backward pass; one process needs nothing of Lightning for it, and autocast has no part in it."""
        kind = self.device.type
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext():
            if self.trainer.world_size == 1:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                self.manual_backward(loss)

    def _unsynchronised(self) -> Any:
        """Between the parts of a batch the processes exchange no gradient."""
        silent = getattr(self.trainer.model, "no_sync", contextlib.nullcontext)
        return silent()


# Lightning works the signature out anew at each step, unless it stands there.
Learner.training_step.__signature__ = inspect.signature(Learner.training_step)  # type: ignore[attr-defined]


def _parts(count: int, wanted: int) -> list[slice]:
    """Cut `count` samples into parts whose sizes differ by one at most.

    Raises:
        PersonError: more parts than samples.
    """
    if wanted > count:
        raise PersonError(
            f"train.accumulate={wanted} cuts {count} samples of a batch and process: lower it, or raise train.batch_size"
        )
    borders = [count * number // wanted for number in range(wanted + 1)]
    return [slice(*pair) for pair in pairwise(borders)]
