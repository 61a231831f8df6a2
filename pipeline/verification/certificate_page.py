"""What is published of the certificates: two files for machines, a curve and a section for people.

N samples, R radii.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import pictures
from pipeline.core.artifact import write_json
from pipeline.core.section import Cell, Picture, Section, Table
from pipeline.core.table import write_csv
from pipeline.verification.certificates import UNPROVEN, VERIFIED, VIOLATED, Artifact, Findings, certificate, curve
from pipeline.verification.transfer import Look

DPI = 110
SHOWN = 12  # hexadecimal digits of a hash in a table; certificates.json has all of them
TRANSFER = ("attack", "norm", "eps", "artifact", "images", "samples", "right")
ROUNDING = (
    "Bounds are computed in float64 and widened by what rounding in float32 may do in each layer, so they speak of the artifact "
    "as it is computed, not of an ideal one; the runtime's kernels are taken to add up the products of their layer and no others."
)
MEANING = (
    "verified: proven for every image of the ball, tried or not. violated: an image of the ball was found that this artifact, "
    "run in its own runtime, answers wrongly (or the clean image is). unproven: neither, which says nothing for or against the "
    "model. Nothing is said of other samples, or of changes that are no such ball."
)
LEVELS = "The shipped files take whole grey levels: their ball is that of the largest whole number of levels within the radius."


@dataclass(frozen=True)
class Verdict:
    """One artifact, what was found of it, and the intervals of its accuracies."""

    artifact: Artifact
    findings: Findings
    intervals: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Counts:
    """Samples that were certified, those of them that robustness attacked, and all of the test split."""

    certified: int
    attacked: int
    test: int


def publish(  # noqa: PLR0913
    verdicts: Sequence[Verdict], looks: Sequence[Look], out: Path, *, ids: Sequence[str], radii: Sequence[float], claim: str,
    methods: Sequence[str],
) -> None:  # fmt: skip
    """Write `certificates.json`, `metrics.json`, `transfer.csv` and `certified.png`."""
    curves = {one.artifact.name: curve(one.findings, one.intervals, radii) for one in verdicts}
    certificates = {
        name: certificate(one.artifact, one.findings, entries=curves[name], clean=one.intervals["clean"], ids=ids)
        for name, one in zip(curves, verdicts, strict=True)
    }
    facts = {"claim": claim, "norm": "linf", "radii": list(radii), "methods": list(methods)}
    words = {"meaning": MEANING, "rounding": ROUNDING}
    write_json(out / "certificates.json", {**facts, **words, "artifacts": certificates})
    write_json(out / "metrics.json", {name: _metrics(one, curves[name]) for name, one in zip(curves, verdicts, strict=True)})
    rows = [
        [look.raid.name, look.raid.norm, round(look.raid.eps, 8), look.artifact, "as attacked" if look.exact else "whole levels",
         len(look.right_N), int(look.right_N.sum())]
        for look in looks
    ]  # fmt: skip
    write_csv(out / "transfer.csv", TRANSFER, rows)
    _draw(verdicts, curves, out / "certified.png")


def publish_nothing(out: Path) -> None:
    """The same files, empty."""
    for name in ("certificates.json", "metrics.json"):
        write_json(out / name, {})
    write_csv(out / "transfer.csv", TRANSFER, [])
    pictures.placard("nothing was bounded", out / "certified.png")


def _metrics(verdict: Verdict, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Clean, attacked and certified accuracy with intervals; a radius stands in grey levels of 255."""
    found: dict[str, Any] = {"clean_accuracy": dict(verdict.intervals["clean"])}
    for kind in ("attacked", "certified"):
        found[f"{kind}_accuracy"] = {short(entry["eps"]): entry[kind] for entry in entries}
    return found


def section(
    verdicts: Sequence[Verdict], looks: Sequence[Look], *, counts: Counts, radii: Sequence[float], claim: str
) -> Section:  # fmt: skip
    """Words, tables and the picture."""
    curves = {one.artifact.name: curve(one.findings, one.intervals, radii) for one in verdicts}
    chosen = f"{counts.certified} of {counts.test} test samples were certified, {counts.attacked} of which robustness attacked"
    text = [f"{chosen}. {claim}", MEANING, ROUNDING]
    if any(one.artifact.whole_levels for one in verdicts):
        text.append(LEVELS)
    tables = [_accuracies(verdicts, curves, counts.certified), _transfer(looks), _hashes(verdicts)]
    said = "Accuracy as each pixel may change further: what is proven, what attacks left, and between them what is unknown."
    shown = [Picture("certified.png", said)]
    return Section(
        "Verification", _summary(verdicts, curves, counts), text=text, warnings=_warnings(verdicts, radii),
        tables=[table for table in tables if table.rows], pictures=shown,
    )  # fmt: skip


def _summary(verdicts: Sequence[Verdict], curves: Mapping[str, Sequence[Mapping[str, Any]]], counts: Counts) -> str:
    """Of what is shipped, else of the trained network: the largest radius at which anything is proven."""
    name = "exported" if "exported" in curves else verdicts[0].artifact.name
    proven = [entry for entry in curves[name] if entry[VERIFIED]]
    entry = proven[-1] if proven else curves[name][0]
    certified, attacked = (_interval(entry[kind]) for kind in ("certified", "attacked"))
    said = f"{name} model, {counts.certified} test samples at {short(entry['eps'])}/255: certified accuracy {certified}, "
    return said + f"under attack {attacked}; {entry[UNPROVEN]} unproven"


def _warnings(verdicts: Sequence[Verdict], radii: Sequence[float]) -> list[str]:
    found = []
    for one in verdicts:
        if one.findings.reason:
            found.append(f"Nothing is proven of the {one.artifact.name} model: {one.findings.reason}.")
        elif not one.findings.verified.any():
            found.append(
                f"Nothing is proven of the {one.artifact.name} model at a radius of {short(radii[0])}/255 or more: the bounds "
                f"are too loose for this network and size of image{_looseness(one.findings)}. What no attack broke is unproven, "
                "not safe."
            )
    return found


def _looseness(findings: Findings) -> str:
    """The best bound at the smallest radius."""
    least_N = findings.least_NR[:, 0][np.isfinite(findings.least_NR[:, 0])]
    return f" (the best lower bound of a margin is {least_N.max():.3g}; it would have to be above 0)" if len(least_N) else ""


def _accuracies(verdicts: Sequence[Verdict], curves: Mapping[str, Sequence[Mapping[str, Any]]], count: int) -> Table:
    rows: list[list[Cell]] = []
    for one in verdicts:
        for entry in curves[one.artifact.name]:
            found = [_interval(entry[kind]) for kind in ("certified", "attacked")]
            rows.append([
                one.artifact.name, f"{short(entry['eps'])}/255", *found, _interval(one.intervals["clean"]),
                entry[VERIFIED], entry[VIOLATED], entry[UNPROVEN],
            ])  # fmt: skip
    columns = ["model", "radius", "certified accuracy", "under attack", "clean", VERIFIED, VIOLATED, UNPROVEN]
    return Table(f"What is proven on {count} test samples, L-infinity, with intervals", columns, rows)


def _transfer(looks: Sequence[Look]) -> Table:
    """Share of right answers to the images of each attack, artifact by artifact."""
    names = list(dict.fromkeys(look.artifact for look in looks))
    rows: list[list[Cell]] = []
    for raid in dict.fromkeys(look.raid for look in looks):
        cells: list[Cell] = []
        for name in names:
            share = {look.exact: float(look.right_N.mean()) for look in looks if look.raid is raid and look.artifact == name}
            cells += [share.get(True), share[False]] if name == names[0] else [share[False]]
        rows.append([raid.name, raid.radius, len(raid.ids), *cells])
    columns = ["attack on the trained model", "radius", "samples", f"{names[0]}, as attacked" if names else "", *names]
    return Table("Accuracy of each form of the model on the attacked images, in whole grey levels", columns, rows)


def _hashes(verdicts: Sequence[Verdict]) -> Table:
    rows: list[list[Cell]] = [
        [one.artifact.name, file, digest[:SHOWN], ", ".join(sorted(set(one.findings.method_NR.ravel().tolist()) - {""})) or None]
        for one in verdicts
        for file, digest in sorted(one.artifact.files.items())
    ]
    return Table("The files that the certificates speak of", ["model", "file", "SHA-256 begins with", "bounds by"], rows)


def _draw(verdicts: Sequence[Verdict], curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """A panel an artifact; the area between the two curves is what nobody knows."""
    fig = pictures.figure(3.1 * len(verdicts) + 0.6, 3.1)
    panels = fig.subplots(1, len(verdicts), squeeze=False, sharey=True)[0]
    for axes, one in zip(panels, verdicts, strict=True):
        _panel(axes, one.intervals["clean"], curves[one.artifact.name])
        axes.set_title(one.artifact.name)
    panels[0].set_ylabel("accuracy")
    panels[0].legend(loc="best")
    pictures.save(fig, path, DPI)


def _panel(axes: Any, clean: Mapping[str, float], entries: Sequence[Mapping[str, Any]]) -> None:
    across = [0.0, *(255 * entry["eps"] for entry in entries)]
    series = {kind: [clean, *(entry[kind] for entry in entries)] for kind in ("attacked", "certified")}
    values = {kind: np.asarray([point["value"] for point in points]) for kind, points in series.items()}
    between = (values["certified"], values["attacked"])
    axes.fill_between(across, *between, color=pictures.GREY, alpha=0.18, linewidth=0, label="unproven")
    for kind, colour in (("attacked", pictures.ORANGE), ("certified", pictures.BLUE)):
        ends = [[point["value"] - point["low"], point["high"] - point["value"]] for point in series[kind]]
        look = {"color": colour, "marker": "o", "markersize": 3.5, "capsize": 2}
        axes.errorbar(across, values[kind], yerr=np.asarray(ends).T.clip(min=0), label=kind, **look)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("radius, grey levels of 255")
    pictures.grid(axes)


def short(eps: float) -> str:
    """A radius in grey levels of 255."""
    return f"{255 * eps:.3g}"


def _interval(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
