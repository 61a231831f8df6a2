"""The best of a study as an experiment that a person keeps: a file of conf/experiment, with how it was found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.search import space
from pipeline.search.page import Result
from pipeline.search.planning import Cell

MARK = "# Best of the study"


def experiment_text(result: Result, *, conf: Path) -> str:
    """The file's text: the base experiment, the chosen options, and the chosen values.

    Raises:
        PersonError: no trial reached its end, or an override of the study cannot be said in such a file.
    """
    if result.best is None:
        raise PersonError(f"study {result.study.name}: no trial reached its end, so there is nothing to keep")
    options: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for word in (*result.study.overrides, *space.overrides(result.best.params)):
        parsed = OverridesParser.create().parse_override(word)
        key = parsed.key_or_group
        if parsed.is_add() or parsed.is_delete() or parsed.is_sweep_override():
            raise PersonError(f"the study's override {word!r} has no place in an experiment: write the file by hand")
        if (conf / key).is_dir():
            options[key] = parsed.value()
        elif key != "logger" and not key.startswith("logger."):
            _put(values, key.split("."), parsed.value())
    options.pop("logger", None)
    defaults = [result.study.experiment, *({f"override /{key}": option} for key, option in options.items()), "_self_"]
    body = yaml.safe_dump({"defaults": defaults}, sort_keys=False, allow_unicode=True, width=120)
    body += yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120) if values else ""
    return "# @package _global_\n" + "".join(f"# {line}\n" for line in _story(result)) + body


def keep(result: Result, cell: Cell, *, root: Path) -> Path:
    """Write the file, and make sure that it composes to what the trial was.

    Raises:
        PersonError: a file of that name is there which no study wrote, or the file would mean something else.
    """
    conf = root / "conf"
    path = conf / "experiment" / f"{result.study.name}_best.yaml"
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if before is not None and MARK not in before:
        raise PersonError(f"{path.relative_to(root)} is there and no study wrote it: rename it, or the study")
    path.write_text(experiment_text(result, conf=conf), encoding="utf-8")
    try:
        same = _without(compose(conf, experiment=path.stem, overrides=[])) == _without(cell.config)
    except PersonError:
        same = False
    if not same:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
        raise PersonError(
            f"the best of study {result.study.name} cannot be said in one experiment file: use "
            f"python -m pipeline exp experiment={result.study.experiment} {' '.join(cell.overrides)}"
        )
    return path


def _story(result: Result) -> list[str]:
    study, best = result.study, result.best
    assert best is not None
    pruner = "without stopping early" if study.pruner.name == "none" else (
        f"{study.pruner.name}: 1 in {study.pruner.eta} goes on at each of {study.pruner.rungs} looks"
    )  # fmt: skip
    value = best.values[result.rule.rungs - 1]
    return [
        f"{MARK[2:]} {study.name}: trial {best.number} of {len(result.trials)}, {result.metric} {value:.4f}.",
        f"Found by {study.sampler.name} (seed {study.sampler.seed}), {pruner}; varied: {', '.join(d.key for d in study.space)}.",
        result.said,
        f"Made by: python -m pipeline tune {study.name} --write",
    ]


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in {"code", "logger"}}


def _put(node: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = value
