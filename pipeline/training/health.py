"""How each layer fares while a network trains: gradients, updates and activations, measured at a few steps.

Hooks stand only while a step is measured. They draw no random number and change no tensor, so the training's bits stay.
Each row describes one weight layer (linear or convolution, with something to train) at one step:

    signal      norm of the gradient of the loss by the layer's output, over the batch: the error that reaches it
                (Glorot & Bengio 2010, section 4.2; He et al. 2015, section 2.2)
    gradient    norm of the gradient by its weights, before clipping
    weight      norm of its weights before the step
    update      size of the step over the size of the weights, root mean squares over at most `SUBSET` of them
    mean, std   of its inputs, which are what the activation before it let through
    zeros       share of its inputs that are zero
    dead        share of its input units (channels, features) that are zero in the whole batch; empty where they are data
    saturated   share within 1 % of a bound, of the sigmoid or tanh that came before it; empty where none did

B batch, N elements, U units.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pipeline.core import launch
from pipeline.core.errors import PersonError
from pipeline.training.diagnosis import ratio

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BOUNDS = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0), nn.Hardsigmoid: (0.0, 1.0), nn.Hardtanh: (-1.0, 1.0)}
COLUMNS = ("step", "depth", "layer", "signal", "gradient", "weight", "update", "mean", "std", "zeros", "dead", "saturated")
EVERY = 50  # steps at least between two measured ones, so that they cost little
TINY = 1e-12  # norm below which squares of single precision lose digits
SUBSET = 4096  # weights of a layer whose update is measured
ROWS, PLACES = 32, 256  # samples and positions of a map whose activations are measured
Measure = dict[str, Any]


def measured_steps(max_steps: int, count: int) -> list[int]:
    """Steps that are measured: the first, the last and others evenly between, `EVERY` apart unless there are but three.

    Args:
        max_steps: of the training.
        count: at most; 0 for none.
    """
    kept = min(count, max(3, max_steps // EVERY))
    return sorted({round(step) for step in np.linspace(1, max_steps, kept)}) if kept else []


class HealthProbe(pl.Callback):
    """Appends rows to `health.jsonl` at the measured steps.

    Args:
        path: of the rows; those after `start_step` belong to a run that was killed and are dropped.
        start_step: where this process continues.
        max_steps: of the training.
        count: of measured steps.
        tracker: is told the signal that reaches the first layer and the worst share of dead units; None for none.
    """

    def __init__(self, path: Path, *, start_step: int, max_steps: int, count: int, tracker: Any = None) -> None:
        self.path, self.tracker = path, tracker
        self.steps = frozenset(measured_steps(max_steps, count))
        self._session: _Session | None = None
        if launch.rank() == 0:
            kept = [row for row in read_measures(path) if row["step"] <= start_step]
            path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in kept), encoding="utf-8")

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Place the hooks where the coming step is to be measured."""
        if trainer.global_step + 1 in self.steps and trainer.global_rank == 0 and self._session is None:
            self._session = _Session(pl_module.model)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Gradients are whole here, and not clipped yet."""
        if self._session is not None:
            self._session.see_gradients()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Write what was seen, once the step is taken."""
        session = self._session
        if session is None or trainer.global_step not in self.steps:
            return
        self._session = None
        rows = session.rows(trainer.global_step)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        if self.tracker is not None and rows:
            self.tracker.log(trainer.global_step, curves(rows))

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Leave no hook behind, whatever ended the training."""
        if self._session is not None:
            self._session.close()
            self._session = None


class FiniteCheckpoints(pl.Callback):
    """Refuses to write a checkpoint whose weights or optimiser states are not finite, so the last finite one stays.

    A tensor that is not finite when the training starts, such as a mask of minus infinity, is left alone.
    """

    def __init__(self) -> None:
        self.known: frozenset[str] = frozenset()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what is not finite by nature."""
        self.known = frozenset(not_finite(pl_module.state_dict()))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Stop instead of saving.

        Raises:
            PersonError: something is not finite.
        """
        bad = [name for name in not_finite(checkpoint["state_dict"]) if name not in self.known]
        bad += not_finite({"optimiser": checkpoint.get("optimizer_states", [])})
        if bad:
            raise PersonError(
                f"after step {checkpoint['global_step']} {bad[0]} is not finite ({len(bad)} such tensors): lower the learning "
                "rate; this state was not saved, the last finite checkpoint is kept"
            )


def not_finite(state: Any, name: str = "") -> list[str]:
    """Names of tensors within nested mappings and lists that hold a NaN or an infinity."""
    if isinstance(state, Tensor):
        return [name] if state.is_floating_point() and not bool(torch.isfinite(state).all()) else []
    pairs = state.items() if isinstance(state, Mapping) else enumerate(state) if isinstance(state, list | tuple) else ()
    return [found for key, value in pairs for found in not_finite(value, f"{name}.{key}".lstrip("."))]


def read_measures(path: Path) -> list[Measure]:
    """Rows of a measured training; a last line that a kill cut short is dropped."""
    rows: list[Measure] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def write_measures(rows: Sequence[Measure], path: Path) -> None:
    """The rows as a CSV; a cell is empty where a layer has no such value."""
    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    lines = [",".join(COLUMNS), *(",".join(cell(row.get(name)) for name in COLUMNS) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def curves(rows: Sequence[Measure]) -> dict[str, float]:
    """What a tracker draws of one measured step."""
    found = {"health/signal_first_over_last": ratio(rows)}
    for name in ("update", "dead", "saturated"):
        values = [row[name] for row in rows if row.get(name) is not None]
        found[f"health/largest_{name}"] = max(values) if values else None
    return {name: value for name, value in found.items() if value is not None}


class _Session:
    """Hooks on one network for one step."""

    def __init__(self, model: nn.Module) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self.pending: Tensor | None = None  # saturation of the last bounded activation
        self.handles: list[Any] = []
        self.weights: dict[str, Tensor] = {}
        for name, module in model.named_modules():
            weight = dict(module.named_parameters(recurse=False)).get("weight")
            if isinstance(module, LAYERS) and weight is not None and weight.requires_grad:
                self.weights[name] = weight
                self.handles.append(module.register_forward_hook(self._layer(name)))
            elif type(module) in BOUNDS:
                self.handles.append(module.register_forward_hook(self._bounded(BOUNDS[type(module)])))
        self.before = {name: _some(weight) for name, weight in self.weights.items()}

    def see_gradients(self) -> None:
        """Norms of the gradients and of the weights."""
        for name, entry in self.found.items():
            weight = self.weights[name]
            if weight.grad is not None and "gradient" not in entry:
                entry["gradient"], entry["weight"] = _norm(weight.grad), _norm(weight)

    def rows(self, step: int) -> list[Measure]:
        """What was seen, in the order in which the layers ran; the hooks are gone afterwards."""
        self.close()
        for name, entry in self.found.items():
            size, moved = self.before[name], _some(self.weights[name]) - self.before[name]
            scale = float(size.square().mean().sqrt())
            entry["update"] = float(moved.square().mean().sqrt()) / scale if scale > 0 else None
        return [
            {"step": step, "depth": depth, "layer": name or "model", **{key: _plain(value) for key, value in entry.items()}}
            for depth, (name, entry) in enumerate(self.found.items())
        ]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def _layer(self, name: str) -> Any:
        def seen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not module.training or name in self.found or not inputs:  # an adversary looks at the network in evaluation mode
                return
            if not isinstance(output, Tensor) or not output.requires_grad:
                return
            entry = self.found[name] = _activations(inputs[0], channels=not isinstance(module, nn.Linear))
            entry["saturated"], self.pending = self.pending, None

            def arrived(gradient: Tensor) -> None:
                entry.setdefault("signal", _norm(gradient))

            hook: Any = output.register_hook
            hook(arrived)

        return seen

    def _bounded(self, bounds: tuple[float, float]) -> Any:
        margin = 0.01 * (bounds[1] - bounds[0])

        def seen(module: nn.Module, _: Any, output: Any) -> None:
            if module.training and isinstance(output, Tensor):
                x_N = output.detach()[:ROWS]
                self.pending = ((x_N <= bounds[0] + margin) | (x_N >= bounds[1] - margin)).float().mean()

        return seen


def _activations(x: Tensor, *, channels: bool) -> dict[str, Any]:
    """Statistics of a layer's input, over at most `ROWS` samples and about `PLACES` positions of each."""
    with torch.no_grad():
        seen = x.detach()[:ROWS]
        if channels and seen.ndim > 2:
            stride = max(1, math.ceil(math.sqrt(math.prod(seen.shape[2:]) / PLACES)))
            seen = seen[(slice(None), slice(None), *[slice(None, None, stride)] * (seen.ndim - 2))]
        unit = 1 if channels and seen.ndim > 1 else seen.ndim - 1
        seen = seen.float().contiguous()
        std, mean = torch.std_mean(seen, correction=0)
        silent = seen == 0
        others = [axis for axis in range(seen.ndim) if axis != unit]
        return {
            "mean": mean, "std": std, "zeros": torch.count_nonzero(silent) / silent.numel(),
            "dead": silent.all(dim=others).float().mean() if x.requires_grad else None,
        }  # fmt: skip


def _norm(x_N: Tensor) -> float:
    """Euclidean norm; of what has vanished in double precision, or the squares would be zero."""
    norm = float(torch.linalg.vector_norm(x_N.detach()))
    return norm if norm > TINY else float(torch.linalg.vector_norm(x_N.detach(), dtype=torch.float64))


def _some(weight: Tensor) -> Tensor:
    """A fixed subset of a weight's elements, copied."""
    flat_N: Tensor = weight.detach().reshape(-1)
    return flat_N[:: max(1, -(-flat_N.numel() // SUBSET))].float().clone()


def _plain(value: Any) -> Any:
    """A number of six digits; None for what is absent or not finite."""
    number = float(value) if value is not None else math.nan
    return float(f"{number:.6g}") if math.isfinite(number) else None
