"""What a study may vary: ranges and choices of configuration keys, and the overrides that one point of them means.

A dimension names a leaf of the composed configuration (`train.lr`) or a group (`model`). Its values travel as texts of Hydra
overrides, so a point of the space is nothing but a list of overrides that a person could have typed.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.core.errors import PersonError, near_match

Value = float | int | str
Params = dict[str, Value]
PLAIN = re.compile(r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_][\w.\-]*")
RANGE_KEYS = ("low", "high", "log", "step", "when")
CHOICE_KEYS = ("values", "when")


@dataclass(frozen=True)
class Dimension:
    """One key that varies.

    Attributes:
        key: a leaf of the composed configuration, or a group.
        distribution: of its values; choices are texts of override values.
        when: key of an earlier dimension -> the texts for which this one exists at all.
    """

    key: str
    distribution: BaseDistribution
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def active(self, params: Mapping[str, Value]) -> bool:
        """Whether it exists beside what was drawn of the others."""
        return all(key in params and text(params[key]) in allowed for key, allowed in self.when)

    def suggest(self, trial: optuna.trial.Trial) -> Value:
        """Draw a value."""
        of = self.distribution
        if isinstance(of, FloatDistribution):
            return trial.suggest_float(self.key, of.low, of.high, log=of.log, step=of.step)
        if isinstance(of, IntDistribution):
            return trial.suggest_int(self.key, of.low, of.high, log=of.log, step=of.step)
        assert isinstance(of, CategoricalDistribution)
        return trial.suggest_categorical(self.key, of.choices)  # type: ignore[return-value]

    def probes(self) -> list[Value]:
        """Values that stand for all of them: both ends and one between, or every choice."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return [str(choice) for choice in of.choices]
        assert isinstance(of, FloatDistribution | IntDistribution)
        between = math.sqrt(of.low * of.high) if of.log else (of.low + of.high) / 2
        return [of.low, of.high, int(between) if isinstance(of, IntDistribution) else between]

    def grid(self) -> list[Value]:
        """Every value, for a grid.

        Raises:
            PersonError: a range of numbers without a step has no last value.
        """
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return [str(choice) for choice in of.choices]
        assert isinstance(of, FloatDistribution | IntDistribution)
        if of.log or of.step is None:
            raise PersonError(f"space.{self.key}: a grid needs  values: [...]  or a step for every key, and no log range")
        return [of.low + number * of.step for number in range(int((of.high - of.low) / of.step + 1e-9) + 1)]

    def place(self, value: Value) -> float:
        """Where a value lies between the ends, from 0 to 1; choices in their order."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return of.choices.index(value) / max(1, len(of.choices) - 1)
        assert isinstance(of, FloatDistribution | IntDistribution)
        ends = [math.log(float(end)) if of.log else float(end) for end in (of.low, of.high, value)]
        return (ends[2] - ends[0]) / ((ends[1] - ends[0]) or 1.0)


def read_space(node: Any) -> tuple[Dimension, ...]:
    """The dimensions of a study's `space`, in its order.

    Raises:
        PersonError: a range or choice that does not say what it must.
    """
    if not isinstance(node, Mapping) or not node:
        raise PersonError("space must name at least one key, as in  train.lr: {low: 1.0e-4, high: 1.0e-1, log: true}")
    made: list[Dimension] = []
    for key, entry in node.items():
        made.append(_dimension(str(key), entry, known=[dimension.key for dimension in made]))
    return tuple(made)


def overrides(params: Mapping[str, Value]) -> tuple[str, ...]:
    """The point as Hydra overrides, in the order of the space."""
    return tuple(f"{key}={text(value)}" for key, value in params.items())


def parted(params: Mapping[str, Value]) -> tuple[tuple[str, ...], dict[str, float]]:
    """The point as overrides that Hydra must compose (choices), and as numbers to set on what it made (ranges)."""
    leaves = {key: value for key, value in params.items() if not isinstance(value, str)}
    return overrides({key: value for key, value in params.items() if key not in leaves}), leaves


def text(value: Value) -> str:
    """A drawn value as it stands in an override: choices are texts already."""
    return value if isinstance(value, str) else written(value)


def written(value: Any) -> str:
    """A value as Hydra's grammar reads it back: numbers exactly, words bare, anything else quoted.

    >>> [written(value) for value in (1e-05, 3, True, None, "mlp", "a b", [0.9, 0.99])]
    ['1e-05', '3', 'true', 'null', 'mlp', '"a b"', '[0.9,0.99]']
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(written, value)) + "]"
    return value if PLAIN.fullmatch(str(value)) else _quoted(str(value))


def draw(dimensions: Sequence[Dimension], trial: optuna.trial.Trial) -> Params:
    """One point, asked of Optuna."""
    params: Params = {}
    for dimension in dimensions:
        if dimension.active(params):
            params[dimension.key] = dimension.suggest(trial)
    return params


def grid(dimensions: Sequence[Dimension]) -> list[Params]:
    """Every point, each once; the last key varies fastest.

    Raises:
        PersonError: a range without a step.
    """
    points: dict[tuple[tuple[str, Value], ...], None] = {}
    for values in itertools.product(*(dimension.grid() for dimension in dimensions)):
        params: Params = {}
        for dimension, value in zip(dimensions, values, strict=True):
            if dimension.active(params):
                params[dimension.key] = value
        points[tuple(params.items())] = None
    return [dict(point) for point in points]


def probes(dimensions: Sequence[Dimension]) -> list[Params]:
    """Points that try every dimension at its ends, in its middle and at each choice, beside the choices that it stands under."""
    made: list[Params] = []
    for dimension in dimensions:
        conditions: Params = {key: allowed[0] for key, allowed in dimension.when}
        made += [{**conditions, dimension.key: value} for value in dimension.probes()]
    return made


def standard(dimensions: Sequence[Dimension], config: Mapping[str, Any], options: Mapping[str, str]) -> Params | None:
    """The point that the configuration has without a study, or None where it lies outside the space.

    Args:
        dimensions: the space.
        config: composed without the study's choices.
        options: group -> the option that is chosen without a study.
    """
    params: Params = {}
    for dimension in dimensions:
        if not dimension.active(params):
            continue
        value = options.get(dimension.key, _leaf(config, dimension.key))
        of = dimension.distribution
        if isinstance(of, CategoricalDistribution):
            value = written(value)
            if value not in of.choices:
                return None
        elif isinstance(value, bool) or not isinstance(value, int | float) or not _within(of, value):
            return None
        params[dimension.key] = value
    return params


def _within(of: Any, value: float) -> bool:
    if not of.low <= value <= of.high:
        return False
    if isinstance(of, IntDistribution) and value != int(value):
        return False
    return of.step is None or of.log or abs((value - of.low) / of.step - round((value - of.low) / of.step)) < 1e-9


def _leaf(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _dimension(key: str, entry: Any, known: Sequence[str]) -> Dimension:
    if isinstance(entry, list):
        entry = {"values": entry}
    if not isinstance(entry, Mapping):
        raise PersonError(f"space.{key} must be a list of values or a range {{low: ..., high: ...}}: received {entry!r}")
    allowed = CHOICE_KEYS if "values" in entry else RANGE_KEYS
    for name in entry:
        if name not in allowed:
            raise PersonError(f"space.{key}: unknown word {name!r}: {near_match(str(name), {*CHOICE_KEYS, *RANGE_KEYS})}")
    when = []
    for other, values in (entry.get("when") or {}).items():
        if other not in known:
            unknown = f"when names {other!r}, which does not stand before it"
            raise PersonError(f"space.{key}: {unknown}: {near_match(str(other), known)}")
        when.append((str(other), tuple(written(value) for value in (values if isinstance(values, list) else [values]))))
    of = _choices(key, entry["values"]) if "values" in entry else _range(key, entry)
    return Dimension(key, of, tuple(when))


def _choices(key: str, values: Any) -> CategoricalDistribution:
    texts = [written(value) for value in values] if isinstance(values, list) else []
    if not texts or len(set(texts)) != len(texts):
        raise PersonError(f"space.{key}: values must be a list of different values: received {values!r}")
    return CategoricalDistribution(texts)


def _range(key: str, entry: Mapping[str, Any]) -> BaseDistribution:
    low, high, log, step = entry.get("low"), entry.get("high"), entry.get("log", False), entry.get("step")
    for name, end in (("low", low), ("high", high)):
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise PersonError(f"space.{key}: {name} must be a number: received {end!r}")
    assert low is not None
    assert high is not None
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise PersonError(f"space.{key}: a log range needs low above 0 and no step: received low {low}, log {log}, step {step}")
    if low >= high or (step is not None and not 0 < step <= high - low):
        received = f"received low {low}, high {high}, step {step}"
        raise PersonError(f"space.{key}: low must lie below high, and step between 0 and their distance: {received}")
    if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
        return IntDistribution(low, high if step is None else low + (high - low) // step * step, log=log, step=step or 1)
    top = float(high) if step is None else low + int((high - low) / step + 1e-9) * step
    return FloatDistribution(float(low), top, log=log, step=step)


def _quoted(text: str) -> str:
    """A double-quoted string of Hydra's grammar."""
    return '"' + re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)$", r"\1\1", text)) + '"'
