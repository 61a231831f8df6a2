"""Hold the result against what was asked of it: requirement, gate, evidence, hash. Imports no torch and opens no sample."""

from pathlib import Path
from typing import Any

from pipeline.assurance.evidence import Shelf
from pipeline.assurance.gates import stopping
from pipeline.assurance.matrix import trace, write
from pipeline.assurance.page import write_page
from pipeline.assurance.requirements import REQUIREMENTS
from pipeline.core.errors import PersonError
from pipeline.findings.gates import check_waivers
from pipeline.findings.stopped import keep


def run(cfg: dict[str, Any], out: Path, *, scratch: Path | None = None, **artifacts: Path) -> str:
    """Publish `matrix.csv`, `gates.json`, `checks.json`, `evidence.json`, a chart and the section.

    Args:
        cfg: `gates`.
        out: where to write.
        scratch: a folder that survives a failure: what a gate stopped is kept there for the person to look at.
        artifacts: stage -> its artifact; what is missing there counts as not measured.

    Raises:
        PersonError: a gate fails and is not waived, a waiver gives no reason, or a check that always holds does not.
    """
    options = cfg["gates"]
    names = [requirement.gate for requirement in REQUIREMENTS]
    check_waivers(options["waivers"], names, key="gates.waivers", what="the result may ship")
    matrix = trace(options, Shelf(artifacts))
    write(matrix, out)
    said = write_page(out, matrix, hold=options["hold"])
    why = stopping(matrix.gates, matrix.checks)
    if why:
        raise PersonError(why if scratch is None else f"{why}; the page: {keep(out, scratch, why)}")
    return said
