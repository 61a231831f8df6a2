"""What the model looks at: maps by several explainers, the checks that say whether they can be believed, and a look inside.

Letters: N samples, M prototypes (training samples), K outputs.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.explaining import inside, judging, measuring, pages
from pipeline.explaining.faithfulness import gain
from pipeline.explaining.measuring import Case, Cues, Maps
from pipeline.training.predict import predict, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

SHOWN = 6  # samples on the picture of the control, and cues on that of the cue
PICTURES = (
    "maps.png", "faithfulness.png", "control.png", "cue.png", "ascent.png", "filters.png", "activations.png", "neighbours.png",
)  # fmt: skip
TITLE = "What the model looks at"


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Explain `explain.count` test samples; write the maps, `metrics.json`, `checks.json`, the pictures and the section.

    Raises:
        PersonError: the test or train split is too small, or an explainer cannot explain this network.
    """
    card = read_json(ingest / "card.json")
    nodes = {name: node for name, node in (cfg["explainer"] or {}).items() if not is_off(node)}
    if not nodes:
        return _none(out, card)
    task = build(cfg["task"], card=card)
    model = load_model(train).requires_grad_(requires_grad=False)
    case = Case(model, task, {name: build(node) for name, node in nodes.items()}, cfg["explain"], int(cfg["seed"]))
    test, pool = (_drawn(case, ingest, split, name) for name in ("test", "train"))
    prediction = predict(model, task, test.pixels(), total=len(test), what="predicting")
    rows, right = choose(task.errors(prediction, test.truth), int(case.options["count"]))
    chosen, said = test.take(rows), prediction[rows]
    x_NCHW = to_batch(list(chosen.pixels()))
    maps, others = measuring.maps_and_controls(case, x_NCHW)
    curves = measuring.curves(case, x_NCHW, maps, chosen.ids)
    cues = measuring.cues(case, to_batch(list(pool.spread(_cue_images(case), case.seed, "cue").pixels())))
    limits = judging.Limits(case.options["alike"], case.options["found"], **_measure(cfg))
    alike = measuring.correlations(maps, others)
    verdicts = []
    for name in maps:
        gain_N = np.asarray([gain(curve) for curve in curves[name]])
        verdicts.append(judging.judge(name, gain_N, alike[name], cues.found[name], groups=chosen.groups, limits=limits))
    _publish(chosen, maps, verdicts, out)
    _draw_maps(task, chosen, said, maps=maps, others=others, out=out)
    pages.curves(curves, out / "faithfulness.png")
    _draw_cues(cues, out / "cue.png")
    facts = _look_inside(case, chosen, said, pool=pool, out=out)
    warnings = judging.warnings(verdicts, limits, cues.told)
    counts = {"right": right, "wrong": len(rows) - right, "train": len(pool), "all": len(test)}
    return write_section(out, _section(case, verdicts, facts, warnings=warnings, counts=counts))


def choose(badness_N: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], int]:
    """Rows to explain: the most right one, the most wrong one, the second most right one, and so on.

    Returns:
        The rows, and how many of them are of the first kind.
    """
    order = np.argsort(badness_N, kind="stable")
    count = min(count, len(order))
    right = count - count // 2
    rows = np.empty(count, dtype=np.int64)
    rows[0::2], rows[1::2] = order[:right], order[::-1][: count // 2]
    return rows, right


def _drawn(case: Case, ingest: Path, split: Path, name: str) -> Subset:
    whole = read_subset(case.task, ingest, split, [name])
    if len(whole) < 2:
        raise PersonError(f"the {name} split holds {len(whole)} samples, and explaining needs two: set a larger {name} share")
    return whole.spread(int(case.options["candidates" if name == "test" else "prototypes"]), case.seed, "explain")


def _cue_images(case: Case) -> int:
    return 2 * int(case.options["cues"]) + int(case.options["probes"])


def _measure(cfg: dict[str, Any]) -> dict[str, Any]:
    return {"resamples": cfg["intervals"]["resamples"], "coverage": cfg["intervals"]["coverage"], "seed": int(cfg["seed"])}


def _publish(chosen: Subset, maps: Maps, verdicts: list[judging.Verdict], out: Path) -> None:
    np.save(out / "maps.npy", np.stack(list(maps.values())))
    (out / "ids.txt").write_text("".join(f"{identity}\n" for identity in chosen.ids), encoding="utf-8")
    write_json(out / "metrics.json", {verdict.name: verdict.numbers for verdict in verdicts})
    checks = {verdict.name: {"failed": verdict.failed, "unchecked": verdict.unchecked} for verdict in verdicts}
    passed = sum(not verdict.failed for verdict in verdicts) / len(verdicts)
    write_json(out / "checks.json", {"order": list(maps), "explainers": checks, "passed": passed})


def _draw_maps(task: Any, chosen: Subset, said: NDArray[np.float32], *, maps: Maps, others: Maps, out: Path) -> None:
    images = list(chosen.pixels())
    truths = [f"true: {task.truth_text(truth)}\nsays: {task.text(row)}" for truth, row in zip(chosen.truth, said, strict=True)]
    names = [[name] * len(images) for name in maps]
    pages.beside(images, list(maps.values()), out / "maps.png", first=truths, rest=names)
    shown = min(SHOWN, *(made.shape[1] for made in others.values()))
    columns = [column for name in maps for column in (maps[name], others[name][0])]
    titles = [title for name in maps for title in ([name] * shown, ["shuffled weights"] * shown)]
    pages.beside(images[:shown], columns, out / "control.png", first=["image"] * shown, rest=titles)


def _draw_cues(cues: Cues, path: Path) -> None:
    images = [inside.shown(x_CHW) for x_CHW in cues.planted.with_NCHW[:SHOWN]]
    titles = [[f"{name}: {'found' if hit else 'missed'}" for hit in cues.found[name].hits] for name in cues.maps]
    pages.beside(images, list(cues.maps.values()), path, first=["planted cue"] * len(images), rest=titles)


def _look_inside(case: Case, chosen: Subset, said: NDArray[np.float32], *, pool: Subset, out: Path) -> list[str]:
    """Draw what the network sees inside; return sentences with the numbers."""
    images, prototypes = list(chosen.pixels()), list(pool.pixels())
    x_NCHW, x_MCHW = to_batch(images), to_batch(prototypes)
    climbs = inside.climbs(case, x_NCHW[:1], inside.goals_of(case.task, said.shape[1]))
    write_json(out / "ascent.json", {climb.title: [round(float(value), 6) for value in climb.score_S] for climb in climbs})
    titles = [f"{climb.title}\n{climb.score_S[0]:.3g} to {climb.score_S[-1]:.3g}" for climb in climbs]
    pages.rows([climb.image_HWC for climb in climbs], titles, 8, out / "ascent.png")
    filters, share = inside.draw_filters(case, x_NCHW[:1], out / "filters.png")
    inside.draw_layers(case, x_NCHW[:1], out / "activations.png")
    near = inside.neighbours(case, x_NCHW, x_MCHW, prediction_NK=said, truth_M=pool.truth)
    says = [f"says: {case.task.text(row)}" for row in said]
    truths = [str(case.task.truth_text(truth)) for truth in pool.truth]
    inside.draw_neighbours(near, images, prototypes, says=says, truths=truths, path=out / "neighbours.png")
    count = near.rows.shape[1]
    text = [(f"Were the truths of the {count} nearest of {len(pool)} training samples right, the predictions would have a "
             f"mean error of {near.own:.3g}; with those of all of them of {near.chance:.3g}. What is near inside the network "
             "should be alike in truth.")]  # fmt: skip
    if share is not None:
        text.append(f"{share:.0%} of the {filters} filters of the first layer are smoother than chance (5 % of noise would be).")
    return text


def _section(
    case: Case, verdicts: list[judging.Verdict], facts: list[str], *, warnings: list[str], counts: dict[str, int]
) -> Section:
    rows: list[list[Cell]] = [[verdict.name, *judging.cells(verdict)] for verdict in verdicts]
    options = case.options
    table = Table(
        f"Three checks of each explainer on {counts['right'] + counts['wrong']} samples, with intervals: whether its maps are "
        f"faithful (above 0), unlike those of shuffled weights (networks: {options['controls']}, samples: "
        f"{options['controlled']}; at most {options['alike']:g}), and find a planted cue (images: {verdicts[0].cues}; "
        f"at least {options['found']:.0%})",
        ["explainer", "insertion - deletion", "rank correlation with shuffled", "cue found", "map on the cue", "verdict"], rows,
    )  # fmt: skip
    about = (f"The samples are those of {counts['all']} from the test split that the model gets most right ({counts['right']}) "
             f"and most wrong ({counts['wrong']}). A map shows what the score of the predicted class depends on, not why; it is "
             "no proof that the model uses the right evidence.")  # fmt: skip
    captions = _captions(case, verdicts, counts)
    shown = [Picture(name, captions[name]) for name in PICTURES]
    line = judging.summary(verdicts, counts["right"] + counts["wrong"])
    return Section(TITLE, line, text=[about, *facts], warnings=warnings, tables=[table], pictures=shown)


def _captions(case: Case, verdicts: list[judging.Verdict], counts: dict[str, int]) -> dict[str, str]:
    area, steps = verdicts[0].numbers["cue_area"]["value"], case.options["ascent_steps"]
    return {
        "maps.png": "What the score depends on: in turn a sample that the model gets most right and one that it gets most wrong. "
                    "Bright speaks for the predicted class; each map has its own scale.",
        "faithfulness.png": "The score while regions go, the most important first (deletion), and while they come back to a "
                            "blurred image (insertion). The more area between the curves, the better the map; dotted is chance.",
        "control.png": "Maps of the model beside those of the same network with shuffled weights, which must look different.",
        "cue.png": f"A checkered square ({area:.0%} of the image) at a random place that a probe of this network was fitted to "
                   "tell: a map must be brightest on it.",
        "ascent.png": f"Images that excite the network after {steps} steps of gradient ascent from grey noise, and a test image "
                      "in which a middle layer sees more of what it sees (deep dream); scores before and after.",
        "filters.png": "What the first layer looks for: its weights, grey is zero.",
        "activations.png": "What layers of rising depth answer to one image: the channels that vary most.",
        "neighbours.png": f"Test samples, and the nearest of {counts['train']} training samples in what the network knows before "
                          "its last layer.",
    }  # fmt: skip


def _none(out: Path, card: dict[str, Any]) -> str:
    np.save(out / "maps.npy", np.zeros((0, 0, card["height"], card["width"]), dtype=np.float32))
    (out / "ids.txt").write_text("", encoding="utf-8")
    write_json(out / "metrics.json", {})
    write_json(out / "checks.json", {"order": [], "explainers": {}, "passed": None})
    write_json(out / "ascent.json", {})
    for name in PICTURES:
        pictures.placard("explainer: none", out / name)
    return write_section(out, Section(title=TITLE, summary="no maps (explainer: none)"))
