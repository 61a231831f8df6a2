"""Published weights over the network, only where a person asked for them: `model.weights=hub` or `models pull`.

timm's come from the Hugging Face hub as .safetensors. torchvision's come from download.pytorch.org as .pth, whose name holds
the beginning of its SHA-256; they are opened with `weights_only=True` and kept as .safetensors beside it.
"""

import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.core.errors import PersonError

FILE = "model.safetensors"
ADVICE = "this machine does not reach it; bring the file by other means and set  model.weights=/path/to/it.safetensors"


def timm_file(name: str) -> Path:
    """The published weights of a timm network, in the hub's cache.

    Args:
        name: as timm knows it; a tag (`resnet18.a1_in1k`) chooses among several trainings.

    Raises:
        PersonError: nobody published weights, or they cannot be reached.
    """
    import timm
    from huggingface_hub import hf_hub_download

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        raise PersonError(f"model.weights=hub: there are no published weights of the timm network {name!r}")
    try:
        with _online():
            return Path(hf_hub_download(cfg.hf_hub_id, FILE, etag_timeout=10))
    except OSError as error:  # the hub's own errors are of this kind
        raise PersonError(f"model.weights=hub: {FILE} of {cfg.hf_hub_id} on huggingface.co: {ADVICE}") from error


def torchvision_file(name: str) -> Path:
    """The published weights of a torchvision network, converted to .safetensors in torch's cache.

    Raises:
        PersonError: nobody published weights, they cannot be reached, or the file is not the one that its name states.
    """
    import torchvision

    weights: Any = torchvision.models.get_model_weights(name).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    kept = folder / Path(weights.url).with_suffix(".safetensors").name
    if not kept.is_file():
        try:
            state = torch.hub.load_state_dict_from_url(
                weights.url, str(folder), map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        except OSError as error:
            raise PersonError(f"model.weights=hub: {weights.url}: {ADVICE}") from error
        except (RuntimeError, pickle.UnpicklingError) as error:
            raise PersonError(f"model.weights=hub: {weights.url} is damaged ({error}); remove it from {folder}") from error
        partial = kept.with_suffix(".part")
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, partial)
        partial.replace(kept)
    return kept


@contextmanager
def _online() -> Iterator[None]:
    """Lift the hub's offline switch, which every stage sets, for one download that a person asked for."""
    from huggingface_hub import constants

    before, logger = constants.HF_HUB_OFFLINE, logging.getLogger("huggingface_hub")
    level = logger.level
    constants.HF_HUB_OFFLINE = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logger.setLevel(level)
