"""Ask each layer of the trained network how much it tells: linear, SVM and nearest-neighbour probes on its features."""

import argparse
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import build, is_off

EXAMPLES = """examples:
  python -m pipeline probe                                    the end of each stage of the network in data/train
  python -m pipeline probe --list                             names and shapes of its layers
  python -m pipeline probe --layer trunk_layers.2 head        these two
  python -m pipeline probe --step 50 200 --out ~/probe        as it was after these steps (train.snapshots=[50,200]), as files
Probes are fitted on the train split and measured on validation; the test split is not opened. Their numbers stand in
conf/baseline/<probe>.yaml. Four-dimensional outputs are pooled by mean and maximum over height and width, tokens likewise.
"""
Line = tuple[int | None, str, int, str, dict[str, float]]


def main(argv: list[str]) -> int:
    """Run `python -m pipeline probe`; 0 when measured."""
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    if options.limit < 2:
        raise PersonError(f"--limit must be at least 2: received {options.limit}")
    out = _out(options.out, root)
    probes = {name: _probe(root, name) for name in options.probe}
    if options.list:
        return _list(root, options.step[0] if options.step else None)
    lines, label = _measured(root, options, probes)
    _show(lines, list(probes), label)
    if out is not None:
        _write(out, lines, label)
        print(f"written: {out / 'probe.csv'}, {out / 'probe.png'}")
    return 0


def _measured(root: Path, options: argparse.Namespace, probes: dict[str, Any]) -> tuple[list[Line], str]:
    from pipeline.training.layers import find, stages
    from pipeline.training.predict import to_batch
    from pipeline.training.probing import judge, open_probe

    lines: list[Line] = []
    label = ""
    for step in options.step or [None]:
        opened = open_probe(root, step=step, limit=options.limit)
        for name in options.layer:
            find(opened.model, name, key="--layer")
        chosen = options.layer or stages(opened.model, to_batch([next(opened.train.pixels())]))
        lines += [(step, *found) for found in judge(opened, chosen, probes)]
        label = str(opened.task.meanings[opened.task.headline][0])
    return lines, label


def _list(root: Path, step: int | None) -> int:
    from rich.console import Console
    from rich.table import Table

    from pipeline.training.layers import shapes, stages
    from pipeline.training.predict import to_batch
    from pipeline.training.probing import open_probe

    opened = open_probe(root, step=step, limit=2)
    x_BCHW = to_batch([next(opened.train.pixels())])
    ends = set(stages(opened.model, x_BCHW))
    named = dict(opened.model.named_modules())
    table = Table(title=f"Layers of {type(opened.model).__name__}, in the order in which they run", box=None)
    for column in ("layer", "kind", "output of one sample", "ends a stage"):
        table.add_column(column)
    for name, shape in shapes(opened.model, x_BCHW, [name for name in named if name]).items():
        if name:
            table.add_row(name, type(named[name]).__name__, " x ".join(map(str, shape[1:])), "yes" if name in ends else "")
    Console(width=110).print(table)
    return 0


def _show(lines: Sequence[Line], probes: Sequence[str], label: str) -> None:
    from rich.console import Console
    from rich.table import Table

    stepped = any(step is not None for step, *_ in lines)
    table = Table(title=f"Validation {label} [95 % interval] of simple classifiers on each layer's features")
    for column in [*(["step"] if stepped else []), "layer", "features", *probes]:
        table.add_column(column, justify="left" if column == "layer" else "right")
    for step in dict.fromkeys(step for step, *_ in lines):
        mine = [line for line in lines if line[0] == step]
        for layer in dict.fromkeys(line[1] for line in mine):
            cells = {name: entry for _, one, _, name, entry in mine if one == layer}
            width = next(line[2] for line in mine if line[1] == layer)
            first = [str(step)] if stepped else []
            if layer:
                table.add_row(*first, layer, f"{width:,}", *(_cell(cells[name]) for name in probes))
            else:
                table.add_row(*first, "the network's own answer", f"{width:,}", _cell(cells["network"]))
    Console(width=130).print(table)


def _cell(entry: dict[str, float]) -> str:
    if not math.isfinite(entry["value"]):
        return "undefined"
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def _write(out: Path, lines: Sequence[Line], label: str) -> None:
    """Table and chart, whole or not at all."""
    from pipeline.core.table import write_csv

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows = [
            ["" if step is None else step, layer, width, probe, entry["value"], entry["low"], entry["high"]]
            for step, layer, width, probe, entry in lines
        ]
        write_csv(partial / "probe.csv", ["step", "layer", "features", "probe", "value", "low", "high"], rows)
        _chart(partial / "probe.png", lines, label)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _chart(path: Path, lines: Sequence[Line], label: str) -> None:
    from pipeline.core.pictures import GREY, PALETTE, figure, grid, save, shorten

    probes = [name for name in dict.fromkeys(line[3] for line in lines) if name != "network"]
    steps = list(dict.fromkeys(line[0] for line in lines))
    layers = list(dict.fromkeys(line[1] for line in lines if line[1]))
    fig = figure(1.2 + 3.4 * len(probes), 3.8)
    for axes, probe in zip(fig.subplots(1, len(probes), sharey=True, squeeze=False)[0], probes, strict=True):
        for number, step in enumerate(steps):
            colour = PALETTE[number % len(PALETTE)] if len(steps) > 1 else PALETTE[0]
            own = next(entry["value"] for one, layer, _, _, entry in lines if one == step and not layer)
            found = {layer: entry for one, layer, _, name, entry in lines if one == step and name == probe}
            places = [layers.index(layer) for layer in found]
            low, high = ([entry[end] for entry in found.values()] for end in ("low", "high"))
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
            name = probe if step is None else f"step {step}"
            axes.plot(places, [entry["value"] for entry in found.values()], color=colour, marker="o", markersize=4, label=name)
            axes.axhline(own, color=colour if len(steps) > 1 else GREY, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(layers)), [shorten(layer, 22) for layer in layers], rotation=40, ha="right")
        axes.set_title(f"{probe} on each layer")
        grid(axes, "y")
        axes.legend(loc="best")
    fig.axes[0].set_ylabel(f"validation {label}\n(dotted: the network itself)")
    save(fig, path, 110)


def _probe(root: Path, name: str) -> Any:
    """A baseline that looks at features, with the numbers of its file in conf/."""
    known = {path.stem: path for path in (root / "conf/baseline").glob("*.yaml")}
    if name not in known:
        raise PersonError(f"--probe {name}: there is no conf/baseline/{name}.yaml; {near_match(name, known)}")
    node = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    part = None if is_off(node) else build(node)
    if part is None or not part.needs_features:
        raise PersonError(f"--probe {name} looks at no features; take one of linear, svm, knn")
    return part


def _out(asked: str | None, root: Path) -> Path | None:
    if asked is None:
        return None
    out = Path(os.path.abspath(Path(asked).expanduser()))
    if out.exists():
        raise PersonError(f"{out} exists already: name a new folder with --out; nothing was overwritten")
    if out.is_relative_to(root / "data"):
        raise PersonError(f"{out} lies where stages publish and DVC removes: name a folder outside data/ with --out")
    return out


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline probe", description=(__doc__ or "").strip(), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--layer", nargs="+", default=[], metavar="NAME", help="layers, as --list names them (the end of each stage)")
    add("--step", nargs="+", type=int, default=[], metavar="N", help="weights of these steps (the final ones)")
    add("--probe", nargs="+", default=["linear", "svm", "knn"], metavar="NAME", help="of conf/baseline (linear svm knn)")
    add("--limit", type=int, default=5000, help="training samples at most; an SVM takes N x N numbers (5000)")
    add("--list", action="store_true", help="only list the layers")
    add("--out", help="a new folder for probe.csv and probe.png (nothing is written)")
    return parser.parse_args(argv)
