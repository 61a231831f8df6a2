"""One self-contained page and a model card out of everything that the other stages published. Imports no torch.

Reads section.json, card.json, metrics.json, headline.json, model.json, run.json, manifest.json, config.yaml and PNG files,
and knows nothing of any stage but where the headline, the baselines, the data card and the model stand.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.core import artifact, figures
from pipeline.core.artifact import read_json
from pipeline.core.cost import price, told
from pipeline.core.parts import build, is_off
from pipeline.core.redact import redact
from pipeline.core.section import SECTION, Section, Table, read_section, write_section

PAGE = "report.html.j2"
CARD = "report.md.j2"
BUDGET = 7_500_000  # characters of all pictures in the page
FIRST = ("assure",)
BEHIND = {"quality": "ingest", "calibrate": "evaluate", "certify": "robustness"}  # section -> the one that it belongs behind
HUB_LICENSES = {
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "odbl", "pddl", "unlicense",
}  # fmt: skip


def run(cfg: dict[str, Any], out: Path, **directories: Path) -> str:
    """Write `index.html` and `MODEL_CARD.md`, and hand the results to the tracker.

    Args:
        cfg: `report` and `logger`.
        out: where to write.
        directories: stage -> its artifact, in the order of the DAG.

    Returns:
        The last words for the person: headline with interval, best baseline beside it, and where the page is.
    """
    facts = gather(directories, width=int(cfg["report"]["picture_width"]))
    facts["sections"]["train"] = told(facts["sections"]["train"], directories["train"], price(cfg["report"]))
    facts["sections"] = {stage: timed(section, directories[stage]) for stage, section in facts["sections"].items()}
    facts["title"] = cfg["report"]["title"] or f"{facts['card']['name']}: {facts['config']['task_name']}"
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(("html.j2",)), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(number=figures.number, literal=_literal, inline=_inline)
    environment.globals.update(numeric_columns=figures.numeric_columns)
    (out / "index.html").write_text(environment.get_template(PAGE).render(**facts), encoding="utf-8")
    (out / "MODEL_CARD.md").write_text(environment.get_template(CARD).render(**facts), encoding="utf-8")
    words = f"{facts['said']}\n{'':23}open data/report/index.html; MODEL_CARD.md is beside it in"
    write_section(out, Section("Report", facts["said"]))
    if not is_off(cfg["logger"]):
        build(cfg["logger"]).finish_report(directories, facts["run_id"])
    return words


def gather(directories: Mapping[str, Path], *, width: int) -> dict[str, Any]:
    """Everything that the templates show."""
    sections = {stage: read_section(path) for stage, path in directories.items() if (path / SECTION).is_file()}
    metrics = read_json(directories["evaluate"] / "metrics.json")
    headline = read_json(directories["evaluate"] / "headline.json")
    text = (directories["compose"] / "config.yaml").read_text(encoding="utf-8")
    rivals = {
        name: entry[headline["metric"]]
        for name, entry in read_json(directories["baseline"] / "metrics.json").items()
        if headline["metric"] in entry
    }
    ours = metrics[headline["metric"]]
    pictures = [directories[stage] / picture.file for stage, section in sections.items() for picture in section.pictures]
    best = max(rivals, key=lambda name: _sign(headline) * rivals[name]["value"], default=None)
    card = read_json(directories["ingest"] / "card.json")
    return {
        "card": card,
        "chart": figures.interval_chart([("this model", ours), *rivals.items()]),
        "best": best,
        "config": _config(text),
        "detector": _detector(directories),
        "headline": headline,
        "lineage": [_lineage(stage, path, code=yaml.safe_load(text)["code"]) for stage, path in directories.items()],
        "metrics": metrics,
        "model": read_json(directories["train"] / "model.json"),
        "ours": ours,
        "pictures": {str(path): shown for path, shown in figures.encode(pictures, budget=BUDGET, width=width).items()},
        "directories": {stage: str(path) for stage, path in directories.items()},
        "rivals": rivals,
        "run_id": read_json(directories["train"] / "run.json")["run_id"],
        "said": _said(headline, ours, best, rivals),
        "sections": {stage: sections[stage] for stage in reading_order(sections) if stage != "compose"},
        "experiment": sections["compose"].summary if "compose" in sections else "",
        "slug": slug(card["name"]),
        "hub_license": license_id(card["license"]),
        "verdict": verdict(headline, ours, best, rivals),
        "versions": _versions(directories),
        "waived": _waived(directories),
        "warnings": [(section.title, warning) for section in sections.values() for warning in section.warnings],
    }


def timed(section: Section, directory: Path) -> Section:
    """A section with the table of times that its artifact measured beside its content, if it has one."""
    path = directory / artifact.MEASURED
    table = read_json(path).get("table") if path.is_file() else None
    return replace(section, tables=[*section.tables, Table(**table)]) if table else section


def reading_order(stages: Collection[str]) -> list[str]:
    """Stages in the order of the DAG, but what was asked of the result first, and what is of one subject together."""
    names = [name for name in stages if name not in {*FIRST, *BEHIND}]
    present = set(stages)
    for name, before in BEHIND.items():
        if name in present:
            names.insert(names.index(before) + 1 if before in names else len(names), name)
    return [*(name for name in FIRST if name in present), *names]


def _waived(directories: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Gates that failed and that a person waived with a reason: on the data, and on the result."""
    found = []
    for stage, kind in (("quality", "Quality"), ("assure", "Assurance")):
        path = directories.get(stage, Path()) / "gates.json"
        gates: list[dict[str, Any]] = read_json(path) if stage in directories and path.is_file() else []
        found += [{**gate, "kind": kind} for gate in gates if not gate["passed"]]
    return found


def _detector(directories: Mapping[str, Path]) -> str:
    """The detector of unknown inputs that travels with the export; "" for none."""
    path = directories.get("ood", Path()) / "metrics.json"
    found = read_json(path).get("shipped", {}) if "ood" in directories and path.is_file() else {}
    return str(found.get("detector", ""))


def verdict(headline: Mapping[str, Any], ours: Mapping[str, float], best: str | None, rivals: Mapping[str, Any]) -> str:
    """What may be said of the model beside the best baseline, and no more."""
    if best is None:
        return "No baseline was run, so nothing says whether the model is worth its cost."
    rival, sign = rivals[best], _sign(headline)
    ahead = sign * (ours["value"] - rival["value"])
    overlap = ours["low"] <= rival["high"] and rival["low"] <= ours["high"]
    if ahead < 0:
        tail = "their intervals overlap, so on this test split neither is certainly better" if overlap else "use the baseline"
        return f"The baseline {best} scores better than the model: {tail}."
    if overlap:
        return f"The intervals of the model and of the best baseline, {best}, overlap: on this test split a gain is not certain."
    return f"The interval of the model lies clear of that of the best baseline, {best}."


def slug(name: str) -> str:
    """A name for machines: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "data"


def license_id(name: str) -> str | None:
    """The Hub's identifier of a licence, or None when it has none of that name."""
    candidates = {re.sub(r"[^a-z0-9]+", "", known): known for known in HUB_LICENSES}
    return candidates.get(re.sub(r"[^a-z0-9]+", "", name.lower()))


def _said(headline: Mapping[str, Any], ours: Mapping[str, float], best: str | None, rivals: Mapping[str, Any]) -> str:
    words = (
        f"{headline['label']} {ours['value']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}] on {headline['samples']:,} test samples"
    )
    if best is None:
        return f"{words}; no baseline"
    rival = rivals[best]
    return f"{words}; best baseline {best} {rival['value']:.3f} [{rival['low']:.3f}, {rival['high']:.3f}]"


def _sign(headline: Mapping[str, Any]) -> int:
    return 1 if headline["higher_is_better"] else -1


def _config(text: str) -> dict[str, Any]:
    loaded = redact({name: value for name, value in yaml.safe_load(text).items() if name != "code"}, ())
    task = str(loaded["task"]["_target_"]).rsplit(".", 2)[-2]
    return {"task_name": task, "yaml": yaml.safe_dump(loaded, sort_keys=True, allow_unicode=True, width=110)}


def _lineage(stage: str, path: Path, *, code: dict[str, Any]) -> dict[str, Any]:
    manifest = read_json(path / artifact.MANIFEST)
    return {
        "stage": stage, "digest": artifact.digest(path), "code": code.get(stage, {}).get("modules", ""),
        "inputs": sorted(manifest["inputs"]), "files": len(manifest["files"]), "seed": manifest["seed"],
    }  # fmt: skip


def _versions(directories: Mapping[str, Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in directories.values():
        found.update(read_json(path / artifact.MANIFEST)["versions"])
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _literal(value: object) -> str:
    """A value as one line of YAML."""
    return yaml.safe_dump(value, allow_unicode=True, width=10**6, default_flow_style=True).removesuffix("...\n").strip()


def _inline(value: object) -> str:
    """A name from outside as plain text of Markdown: no markup, no HTML, no table cell or line can be opened by it."""
    flat = " ".join(str(value).split())
    return (
        re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", flat).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
    )
