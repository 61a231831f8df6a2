"""State dicts of strangers: tensors alone, read without running any code of the file."""

import pickle
import struct
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import PersonError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")  # keys under which trainers keep it
DAMAGED = (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, AssertionError, LookupError, TypeError,
           AttributeError, struct.error)  # fmt: skip - what torch's reader says of a file that is not what it should be
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def read_state(path: Path, kind: str) -> dict[str, Tensor]:
    """Tensors by name.

    Args:
        path: the file.
        kind: safetensors, or pickle: opened with `weights_only`, where torch's own reader takes tensors and plain containers and
            refuses every other object unopened.

    Raises:
        PersonError: it holds other objects, or no tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of pickles that it then refuses
            found = load_file(path) if kind == "safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        said = " ".join(str(error).split())
        told = said[said.find("Unsupported") :][:120] if "Unsupported" in said else said[:160]
        raise PersonError(
            f"{path.name} is not a plain file of tensors ({told}): nothing of it was run; ask for it as .safetensors, or save "
            "model.state_dict() alone"
        ) from error
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict):
        raise PersonError(f"{path.name} holds {type(found).__name__}, not a state dict: save model.state_dict()")
    named = {_bare(str(name)): value for name, value in found.items() if isinstance(value, Tensor)}
    tensors = {name: value.detach().clone().contiguous() for name, value in named.items()}
    if not tensors:
        raise PersonError(f"{path.name} holds no tensors: save model.state_dict()")
    return tensors


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
