"""Memory that a training will take, before it takes it: forward passes of a copy on a few samples show what a sample costs.

The random state is put back and the network itself is not run, so the training's bits stay.

B batch, C channels, H height, W width.
"""

import contextlib
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.resources import device_free_bytes, free_bytes, resident_bytes

MOMENTS = 2  # numbers that AdamW keeps of a parameter; other optimisers keep as many or fewer
HEAP = 1.8  # bytes that a process grows by for each that a step on a CPU asks for; measured on a residual network of 64 pixels
COPIES = 2  # of a checkpoint: as it is serialised, and as it is read back


@dataclass(frozen=True)
class Memory:
    """Forecast for one process.

    Attributes:
        fixed: bytes that do not depend on the batch: what is held now, gradients, moments, a checkpoint as it is written.
        each: bytes of one sample of a process's batch: the sample itself, and what the backward pass keeps of it.
        held: bytes that are held now.
        free: bytes that may be taken beyond these; None where nothing says so.
    """

    fixed: int
    each: int
    held: int
    free: int | None

    def peak(self, batch: int) -> int:
        """Bytes with that many samples at once."""
        return self.fixed + batch * self.each

    def fits(self, batch: int) -> bool:
        """Whether that many samples at once fit into what is free."""
        return self.free is None or self.peak(batch) - self.held <= self.free

    def fitting(self, batch: int) -> int:
        """The largest batch, halved from `batch` as often as needed, that fits; 0 where none does."""
        while batch and not self.fits(batch):
            batch //= 2
        return batch


def foresee(
    model: nn.Module, batch_of: Callable[[int], Mapping[str, Tensor]], losses: Callable[[Tensor, Tensor], Tensor], *,
    precision: str = "32-true", beside: int = 0,
) -> Memory:  # fmt: skip
    """Forecast from passes on two and on four samples.

    Args:
        model: what is trained.
        batch_of: a batch of so many samples, with `x` and `truth`.
        losses: of outputs and truths, (B,).
        precision: as Lightning names it.
        beside: bytes of what is saved with the weights and not trained, such as their average.
    """
    kept = [_kept(model, batch_of(count), losses, mixed=precision == "bf16-mixed") for count in (2, 4)]
    (less, _, _), (more, widest, batch) = kept
    # A pass back holds the gradient of the widest activation and of the one before it; a loader holds one batch ahead.
    each = max(0, (more - less) // 2) + 2 * widest // 4 + 2 * batch // 4
    trainable = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values()) + beside
    learning = trainable * (1 + MOMENTS)
    if torch.cuda.is_available():
        return Memory(weights + learning, each, 0, device_free_bytes())
    held = resident_bytes()
    return Memory(held + learning + COPIES * (weights + MOMENTS * trainable), round(HEAP * each), held, free_bytes())


def _kept(model: nn.Module, batch: Mapping[str, Tensor], losses: Any, *, mixed: bool) -> tuple[int, int, int]:
    """Bytes that autograd keeps of a batch, weights not counted; those of the widest tensor among them; those of the batch."""
    other = copy.deepcopy(model).train(model.training)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*other.parameters(), *other.buffers())}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = next(other.parameters()).device
    narrow = torch.autocast(device.type, dtype=torch.bfloat16) if mixed else contextlib.nullcontext()
    keep = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.random.fork_rng(), torch.enable_grad(), keep, narrow:
        kept = losses(other(batch["x"].to(device)), batch["truth"].to(device))
    del kept
    return sum(found.values()), max(found.values(), default=0), sum(tensor.nbytes for tensor in batch.values())
