"""Look at every sample before anything is learnt: near duplicates, doubtful labels, outliers, shortcuts, and gates on them.

Per-sample measures are kept from run to run by id, so that a run looks at new samples alone. Imports no torch.
"""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.store import Samples, open_samples
from pipeline.core.table import write_csv
from pipeline.findings.gates import Gate, check_waivers, stopping
from pipeline.findings.items import Items, gather
from pipeline.findings.page import write_page
from pipeline.findings.stopped import keep
from pipeline.findings.survey import Survey, gates_of, survey


def run(
    cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, items: Path | None = None, scratch: Path | None = None
) -> str:
    """Publish `findings.csv`, `clusters.json`, `gates.json`, `measures.csv`, `shortcuts.csv` and pictures.

    Args:
        cfg: `quality`, `seed` and `code`.
        out: where to write.
        ingest: the samples.
        embed: their features, or the empty artifact of embedder=none.
        items: a folder that survives from run to run; without it everything is computed anew, with the same result.
        scratch: a folder that survives a failure: what a gate stopped is kept there for the person to look at.

    Raises:
        PersonError: a gate fails and is not waived, or a waiver gives no reason.
    """
    options = cfg["quality"]
    check_waivers(options["waivers"], list(options["gates"]))
    samples, card = open_samples(ingest), read_json(ingest / "card.json")
    with tempfile.TemporaryDirectory() as fresh:
        kept = gather(samples, items or Path(fresh), cfg.get("code", {}).get("quality", {}))
        found = survey(options, samples, card, items=kept, embed=embed, seed=int(cfg["seed"]))
        gates = gates_of(options, found, card, samples.columns["name"].tolist())
        _write(out, samples, items=kept, found=found, gates=gates)
        said = write_page(out, {**options, "card": card}, samples, items=kept, found=found, gates=gates)
    why = stopping(gates)
    if why:
        raise PersonError(why if scratch is None else f"{why}; pictures and tables: {keep(out, scratch, why)}")
    return said


def _write(out: Path, samples: Samples, *, items: Items, found: Survey, gates: list[Gate]) -> None:
    ids, names = samples.ids, samples.columns["name"].tolist()
    named = [*names, ""]  # the last one is for findings that concern no other sample
    rows = [
        [ids[one.place], names[one.place], one.finding, round(one.score, 6), named[one.other], one.detail]
        for one in sorted(found.findings, key=lambda one: (one.finding, -one.score, one.place, one.other))
    ]
    write_csv(out / "findings.csv", ["id", "name", "finding", "score", "other", "detail"], rows)
    write_json(out / "clusters.json", found.clusters)
    write_json(out / "gates.json", [
        {"gate": gate.gate, "value": gate.value, "limit": gate.limit, "passed": gate.passed, "waiver": gate.waiver}
        for gate in gates
    ])  # fmt: skip
    columns = list(items.measures)
    table = zip(ids, names, *(items.measures[name].tolist() for name in columns), strict=True)
    measured = ([identity, name, *(round(value, 6) for value in values)] for identity, name, *values in table)
    write_csv(out / "measures.csv", ["id", "name", *columns], measured)
    told = [[one.fact, round(one.strength, 6), round(one.chance, 6), one.seen] for one in found.shortcuts]
    write_csv(out / "shortcuts.csv", ["fact", "strength", "chance", "seen"], told)
