"""Unknown inputs: detectors fitted on train, thresholds set on validation, measured on test against other sets; one travels.

N inputs, H height, W width, C channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator
from pipeline.core.parts import build, is_off
from pipeline.core.record import Pixels
from pipeline.core.section import write_section
from pipeline.core.table import write_csv
from pipeline.dataset.digits import Digits
from pipeline.dataset.fashion import INSTALLED, Fashion
from pipeline.outlier import page, sets
from pipeline.outlier.measure import alarms, measured, separation, threshold
from pipeline.outlier.page import Result, Told
from pipeline.outlier.view import Fitted, Seen
from pipeline.outlier.watch import Chosen, save_watch
from pipeline.training.saved_model import load_model
from pipeline.training.seen import Lens
from pipeline.training.subset import Subset, read_subset

READ = ("digits", "fashion")  # sets that are read and not drawn
NEEDS = {"classes": "the task has no classes", "features": "the network does not end in one linear layer"}


@dataclass(frozen=True)
class Inputs:
    """What is judged.

    Attributes:
        splits: train, val and test -> samples.
        others: name of another set -> images, at the shape of the data.
        made: kind -> outliers made of validation samples.
        seen: the same names -> what the network makes of them.
    """

    splits: Mapping[str, Subset]
    others: Mapping[str, list[Pixels]]
    made: Mapping[str, list[Pixels]]
    seen: Mapping[str, Seen]


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, train: Path) -> str:
    """Fit, set thresholds, measure, choose; write the chosen detector, `metrics.json`, `scores.csv`, pictures and the section.

    Raises:
        PersonError: an unknown set or detector, a set that is the data itself, or a detector whose scores are not finite.
    """
    options = cfg["ood"]
    parts = {name: build(node) for name, node in (cfg["detector"] or {}).items() if not is_off(node)}
    _check(options, parts)
    if not parts:
        return page.nothing(out, "no detector (detector: none)")
    card = read_json(ingest / "card.json")
    task, model = build(cfg["task"], card=card), load_model(train).requires_grad_(requires_grad=False)
    lens = Lens(model, card)
    parts, left_out = _fitting(parts, classes=bool(task.categories), features=lens.has_features)
    if not parts:
        return page.nothing(out, f"no detector fits: {' '.join(left_out)}")
    inputs, missing = _gather(options, lens, task, {"ingest": ingest, "embed": embed, "split": split}, seed=int(cfg["seed"]))
    truth = torch.as_tensor(inputs.splits["train"].truth)
    known = lens.known(inputs.seen["train"], truth if task.categories else torch.zeros(len(truth), dtype=torch.int64))
    fitted = {name: part.fit(known) for name, part in parts.items()}
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
    results = [_result(name, parts[name], fitted[name], inputs, lens=lens, cfg=(options, measure)) for name in parts]
    shipped = _choose(results, str(options["ship"]))
    _write(out, results, shipped, fitted, inputs=inputs, options=options)
    told = _told(options, inputs, [*left_out, *missing], shipped=shipped, parts=parts)
    speaker = page.spoken_of(results, shipped)
    shown = page.draw(speaker, {"test, most unlike": _most_unlike(speaker, inputs.splits["test"]), **inputs.others}, out)
    return write_section(out, page.section(results, shipped, told, shown))


def _check(options: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Refuse names that are not known, before anything is computed."""
    names = (*READ, *sets.GENERATED)
    for name in options["sets"]:
        if name not in names:
            raise PersonError(f"ood.sets: there is no set {name!r}; {near_match(name, names)}")
    if not options["sets"]:
        raise PersonError(f"ood.sets is empty, so nothing would be measured: name some of {', '.join(names)}")
    ship = options["ship"]
    if parts and ship not in {"auto", "none", *parts}:
        raise PersonError(f"ood.ship must be auto, none or a chosen detector: received {ship!r}; {near_match(ship, parts)}")


def _fitting(parts: Mapping[str, Any], *, classes: bool, features: bool) -> tuple[dict[str, Any], list[str]]:
    """Detectors whose needs are met, and a sentence for each of the others."""
    given = {"classes": classes, "features": features, "gradients": True}
    lacks = {name: next((need for need in part.needs if not given[need]), "") for name, part in parts.items()}
    left_out = [f"The detector {name} was left out: {NEEDS[need]}." for name, need in lacks.items() if need]
    return {name: part for name, part in parts.items() if not lacks[name]}, left_out


def _gather(
    options: Mapping[str, Any], lens: Lens, task: Any, folders: Mapping[str, Path], *, seed: int
) -> tuple[Inputs, list[str]]:
    counts = {"train": int(options["fitted"]), "val": int(options["known"]), "test": int(options["known"])}
    splits = {
        name: read_subset(task, folders["ingest"], folders["split"], [name]).spread(count, seed, "ood")
        for name, count in counts.items()
    }
    for name, subset in splits.items():
        if not len(subset):
            raise PersonError(f"the {name} split is empty: set a larger share for it")
    few = int(options["others"])
    test = [*splits["test"].spread(few, seed, "inverted").pixels()]
    shape: sets.Shape = test[0].shape
    wanted = [name for name in options["sets"] if name != "fashion" or INSTALLED.is_dir()]
    missing = ["The set fashion is not installed (apt-get install dataset-fashion-mnist) and was left out."] * (
        len(options["sets"]) - len(wanted)
    )
    if not wanted:
        raise PersonError("ood.sets names fashion alone, which is not installed: add another, such as  ood.sets=[fashion,noise]")
    drawn = {name: _images(name, test, count=few, shape=shape, seed=seed) for name in wanted}
    others = {name: sets.unlike(name, images, splits["train"].samples.ids) for name, images in drawn.items()}
    chosen = splits["val"].spread(few, seed, "outliers")
    images, ids = [*chosen.pixels()], chosen.ids
    made = {name: sets.made(name, images, ids, seed) for name in sets.MADE}
    seen = {name: lens.stored(subset, folders["embed"], what=f"{name} samples") for name, subset in splits.items()}
    seen |= {name: lens.images(pixels, total=len(pixels), what=name) for name, pixels in {**others, **made}.items()}
    return Inputs(splits, others, made, seen), missing


def _images(name: str, test: Sequence[Pixels], *, count: int, shape: sets.Shape, seed: int) -> list[Pixels]:
    """At most `count` images of a set, at the shape of the data."""
    if name in sets.GENERATED:
        return sets.generated(name, test, count=count, shape=shape, seed=seed)
    data = Digits(source=Path(), limit=0) if name == "digits" else Fashion(
        source=Path(), limit=10, test_limit=max(10, count), train_fraction=0.5
    )  # fmt: skip
    entries = list(data.entries())
    rows = sorted(generator(seed, "ood", name).permutation(len(entries))[:count].tolist())
    return [sets.shaped(np.asarray(entries[row].read(), dtype=np.uint8), shape) for row in rows]


def _result(
    name: str, part: Any, fitted: Fitted, inputs: Inputs, *, lens: Lens, cfg: tuple[Mapping[str, Any], dict[str, Any]]
) -> Result:
    options, measure = cfg
    travels = part.graph(fitted.state) is not None
    judged = inputs.splits["test"]
    if "gradients" in part.needs:
        few = int(options["gradients"])
        chosen = {split: inputs.splits[split].spread(few, measure["seed"], "gradients") for split in ("val", "test")}
        judged = chosen["test"]
        pixels = {split: [*subset.pixels()] for split, subset in chosen.items()}
        pixels |= {other: images[:few] for other, images in inputs.others.items()}
        scored = {key: torch.cat([fitted.score(one) for one in lens.live(images)]) for key, images in pixels.items()}
    else:
        scored = {key: fitted.score(seen) for key, seen in inputs.seen.items() if key != "train"}
    found = {key: _finite(name, score_N) for key, score_N in scored.items()}
    limit = threshold(found["val"], float(options["false_alarm"]))
    return Result(
        name, travels, limit,
        choice=float(np.mean([_auroc(found["val"], found[kind]) for kind in inputs.made])) if travels else float("nan"),
        known=found["test"],
        ids=judged.ids,
        others={other: found[other] for other in inputs.others},
        false_alarm=alarms(found["test"], judged.groups, limit=limit, **measure),
        sets={other: measured(found["test"], found[other], judged.groups, limit=limit, **measure) for other in inputs.others},
    )  # fmt: skip


def _most_unlike(result: Result, test: Subset) -> list[Pixels]:
    """The known test samples of the highest scores."""
    rows = np.argsort(-result.known, kind="stable")[: page.SHOWN]
    return [test.samples.pixels(test.samples.index[result.ids[row]]) for row in rows]


def _finite(name: str, score_N: torch.Tensor) -> NDArray[np.float32]:
    found_N: NDArray[np.float32] = score_N.detach().float().numpy()
    if not np.isfinite(found_N).all():
        raise PersonError(f"the detector {name} gives scores that are not finite: leave it out of  detector=[...]")
    return found_N


def _auroc(known_N: NDArray[np.float32], unknown_M: NDArray[np.float32]) -> float:
    joined = np.concatenate([known_N, unknown_M])
    return separation(joined, np.arange(len(joined)) >= len(known_N))["auroc"]


def _choose(results: Sequence[Result], ship: str) -> Result | None:
    """The detector that travels; with `auto` the one that tells validation samples best from outliers made of them."""
    if ship == "none":
        return None
    able = {result.name: result for result in results if result.travels}
    if ship == "auto":
        return max(able.values(), key=lambda result: result.choice, default=None)
    if ship not in able:
        why = "cannot travel: it needs gradients" if ship in {result.name for result in results} else "was left out"
        raise PersonError(f"ood.ship={ship}: this detector {why}; choose one of  {', '.join(able) or 'none'}")
    return able[ship]


def _write(
    out: Path, results: Sequence[Result], shipped: Result | None, fitted: Mapping[str, Fitted], *, inputs: Inputs,
    options: Mapping[str, Any],
) -> None:  # fmt: skip
    chosen = None
    if shipped is not None:
        chosen = Chosen(shipped.name, shipped.threshold, float(options["false_alarm"]), len(inputs.splits["val"]))
    save_watch(out, chosen, fitted[shipped.name].state if shipped is not None else {})
    write_json(out / "metrics.json", page.facts(results, shipped))
    write_csv(out / "scores.csv", page.COLUMNS, page.rows(results))


def _told(
    options: Mapping[str, Any], inputs: Inputs, left_out: Sequence[str], *, shipped: Result | None, parts: Mapping[str, Any]
) -> Told:
    counts = {name: len(subset) for name, subset in inputs.splits.items()} | {"other": int(options["others"])}
    if shipped is None:
        meaning = "None travels with the export (ood.ship=none)."
    elif options["ship"] == "auto":
        meaning = (
            f"{shipped.name} travels: of those that can, it tells validation samples best from outliers made of them "
            f"({', '.join(sets.MADE)}); the test split had no part in the choice."
        )
    else:
        meaning = f"{shipped.name} travels, as ood.ship says."
    if any("gradients" in part.needs for part in parts.values()):
        meaning += f" Detectors that need gradients saw {options['gradients']} images of each set."
    return Told(float(options["false_alarm"]), counts, left_out, meaning)
