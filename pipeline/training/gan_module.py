"""The LightningModule of every generator. A step depends on the weights and on (seed, step) alone, so that it resumes exactly.

B batch, C channels, R resolution, L latent, N samples.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed as keyed_seed
from pipeline.synthesis.likeness import spread, variety
from pipeline.training.checkpoint import newest
from pipeline.training.fit import fit
from pipeline.training.health import FiniteCheckpoints
from pipeline.training.live import Live
from pipeline.training.stream import Key, StepStream
from pipeline.training.watch import Row, read_rows

HISTORY = "history.jsonl"
GRID, GRIDS = "grid-", 4  # images of as many steps are kept, in files of this name
WATCHED = 8  # images of each condition that are watched


class GanModule(pl.LightningModule):
    """Alternates one step of the discriminator and one of the generator on the same noise; keeps a moving average of the latter.

    Lightning counts the generator's steps alone, so its `global_step` is the number of batches.

    Args:
        gan: a part of `pipeline/generator`.
        conditions: number of conditions (classes, or bins of a target).
        channels: of the images.
        seed: of the initial weights, the noise and the augmentation.
    """

    def __init__(self, gan: Any, *, conditions: int, channels: int, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.gan, self.seed = gan, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(seed, "gan", "init"))
            self.generator: nn.Module = gan.generator(conditions=conditions, channels=channels)
            self.discriminator: nn.Module = gan.discriminator(conditions=conditions, channels=channels)
        self.average: nn.Module = copy.deepcopy(self.generator).requires_grad_(False)
        self.row: Row = {}

    def configure_optimizers(self) -> Any:
        """The generator's optimiser, then the discriminator's."""
        return list(self.gan.optimisers(self.generator, self.discriminator))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """One step of each network; nothing that is not finite is applied."""
        real_BCHW, condition_B = batch
        rng = torch.Generator().manual_seed(keyed_seed(self.seed, "gan", "step", self.global_step))
        z_BL = torch.randn(len(condition_B), self.gan.latent, generator=rng).to(self.device)
        fake_BCHW = self.generator(z_BL, condition_B)
        counted: Any = self.optimizers()
        uncounted: Any = self.optimizers(use_pl_optimizer=False)
        step_generator, step_discriminator = counted[0], uncounted[1]

        seen_BCHW = self.gan.augment(real_BCHW, rng)
        real_B = self.discriminator(seen_BCHW, condition_B)
        fake_B = self.discriminator(self.gan.augment(fake_BCHW.detach(), rng), condition_B)
        loss_discriminator = self.gan.discriminator_loss(real_B, fake_B)
        penalty = self.gan.penalty(lambda x_BCHW: self.discriminator(x_BCHW, condition_B), seen_BCHW)
        whole = loss_discriminator if penalty is None else loss_discriminator + penalty
        norm_discriminator = self._backward("discriminator", whole, step_discriminator)
        step_discriminator.step()

        self.discriminator.requires_grad_(False)
        loss_generator = self.gan.generator_loss(self.discriminator(self.gan.augment(fake_BCHW, rng), condition_B))
        norm_generator = self._backward("generator", loss_generator, step_generator)
        self.discriminator.requires_grad_(True)
        step_generator.step()
        self._move_average()
        self.row = {
            "loss_discriminator": float(loss_discriminator.detach()), "loss_generator": float(loss_generator.detach()),
            "score_real": float(real_B.detach().mean()), "score_synthetic": float(fake_B.detach().mean()),
            "norm_discriminator": norm_discriminator, "norm_generator": norm_generator,
            "penalty": 0.0 if penalty is None else float(penalty.detach()),
        }  # fmt: skip

    def _backward(self, name: str, loss: Tensor, optimiser: Any) -> float:
        """Gradients of one network and their norm; an error before the step when they are not finite."""
        optimiser.zero_grad()
        norm = loss.detach()
        if torch.isfinite(norm):
            self.manual_backward(loss)
            norm = nn.utils.get_total_norm([p.grad for p in getattr(self, name).parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            raise PersonError(
                f"the {name}'s loss is {loss.item()} and its gradient norm {norm.item()} at step {self.global_step} "
                f"(learning rate {optimiser.param_groups[0]['lr']:.3g}): lower generator.lr_{name}; "
                "the last finite checkpoint is kept"
            )
        return float(norm)

    @torch.no_grad()
    def draw(self, network: nn.Module, *, conditions: int, each: int) -> NDArray[np.uint8]:
        """Images of the same noise at every step, (conditions * each, R, R, C), by condition; no random state is touched."""
        rng = torch.Generator().manual_seed(keyed_seed(self.seed, "gan", "watched"))
        z_BL = torch.randn(conditions * each, self.gan.latent, generator=rng).to(self.device)
        pixels: NDArray[np.uint8] = self.gan.sample(
            network, torch.arange(conditions, device=self.device).repeat_interleave(each), z_BL
        )
        return pixels

    @torch.no_grad()
    def _move_average(self) -> None:
        """Decay (1 + step) / (10 + step) until that exceeds `ema`, so that the first weights do not linger."""
        step = self.global_step
        decay = min(self.gan.ema, (1 + step) / (10 + step))
        for slow, fast in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class Images(Dataset[tuple[Tensor, Tensor]]):
    """The images that a generator learns from; item (epoch, index) is an image in [-1, 1] and its condition."""

    def __init__(self, pixels_NHWC: NDArray[np.uint8], condition_N: NDArray[np.int64]) -> None:
        self.x_NCHW = torch.from_numpy(np.ascontiguousarray(pixels_NHWC.transpose(0, 3, 1, 2)))
        self.condition_N = torch.from_numpy(condition_N)

    def __len__(self) -> int:
        return len(self.condition_N)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        _, index = key
        return self.x_NCHW[index].float() / 127.5 - 1, self.condition_N[index]


class GanWatch(pl.Callback):
    """Appends a row to the history every `log_every` steps, keeps images of a few steps; changes nothing of the weights.

    Args:
        folder: of the history and the images; rows after `start_step` belong to a run that was killed and are dropped.
        start_step: where this process continues.
        gan: a part of `pipeline/generator`.
        images: what is learnt from; its spread is the measure of variety.
        conditions: number of conditions.
    """

    def __init__(self, folder: Path, *, start_step: int, gan: Any, images: Images, conditions: int) -> None:
        self.folder, self.gan, self.conditions = folder, gan, conditions
        self.condition_B = np.repeat(np.arange(conditions), WATCHED)
        self.real = spread(_flat(images.x_NCHW.numpy()), images.condition_N.numpy())
        self.live = Live("synthesize", total=gan.max_steps, done=start_step, batch_size=gan.batch_size)
        self._write([row for row in read_rows(folder / HISTORY) if row["step"] <= start_step], "w")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Record this step."""
        step, last, shown = trainer.global_step, self.gan.max_steps, None
        if step % self.gan.log_every == 0 or step == last:
            drawn_BHWC = pl_module.draw(pl_module.generator, conditions=self.conditions, each=WATCHED)
            varied = variety(spread(_flat(drawn_BHWC), self.condition_B), self.real)
            self._write([{"step": step, **pl_module.row, "variety": varied}], "a")
            shown = {name.removeprefix("loss_"): pl_module.row[name] for name in ("loss_discriminator", "loss_generator")}
            shown["variety"] = varied
        self.live.update(step, shown)
        if step in grid_steps(last):
            np.save(
                self.folder / f"{GRID}{step:09d}.npy", pl_module.draw(pl_module.average, conditions=self.conditions, each=WATCHED)
            )

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Take the line away."""
        self.live.close()

    def _write(self, rows: list[Row], mode: str) -> None:
        with (self.folder / HISTORY).open(mode, encoding="utf-8") as file:
            file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def grid_steps(max_steps: int) -> list[int]:
    """Steps of which images are kept: quarters of the training."""
    return sorted({max(1, round(max_steps * part / GRIDS)) for part in range(1, GRIDS + 1)})


def grids(folder: Path) -> dict[int, NDArray[np.uint8]]:
    """Step -> images of the averaged generator at it, (conditions * WATCHED, R, R, C), by condition and of the same noise."""
    return {int(path.stem.removeprefix(GRID)): np.load(path) for path in sorted(folder.glob(f"{GRID}*.npy"))}


def train_gan(
    gan: Any, images: Images, *, conditions: int, seed: int, folder: Path, callbacks: Sequence[pl.Callback] = ()
) -> tuple[nn.Module, list[Row]]:  # fmt: skip
    """Train a generator, or continue where a killed run stopped.

    Args:
        gan: a part of `pipeline/generator`.
        images: of the train split, at the generator's resolution.
        conditions: number of conditions.
        seed: of every draw.
        folder: of the checkpoints and the history.
        callbacks: that look on; they must change nothing of the weights and draw from no global random state.

    Returns:
        The averaged generator in evaluation mode on the CPU, and the rows of the history.

    Raises:
        PersonError: a loss or gradient is not finite.
    """
    module = GanModule(gan, conditions=conditions, channels=images.x_NCHW.shape[1], seed=seed)
    _, start = newest(folder, module)
    stream = StepStream(
        len(images), batch_size=gan.batch_size, max_steps=gan.max_steps, start_step=start, seed=keyed_seed(seed, "gan", "order")
    )
    loader = DataLoader(images, gan.batch_size, sampler=stream)
    watch = GanWatch(folder, start_step=start, gan=gan, images=images, conditions=conditions)
    fit(
        module, loader, max_steps=gan.max_steps, folder=folder, checkpoint_every=gan.checkpoint_every,
        callbacks=[watch, FiniteCheckpoints(), *callbacks], single=True, batch_key="generator.batch_size",
    )  # fmt: skip
    return module.average.cpu().eval(), read_rows(folder / HISTORY)


def _flat(pixels_N: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels_N.reshape(len(pixels_N), -1).astype(np.float32)
