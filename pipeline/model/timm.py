"""Any network of timm by its name (huggingface/pytorch-image-models), from scratch or from pretrained weights.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.backbone.hub import timm_file
from pipeline.backbone.preparation import IMAGENET_MEAN, IMAGENET_STD, statistics
from pipeline.backbone.weights import Origin, load_pretrained
from pipeline.core.errors import PersonError, near_match


class Timm(nn.Module):
    """A timm network with its head replaced.

    Args:
        name: as in `timm.list_models()`, or with a tag as in `timm.list_pretrained()`.
        weights: a local .safetensors file of the network's own state dict, `hub` to download it, or null for random weights.
        weights_sha256: of that file, or null; a changed file of the same name is only seen with it.
        side: pixels to which height and width are resized first; null keeps the stored size.
        normalise: pixels by the mean and deviation of the `data`, or by those that the `network`'s weights were trained with.
        dropout: before the head.
        pretrained: false ignores `weights`.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        PersonError: timm knows no such network (the near match is named), it does not take images of this size, or the weights
            are of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        name: str, weights: str | None = None, weights_sha256: str | None = None, side: int | None = None,
        normalise: str = "data", dropout: float = 0.0, pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        import timm

        if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained()):
            known = timm.list_pretrained(f"{name.split('.', maxsplit=1)[0]}.*") if "." in name else timm.list_models()
            raise PersonError(f"model.name: timm has no network {name!r}: {near_match(name, known or timm.list_models())}")
        cfg = timm.get_pretrained_cfg(name)
        size = (side, side) if side is not None else (height, width_pixels)
        fixed: dict[str, Any] = {"img_size": size} if cfg is not None and cfg.fixed_input_size else {}
        own = (IMAGENET_MEAN, IMAGENET_STD) if cfg is None else (cfg.mean, cfg.std)
        found = statistics(normalise, data=(mean, std), network=own)
        self.register_buffer("mean", found[0])
        self.register_buffer("std", found[1])
        self.side = side
        try:
            self.network: nn.Module = timm.create_model(
                name, num_classes=outputs, in_chans=channels, drop_rate=dropout, **fixed
            )  # fmt: skip
        except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
            raise PersonError(f"model.name={name} cannot be built for images of {size[0]}x{size[1]} pixels ({error}): "
                              "set  model.side  to the size that it was made for") from error  # fmt: skip
        self.origin: Origin | None = None
        if weights is not None and pretrained:
            names: Any = cfg.classifier if cfg is not None else None  # one name, several, or none
            heads = tuple(f"{one}." for one in ([names] if isinstance(names, str) else list(names or ())))
            head = {key for key in self.network.state_dict() if key.startswith(heads)}
            self.origin = load_pretrained(
                self.network, weights=weights, sha256=weights_sha256, head=head, fetch=lambda: timm_file(name)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        if self.side is not None:
            x_BCHW = nn.functional.interpolate(x_BCHW, (self.side, self.side), mode="bilinear")
        return self.network((x_BCHW - self.mean) / self.std)  # type: ignore[no-any-return]
