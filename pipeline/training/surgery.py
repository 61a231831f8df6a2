"""Network surgery by configuration: replace layers, freeze everything up to one, and let layers learn at rates of their own.

Sources: Yosinski et al. 2014, "How transferable are features in deep neural networks?" (arXiv 1411.1792) for freezing up to a
layer; Howard & Ruder 2018 (arXiv 1801.06146), section 3.2, for discriminative rates; Clark et al. 2020 (arXiv 2003.10555),
appendix A, for rates that decay geometrically from the output back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import PersonError, near_match
from pipeline.training.layers import depths, find, longest

KINDS = (
    "Linear", "Conv2d", "Identity", "Dropout", "BatchNorm2d", "GroupNorm", "LayerNorm", "ReLU", "LeakyReLU", "ELU", "GELU",
    "SiLU", "Tanh", "Sigmoid", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "Flatten",
)  # fmt: skip
INHERITED = {  # what a new layer takes from the one that it replaces, where conf does not say it
    "Linear": ("in_features", "out_features"),
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "BatchNorm2d": ("num_features",),
    "GroupNorm": ("num_channels",),
    "LayerNorm": ("normalized_shape",),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "AdaptiveAvgPool2d": ("output_size",),
    "AdaptiveMaxPool2d": ("output_size",),
}
ALIASES = {"num_channels": "num_features", "num_features": "num_channels"}  # the same number, of another norm
NOT_FIRST = ("in_features", "in_channels")  # of a row, only the first layer takes the old one's input,
NOT_LAST = ("out_features", "out_channels")  # and only the last one its output
Replacements = Mapping[str, Any]


def operate(model: nn.Module, recipe: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Apply `replace`, `freeze`, `rates` and `rate_decay` of conf/train, in this order.

    Args:
        model: changed in place.
        recipe: of conf/train; keys that are missing or null change nothing.
        facts: `channels`, `height`, `width_pixels` and `outputs`, to hold the changed network against.

    Raises:
        PersonError: a layer that is not there (the near match is named), a layer that does not fit, or nothing left to train.
    """
    replace(model, recipe.get("replace"), facts)
    if recipe.get("freeze") is not None:
        freeze(model, str(recipe["freeze"]))
    rates, decay = recipe.get("rates"), recipe.get("rate_decay", 1.0)
    if rates or decay != 1.0:
        found = learning_rates(model, rates or {}, decay=decay)
        setattr(model, "learning_rates", lambda: dict(found))  # noqa: B010 - mypy knows no such attribute of a module


def check_cached(recipe: Mapping[str, Any]) -> None:
    """Refuse what would have no effect where only a head is trained, on features that embed cached.

    Raises:
        PersonError: a key of surgery is set.
    """
    named = [key for key in ("freeze", "rates", "rate_decay") if recipe.get(key) not in (None, {}, 1.0)]
    if named:
        raise PersonError(
            f"train.{named[0]} has no effect: this model's trunk is frozen and its head alone is trained, on features that embed "
            "cached, at train.lr; set  model.trainable_blocks  above 0 to train more"
        )


def changes(model: nn.Module, cfg: Mapping[str, Any]) -> list[list[Any]]:
    """What was done to the network, as rows of fact and value: pretrained weights and their hash, and the surgery."""
    rows: list[list[Any]] = []
    origin = getattr(model, "origin", None)
    if origin is not None:
        rows.append(["pretrained weights", f"{origin['file']} ({origin['from']}), SHA-256 {origin['sha256']}"])
    recipe = cfg["train"]
    rows += [[f"train.{key}", str(recipe[key])] for key in ("replace", "freeze", "rates") if recipe.get(key)]
    return rows if recipe.get("rate_decay", 1.0) == 1.0 else [*rows, ["train.rate_decay", recipe["rate_decay"]]]


def unpinned(part: Mapping[str, Any]) -> list[str]:
    """A warning where pretrained weights are named by their path alone, since another file of that name would pass unseen."""
    if not part.get("weights") or part.get("weights_sha256") or not part.get("pretrained", True):
        return []
    said = "The pretrained weights are named without their hash, so another file of the same name would not be noticed:"
    return [f"{said} set model.weights_sha256 to the SHA-256 in the table of training."]


def replace(model: nn.Module, wanted: Replacements | None, facts: Mapping[str, Any]) -> None:
    """Put new layers in the place of named ones.

    Args:
        model: changed in place.
        wanted: name of a layer -> `{kind: Linear, ...}` or a list of them, which become a row. `kind` is a class of torch.nn
            (see KINDS), the rest its arguments; those that concern shapes are taken from the old layer where they are missing.
        facts: to hold the changed network against.

    Raises:
        PersonError: an unknown layer, kind or argument, or a network that does not run any more.
    """
    if not wanted:
        return
    before = model.training
    for name, new in wanted.items():
        old = find(model, name, key="train.replace")
        _check_cached_trunk(model, name)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, _new(name, old, new))
    _check_runs(model, facts)
    model.train(before)


def freeze(model: nn.Module, name: str) -> None:
    """Freeze every layer up to and including the named one, in the order in which the network was built.

    Frozen parameters get no gradient, and frozen batch norms keep their statistics while the rest trains.

    Raises:
        PersonError: there is no such layer, or nothing is left to train.
    """
    find(model, name, key="train.freeze")
    paths = [path for path, _ in model.named_modules()]
    last = max(place for place, path in enumerate(paths) if path == name or path.startswith(f"{name}."))
    for place, module in enumerate(model.modules()):
        if place <= last:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            if hasattr(module, "running_mean"):
                module.register_forward_pre_hook(_hold)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise PersonError(f"train.freeze={name} freezes every parameter, so nothing is left to train: name an earlier layer")


def learning_rates(model: nn.Module, rates: Mapping[str, float], *, decay: float) -> dict[str, float]:
    """The factor of train.lr for each parameter.

    Args:
        model: whose own `learning_rates` hold for what `rates` does not name.
        rates: name of a layer -> factor; the longest name that fits counts.
        decay: factor for each step from the output back: the last one learns at 1, the one before it at `decay`, and so on.

    Raises:
        PersonError: there is no such layer.
    """
    for name in rates:
        find(model, name, key="train.rates")
    own: Mapping[str, float] = getattr(model, "learning_rates", dict)()
    depth = {name: float(number) for name, number in depths(model).items()}
    deepest = max(depth.values(), default=0.0)
    found = {}
    for name, _ in model.named_parameters():
        chosen = longest(name, rates)
        if chosen is None:
            chosen = next((factor for prefix, factor in own.items() if name.startswith(prefix)), 1.0)
        place = longest(name, depth)
        found[name] = chosen * decay ** (deepest if place is None else place)
    return found


def _hold(module: nn.Module, _: Any) -> None:
    """Before a frozen batch norm runs: whoever put the network into training mode, its statistics stay."""
    module.eval()


def _new(name: str, old: nn.Module, wanted: Any) -> nn.Module:
    row: Sequence[Any] = wanted if isinstance(wanted, list) else [wanted]
    layers = [
        _layer(name, old, one, first=number == 0, last=number == len(row) - 1) for number, one in enumerate(row)
    ]  # fmt: skip
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _layer(name: str, old: nn.Module, wanted: Any, *, first: bool, last: bool) -> nn.Module:
    where = f"train.replace.{name}"
    if not isinstance(wanted, Mapping) or "kind" not in wanted:
        raise PersonError(f"{where} must be {{kind: NAME, ...}} or a list of these: received {wanted!r}")
    kind = str(wanted["kind"])
    if kind not in KINDS:
        raise PersonError(f"{where}: unknown kind {kind!r}; {near_match(kind, KINDS)}")
    given = {key: value for key, value in wanted.items() if key != "kind"}
    for key in INHERITED.get(kind, ()):
        inner = (key in NOT_FIRST and not first) or (key in NOT_LAST and not last)
        value = getattr(old, key, getattr(old, ALIASES.get(key, key), None))
        if key not in given and value is not None and not inner:
            given[key] = value
    if kind in {"Linear", "Conv2d"} and getattr(old, "bias", True) is None:
        given.setdefault("bias", False)
    try:
        layer: nn.Module = getattr(nn, kind)(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PersonError(f"{where}: torch.nn.{kind} cannot be built from {given}: {' '.join(str(error).split())}") from error
    return layer


def _check_cached_trunk(model: nn.Module, name: str) -> None:
    """A trunk whose features embed computed must stay what embed ran, and its head what standardises them."""
    trunk = getattr(model, "trunk", lambda: None)()
    if trunk is not None and (name == "head" or not name.startswith("head.")):
        raise PersonError(
            f"train.replace: {name!r} belongs to a frozen trunk, or is the head that standardises its features; "
            "set  model.trainable_blocks  above 0, or replace a layer inside the head, such as head.linear"
        )


def _check_runs(model: nn.Module, facts: Mapping[str, Any]) -> None:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    x_BCHW = torch.zeros(2, facts["channels"], facts["height"], facts["width_pixels"], device=device)
    expected = (2, facts["outputs"])
    model.eval()
    try:
        with torch.no_grad():
            received = tuple(model(x_BCHW).shape)
            getattr(model, "penalty", lambda: None)()
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise PersonError(f"after train.replace the network does not run: {' '.join(str(error).split())}") from error
    if received != expected:
        raise PersonError(f"after train.replace the network gives outputs of shape {received}: expected {expected}")
