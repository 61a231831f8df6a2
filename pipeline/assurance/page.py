"""How assurance shows what was asked, what was found and where it stands.

The chart has one row a number: its interval, its value, and the limit that was set for it.
"""

from collections import Counter
from pathlib import Path

from pipeline.assurance import gates as words
from pipeline.assurance.gates import Gate, measured
from pipeline.assurance.matrix import Matrix
from pipeline.core.pictures import BLUE, GREEN, GREY, ORANGE, RED, figure, grid, placard, save
from pipeline.core.section import Cell, Picture, Section, Table, write_section

DPI = 110
SHORT = 8  # characters of a hash on the page; the files hold all of it
SHAPE = (
    "The table has the shape of the traceability matrices of DO-178C and ISO/PAS 8800 and of the AI Act's documentation. "
    "It shows what was measured and on which bytes; it is no certificate and claims no conformity with any of them."
)
CHARTED = 2.5  # a number above lies on another scale than shares and stays off the chart
TINY = 1e-3  # the same, for one without an interval below
COLOURS = {words.MET: GREEN, words.MET_OPEN: ORANGE, words.WAIVED: ORANGE, words.NO_LIMIT: BLUE}
DOCUMENTS = [  # after Annex IV of Regulation (EU) 2024/1689; what no pipeline can know is said to be missing
    ["1 general description", "report/MODEL_CARD.md", "intended purpose, provider, instructions for use"],
    ["2a to 2c development, design", "train/model.json, compose/config.yaml, report (lineage)", "the reasons for your choices"],
    ["2d data", "ingest/card.json, quality/gates.json, split/split.json", "how the data were collected and by whom labelled"],
    ["2e human oversight", "explain, ood", "who watches, and what that person may do"],
    ["2g validation and testing", "assure/matrix.csv and what it names", "signatures and dates"],
    ["2h cybersecurity", "robustness, certify, SECURITY.md", "the system around the model"],
    ["3 monitoring and control; 4 metrics", "evaluate, ood, the report's warnings", "why these metrics suit the purpose"],
    ["5 risk management", "not here", "all of it"],
    ["6 changes through the lifecycle", "dvc.lock and the history in git", "what counts as a substantial change"],
    ["7 standards; 8 declaration of conformity; 9 plan after release", "not here", "all of them"],
]


def write_page(out: Path, matrix: Matrix, *, hold: str) -> str:
    """Draw the chart and write `section.json`; return its summary.

    Args:
        out: where to write.
        matrix: what was found.
        hold: what must keep a limit: value or interval.
    """
    return write_section(out, Section(
        title="Assurance",
        summary=_summary(matrix),
        text=_text(matrix, hold),
        warnings=_warnings(matrix),
        tables=[_requirements(matrix), _checks(matrix), _evidence(matrix), _documents()],
        pictures=[_chart(matrix, out)],
    ))  # fmt: skip


def _summary(matrix: Matrix) -> str:
    count = Counter(gate.verdict for gate in matrix.gates)
    asked = [gate for gate in matrix.gates if gate.limit is not None]
    said = [f"{sum(gate.passed for gate in asked)} of {len(asked)} gates passed"] if asked else ["no gate is set"]
    failed, waived, doubted = sum(gate.stops for gate in asked), count[words.WAIVED], count[words.MET_OPEN]
    told = [(failed, "failed"), (waived, "waived"), (doubted, "met inside the noise")]
    said += [f"{number} {what}" for number, what in told if number]
    checked = [one for one in matrix.checks if one.applies]
    checks = f"{sum(not one.faults for one in checked)} of {len(checked)} checks hold"
    return f"{', '.join(said)}; {checks}; {len(matrix.sources)} files of evidence, each with its hash"


def _text(matrix: Matrix, hold: str) -> list[str]:
    judged = "The whole interval must keep a limit" if hold == "interval" else "The measured value must keep a limit"
    said = [
        f"{judged} (gates.hold={hold}). Where an interval holds the limit, these samples cannot tell on which side the truth is.",
        SHAPE,
    ]
    if all(gate.limit is None for gate in matrix.gates):
        said.append("No gate is set: nothing was asked of this result, so nothing here says that it is good enough.")
    said += [f"Gate {gate.name} is waived: {gate.waiver}" for gate in matrix.gates if gate.verdict == words.WAIVED]
    unmeasured = [gate.name for gate in matrix.gates if gate.verdict == words.NOT_MEASURED]
    if unmeasured:
        said.append(f"Not measured in this run, and not asked for: {', '.join(unmeasured)}.")
    return said


def _warnings(matrix: Matrix) -> list[str]:
    return [
        f"Gate {gate.name} is met by the value alone: {_found(gate)}, the limit is {gate.asked()}; on other samples it may fail."
        for gate in matrix.gates
        if gate.verdict == words.MET_OPEN
    ]


def _found(gate: Gate) -> str:
    return measured(gate.evidence) if gate.evidence else "not measured"


def _requirements(matrix: Matrix) -> Table:
    rows: list[list[Cell]] = [
        [requirement.says, f"{gate.name} {gate.asked()}".strip(), _found(gate), gate.verdict, *_where(gate)]
        for requirement, gate in matrix.rows
        if gate.limit is not None or gate.evidence
    ]
    return Table("Requirements, the gates on them, and their evidence",
                 ["requirement", "gate", "measured", "verdict", "evidence", "SHA-256"], rows)  # fmt: skip


def _where(gate: Gate) -> list[Cell]:
    """File and key of the number, and the start of the file's hash; further files stand in the table of the way back."""
    if gate.evidence is None:
        return [None, None]
    first, *more = gate.evidence.sources
    others = f" and {len(more)} more" if more else ""
    return [f"{first.place} {gate.evidence.key}{others}", first.sha256[:SHORT]]


def _checks(matrix: Matrix) -> Table:
    rows: list[list[Cell]] = [[one.says, one.verdict, one.faults[0] if one.faults else None] for one in matrix.checks]
    columns = ["requirement", "verdict", "fault"]
    width = 3 if any(one.faults for one in matrix.checks) else 2
    return Table("Checks that no one can waive", columns[:width], [row[:width] for row in rows])


def _evidence(matrix: Matrix) -> Table:
    back = matrix.backwards()
    rows: list[list[Cell]] = [
        [one.place, one.sha256[:SHORT], one.digest[:SHORT], ", ".join(back[one.place]) or None] for one in matrix.sources
    ]
    return Table("Back from the evidence: what rests on each file", ["file", "SHA-256", "artifact", "requirements"], rows)


def _documents() -> Table:
    return Table("Where the AI Act's technical documentation (Annex IV) would find its parts, and what a person must add",
                 ["point", "lies in data/", "to be added"], [list(row) for row in DOCUMENTS])  # fmt: skip


def _chart(matrix: Matrix, out: Path) -> Picture:
    """Intervals, values and limits of all numbers that are shares or like them."""
    shown = [gate for gate in matrix.gates if gate.evidence and _fits(gate)]
    path = out / "gates.png"
    if not shown:
        placard("nothing was measured", path, dpi=DPI)
        return Picture(path.name, "No number to show.")
    fig = figure(8.0, 0.6 + 0.3 * len(shown))
    axes = fig.subplots()
    for row, gate in enumerate(reversed(shown)):
        assert gate.evidence is not None
        colour = COLOURS.get(gate.verdict, RED)
        low, high = gate.evidence.interval
        axes.plot([low, high], [row, row], color=colour, linewidth=3, alpha=0.55, solid_capstyle="round")
        axes.plot([gate.evidence.value], [row], marker="o", markersize=6, color=colour)
        if gate.limit is not None:
            axes.plot([gate.limit, gate.limit], [row - 0.32, row + 0.32], color="black", linewidth=2)
            axes.plot([gate.limit], [row], marker=">" if gate.least else "<", markersize=6, color="black")
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_yticks(range(len(shown)), [gate.name for gate in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    grid(axes, "x")
    save(fig, path, DPI)
    return Picture(path.name, "Values with their intervals, and limits (black; the arrow points to the side that is asked for). "
                              "Green: met; orange: met inside the noise, or waived; red: failed; blue: no limit.")  # fmt: skip


def _fits(gate: Gate) -> bool:
    assert gate.evidence is not None
    low, high = gate.evidence.interval
    limit = gate.limit or 0.0
    return max(abs(low), abs(high), abs(limit)) <= CHARTED and not (high == low and 0 < high < TINY)
