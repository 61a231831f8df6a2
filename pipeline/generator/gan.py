"""A small class-conditional GAN that trains in minutes on a CPU.

The networks are the convolutional pair of Miyato et al. 2018, "Spectral normalization for generative adversarial networks"
(table 3), smaller, and with three changes: the generator grows by nearest-neighbour doubling and convolution instead of
transposed convolution; it is conditioned through a group norm whose gain and bias come from noise and class, and so needs no
batch statistics; the discriminator sees the class by projection (Miyato & Koyama 2018, "cGANs with projection discriminator",
equation 4). Loss: hinge (Lim & Ye 2017, "Geometric GAN"). Both sides of it see images through DiffAugment (Zhao et al. 2020,
"Differentiable augmentation for data-efficient GAN training"), which is what lets a GAN learn from few images. As an option the
discriminator's gradient at real images is penalised: R1 of Mescheder, Geiger, Nowozin 2018, "Which training methods for GANs do
actually converge?", equation 9, at every step.

B batch, C channels, H height, W width, L latent, F features. Images are float32 in [-1, 1] inside, uint8 outside.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from pipeline.core.errors import PersonError, near_match

START = 4  # side of the coarsest feature map, pixels
DEEPEST = 8  # the coarsest maps have at most this many times `width` channels


class ConditionalNorm(nn.Module):
    """Group norm whose gain and bias are linear in the condition vector; starts as a plain group norm."""

    def __init__(self, features: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(features, 8), features, affine=False)
        self.affine = nn.Linear(condition, 2 * features)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x_BFHW: Tensor, condition_BD: Tensor) -> Tensor:
        """Normalise (B, F, H, W) under a condition (B, D)."""
        gain_BF, bias_BF = self.affine(condition_BD).chunk(2, dim=1)
        normed = self.norm(x_BFHW)
        shifted: Tensor = normed * (1 + gain_BF[:, :, None, None]) + bias_BF[:, :, None, None]
        return shifted


class ImageGenerator(nn.Module):
    """Noise (B, L) and condition (B,) to images (B, C, R, R) in [-1, 1]."""

    def __init__(self, *, resolution: int, latent: int, width: int, conditions: int, channels: int) -> None:
        super().__init__()
        plan = _plan(resolution, width)
        self.embedding = nn.Embedding(conditions, latent)
        self.start = nn.Linear(2 * latent, plan[0] * START * START)
        self.first = ConditionalNorm(plan[0], 2 * latent)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(plan))
        self.norms = nn.ModuleList(ConditionalNorm(b, 2 * latent) for b in plan[1:])
        self.last = nn.Conv2d(plan[-1], channels, 3, padding=1)

    def forward(self, z_BL: Tensor, condition_B: Tensor) -> Tensor:
        """Draw one image for each row of noise."""
        condition_BD = torch.cat([z_BL, self.embedding(condition_B)], dim=1)
        x_BFHW = self.start(condition_BD).unflatten(1, (-1, START, START))
        x_BFHW = functional.relu(self.first(x_BFHW, condition_BD))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_BFHW = functional.relu(norm(convolution(_double(x_BFHW)), condition_BD))
        return torch.tanh(self.last(x_BFHW))


class ImageDiscriminator(nn.Module):
    """Images (B, C, R, R) and condition (B,) to a score (B,), each layer with spectral norm where that is on."""

    def __init__(self, *, resolution: int, width: int, conditions: int, channels: int, spectral: bool = True) -> None:
        super().__init__()
        plan = _plan(resolution, width)[::-1]
        bound: Callable[[nn.Module], nn.Module] = spectral_norm if spectral else lambda layer: layer
        self.first = bound(nn.Conv2d(channels, plan[0], 3, padding=1))
        self.convolutions = nn.ModuleList(bound(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(plan))
        self.score = bound(nn.Linear(plan[-1], 1))
        self.embedding = bound(nn.Embedding(conditions, plan[-1]))

    def forward(self, x_BCHW: Tensor, condition_B: Tensor) -> Tensor:
        """Score each image under its condition: psi(phi(x)) + <embedding(condition), phi(x)>."""
        x_BFHW = functional.leaky_relu(self.first(x_BCHW), 0.1)
        for convolution in self.convolutions:
            x_BFHW = functional.leaky_relu(convolution(x_BFHW), 0.1)
        phi_BF = x_BFHW.mean(dim=(2, 3)) * START
        score_B: Tensor = self.score(phi_BF).squeeze(1) + (self.embedding(condition_B) * phi_BF).sum(dim=1)
        return score_B


def colour(x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
    """DiffAugment's brightness, saturation and contrast, in that order; each leaves the mean over its draws unchanged."""
    brightness_B, saturation_B, contrast_B = torch.rand(3, len(x_BCHW), 1, 1, 1, generator=rng).to(x_BCHW.device)
    x_BCHW = x_BCHW + brightness_B - 0.5
    grey_B1HW = x_BCHW.mean(dim=1, keepdim=True)
    x_BCHW = (x_BCHW - grey_B1HW) * (2 * saturation_B) + grey_B1HW
    mean_B111 = x_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    changed_BCHW: Tensor = (x_BCHW - mean_B111) * (contrast_B + 0.5) + mean_B111
    return changed_BCHW


def translation(x_BCHW: Tensor, rng: torch.Generator, share: float = 0.125) -> Tensor:
    """DiffAugment's shift by up to an eighth of the side; what comes in is zero, which is mid grey."""
    count, _, height, width = x_BCHW.shape
    down, right = int(height * share + 0.5), int(width * share + 0.5)
    shift_B = torch.randint(-down, down + 1, (count,), generator=rng), torch.randint(-right, right + 1, (count,), generator=rng)
    padded_BHWC = functional.pad(x_BCHW, (right, right, down, down)).permute(0, 2, 3, 1)
    rows_BH = (torch.arange(height) + down + shift_B[0][:, None]).to(x_BCHW.device)
    columns_BW = (torch.arange(width) + right + shift_B[1][:, None]).to(x_BCHW.device)
    batch_B = torch.arange(count, device=x_BCHW.device)
    return padded_BHWC[batch_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


def cutout(x_BCHW: Tensor, rng: torch.Generator, share: float = 0.5) -> Tensor:
    """DiffAugment's cutout: a square of half the side becomes zero; its centre lies anywhere, so it may stand out at the edge."""
    count, _, height, width = x_BCHW.shape
    middle_B1 = torch.randint(height + 1, (count, 1), generator=rng), torch.randint(width + 1, (count, 1), generator=rng)
    rows_BH = (torch.arange(height) - middle_B1[0] + height * share / 2).div(height * share).floor() == 0
    columns_BW = (torch.arange(width) - middle_B1[1] + width * share / 2).div(width * share).floor() == 0
    hole_BHW = rows_BH[:, :, None] & columns_BW[:, None, :]
    return x_BCHW * (~hole_BHW[:, None]).to(x_BCHW)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": colour, "translation": translation, "cutout": cutout,
}  # fmt: skip


class Gan:
    """The networks, losses and numbers of one GAN; it holds no weights."""

    def __init__(
        self, *, resolution: int, latent: int, width: int, bins: int, minimum: int, max_steps: int, batch_size: int,
        lr_generator: float, lr_discriminator: float, beta1: float, beta2: float, ema: float, diffaugment: list[str],
        spectral: bool, r1: float, checkpoint_every: int, log_every: int,
    ) -> None:  # fmt: skip
        """Store the numbers.

        Args:
            resolution: side of the images, pixels; 8, 16, 32, 64 or 128.
            latent: numbers in a noise vector, and in the vector of a class.
            width: channels of the finest feature maps; coarser ones have up to eight times as many.
            bins: conditions for data without classes: quantile bins of the target.
            minimum: a condition with fewer training images is not learnt and gets no synthetic samples.
            max_steps: optimiser steps of each network.
            batch_size: real images a step, and as many synthetic ones.
            lr_generator: learning rate of Adam.
            lr_discriminator: learning rate of Adam.
            beta1: of Adam.
            beta2: of Adam.
            ema: decay of the moving average of the generator's weights, which is what is published.
            diffaugment: any of colour, translation, cutout, in the order of application; [] for none.
            spectral: whether every layer of the discriminator has spectral norm.
            r1: gamma of the penalty on the discriminator's gradient at real images; 0 for none.
            checkpoint_every: steps.
            log_every: steps.

        Raises:
            PersonError: a number out of range, or an unknown augmentation.
        """
        if resolution not in {8, 16, 32, 64, 128}:
            raise PersonError(f"generator.resolution must be 8, 16, 32, 64 or 128 pixels: received {resolution}")
        for name in diffaugment:
            if name not in AUGMENTATIONS:
                raise PersonError(f"generator.diffaugment knows no {name!r}: {near_match(name, AUGMENTATIONS)}")
        _check_counts(latent=latent, width=width, bins=bins, minimum=minimum, max_steps=max_steps, batch_size=batch_size,
                      checkpoint_every=checkpoint_every, log_every=log_every)  # fmt: skip
        _check_rates(lr_generator=lr_generator, lr_discriminator=lr_discriminator)
        _check_decays(beta1=beta1, beta2=beta2, ema=ema)
        self.resolution, self.latent, self.width = resolution, latent, width
        if not 0 <= r1 <= 1000:
            raise PersonError(f"generator.r1 must be between 0 (off) and 1000: received {r1}")
        self.spectral, self.r1 = spectral, r1
        self.bins, self.minimum, self.max_steps, self.batch_size = bins, minimum, max_steps, batch_size
        self.lr_generator, self.lr_discriminator, self.betas, self.ema = lr_generator, lr_discriminator, (beta1, beta2), ema
        self.diffaugment, self.checkpoint_every, self.log_every = list(diffaugment), checkpoint_every, log_every

    def generator(self, *, conditions: int, channels: int) -> nn.Module:
        """A fresh generator: `forward(z_BL, condition_B)` -> (B, C, R, R) in [-1, 1]."""
        return ImageGenerator(
            resolution=self.resolution, latent=self.latent, width=self.width, conditions=conditions, channels=channels
        )

    def discriminator(self, *, conditions: int, channels: int) -> nn.Module:
        """A fresh discriminator: `forward(x_BCHW, condition_B)` -> (B,)."""
        return ImageDiscriminator(
            resolution=self.resolution, width=self.width, conditions=conditions, channels=channels, spectral=self.spectral
        )

    def optimisers(self, generator: nn.Module, discriminator: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Adam for each of the two networks."""
        return (
            torch.optim.Adam(generator.parameters(), self.lr_generator, betas=self.betas),
            torch.optim.Adam(discriminator.parameters(), self.lr_discriminator, betas=self.betas),
        )

    def augment(self, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """What the discriminator sees of an image; the gradient passes through."""
        for name in self.diffaugment:
            x_BCHW = AUGMENTATIONS[name](x_BCHW, rng)
        return x_BCHW

    def discriminator_loss(self, real_B: Tensor, fake_B: Tensor) -> Tensor:
        """Hinge loss: mean max(0, 1 - real) + mean max(0, 1 + fake) (Lim & Ye 2017, equation 15)."""
        return functional.relu(1 - real_B).mean() + functional.relu(1 + fake_B).mean()

    def generator_loss(self, fake_B: Tensor) -> Tensor:
        """Negative mean score of the synthetic images."""
        return -fake_B.mean()

    def penalty(self, score_of: Callable[[Tensor], Tensor], real_BCHW: Tensor) -> Tensor | None:
        """R1: gamma / 2 times the mean squared norm of the scores' gradient at real images; None where gamma is 0."""
        if self.r1 == 0:
            return None
        x_BCHW = real_BCHW.detach().requires_grad_(True)
        (slope_BCHW,) = torch.autograd.grad(score_of(x_BCHW).sum(), x_BCHW, create_graph=True)
        penalty: Tensor = self.r1 / 2 * slope_BCHW.square().sum(dim=(1, 2, 3)).mean()
        return penalty

    @torch.no_grad()
    def sample(self, generator: nn.Module, condition_B: Tensor, z_BL: Tensor) -> NDArray[np.uint8]:
        """Synthetic images for these conditions and noise: uint8 (B, R, R, C)."""
        x_BCHW: Tensor = generator(z_BL, condition_B)
        pixels_BHWC = x_BCHW.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return np.ascontiguousarray(pixels_BHWC.cpu().numpy())


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise PersonError(f"generator.{name} must be at least 1: received {count}")


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 < rate <= 10:
            raise PersonError(f"generator.{name} must be above 0 and at most 10: received {rate}")


def _check_decays(**decays: float) -> None:
    for name, decay in decays.items():
        if not 0 <= decay < 1:
            raise PersonError(f"generator.{name} must be in [0, 1): received {decay}")


def _plan(resolution: int, width: int) -> list[int]:
    """Channels from the coarsest map to the finest."""
    steps = int(math.log2(resolution // START))
    return [width * min(DEEPEST, 2**step) for step in range(steps, -1, -1)]


def _double(x_BFHW: Tensor) -> Tensor:
    """Nearest-neighbour doubling; written out because the library's backward pass is not deterministic on every device."""
    count, features, height, width = x_BFHW.shape
    spread = x_BFHW[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
    return spread.reshape(count, features, 2 * height, 2 * width)
