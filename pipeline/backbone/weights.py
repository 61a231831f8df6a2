"""Pretrained weights from a file: the hash first, safetensors alone, and every tensor in its place or an error that names it.

Pickles (.pth, .pt, .bin, .ckpt) are refused, since opening one can run code. `python -m pipeline models pull` brings the
published weights of a network as .safetensors and says their hash.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.core.artifact import sha256 as sha256_of
from pipeline.core.errors import PersonError

HUB = "hub"
SHOWN = 5  # mismatches that an error names
STATISTICS = ("mean", "std")  # buffers of our own networks: those of the new data stay
PREFIX = "network."  # under which our wrappers hold the library's network
Origin = dict[str, str]


def load_pretrained(
    network: nn.Module, *, weights: str, sha256: str | None, head: Collection[str], fetch: Callable[[], Path] | None = None,
    ignore: tuple[str, ...] = (),
) -> Origin:  # fmt: skip
    """Load weights into a network.

    Args:
        network: whose state dict the file holds.
        weights: path of a .safetensors file, or `hub`.
        sha256: of the file, 64 hexadecimal digits; None does not check it.
        head: names of tensors that may have another shape or be absent; these keep their random values.
        fetch: downloads the published file; None where there is no hub for this network.
        ignore: prefixes of tensors of the file that this network does without (auxiliary heads).

    Returns:
        Where the weights came from: `from` (file or hub), `file` (its name) and `sha256`.

    Raises:
        PersonError: no such file, another kind of file, another hash, or tensors that do not fit.
    """
    if weights == HUB and fetch is None:
        raise PersonError("model.weights=hub: nobody publishes weights of this network; name a .safetensors file")
    path = fetch() if weights == HUB and fetch is not None else Path(weights).expanduser()
    given, found = read_weights(path, sha256)
    fit_weights(network, given, head=head, ignore=ignore, name=path.name)
    return {"from": HUB if weights == HUB else "file", "file": path.name, "sha256": found}


def read_weights(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """Tensors of a .safetensors file, and its SHA-256, which is checked before the file is opened.

    Raises:
        PersonError: no such file, another kind of file, or another hash than the one given.
    """
    if not path.is_file():
        raise PersonError(f"model.weights: there is no file {path}")
    if path.suffix != ".safetensors":
        raise PersonError(
            f"model.weights: {path.name} is not a .safetensors file, and pickled weights can run code when they are opened: "
            "bring published ones with  python -m pipeline models pull NAME , or save your own with safetensors.torch.save_file"
        )
    found = sha256_of(path)
    if sha256 is not None and found != sha256.lower():
        raise PersonError(
            f"model.weights: {path.name} has SHA-256 {found}, expected {sha256}: bring the right file, or set "
            f"model.weights_sha256={found}  if you trust this one"
        )
    try:
        given: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise PersonError(f"model.weights: {path.name} cannot be read as safetensors ({error}); bring it again") from error
    return given, found


def fit_weights(
    network: nn.Module, given: Mapping[str, Tensor], *, head: Collection[str], ignore: tuple[str, ...] = (),
    name: str = "the file",
) -> None:  # fmt: skip
    """Load every tensor; for one input channel the three of a colour convolution are summed.

    The sum is exact: it gives what the colour network gives for a grey image in all three channels.

    Raises:
        PersonError: tensors that are missing, superfluous or of another shape; the first ones are named.
    """
    own = network.state_dict()
    known = _without_wrapper(given, own)
    chosen: dict[str, Tensor] = {}
    wrong: list[str] = []
    for key, tensor in own.items():
        if key in STATISTICS:
            continue
        found = known.get(key)
        if found is not None and tuple(found.shape) != tuple(tensor.shape):
            found = _summed(found, tensor)
        if found is not None and found.shape == tensor.shape:
            chosen[key] = found.to(tensor.dtype)
        elif key not in head and not (found is None and key.endswith("num_batches_tracked")):
            received = "nothing" if found is None else _shape(known[key])
            wrong.append(f"{key} expected {_shape(tensor)} received {received}")
    extra = [key for key in known if key not in own and key not in head and not key.startswith(ignore or ("\0",))]
    wrong += [f"{key} expected nothing received {_shape(known[key])}" for key in extra]
    if wrong:
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise PersonError(
            f"model.weights: {name} does not fit this network; first mismatches: {'; '.join(wrong[:SHOWN])}{more}. "
            "Choose the network that the weights are of, at the side that they were trained with"
        )
    network.load_state_dict({**own, **chosen})


def head_of(make: Callable[[int], nn.Module], outputs: int) -> set[str]:
    """Names of the tensors whose shape depends on the number of outputs; `make(outputs)` builds the network."""
    one, other = make(outputs).state_dict(), make(outputs + 1).state_dict()
    return {key for key in one if one[key].shape != other[key].shape}


def _without_wrapper(given: Mapping[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names as the network has them: a model that this project trained may be the start of another one."""
    wrapped = any(key.startswith(PREFIX) for key in given) and not any(key.startswith(PREFIX) for key in own)
    names = {key: key.removeprefix(PREFIX) if wrapped else key for key in given if key not in STATISTICS}
    return {name: given[key] for key, name in names.items()}


def _summed(found: Tensor, own: Tensor) -> Tensor:
    """The weights of a colour convolution for one channel; other tensors as they are."""
    fits = found.ndim == 4 and own.ndim == 4 and found.shape[1] == 3 and own.shape[1] == 1
    return found.sum(1, keepdim=True) if fits else found


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
