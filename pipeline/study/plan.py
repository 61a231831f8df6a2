"""What a matrix study must run: its cells, and one job for each distinct digest of a stage.

Cells that differ in seed and fold alone are composed once. Everything of a stage's digest but these two is written out and
hashed once for a configuration; a cell adds its seed, its fold - where the stage reads them - and the digests of what the stage
stands on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.dag import COMPOSED, Stage, read_stages
from pipeline.core.errors import PersonError
from pipeline.search.planning import Planner
from pipeline.study.matrix import Matrix, Point

COMPOSE = "compose"
SEED, SPLITTER, FOLD = "seed", "splitter", "test_fold"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        name: of its folder.
        experiment: file of conf/experiment.
        arm: which configuration.
        seed: that it is trained with.
        fold: its test fold; None where nothing is crossed.
        overrides: all of them, for params.yaml.
        digests: stage -> digest, in the order of running.
    """

    name: str
    experiment: str
    arm: str
    seed: int
    fold: int | None
    overrides: tuple[str, ...]
    digests: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One stage of one digest.

    Attributes:
        stage: its name.
        digest: of all that decides its bytes.
        cell: the first that needs it, in whose workspace it runs.
        needs: names of the jobs that it stands on.
        cells: how many need it.
    """

    stage: str
    digest: str
    cell: str
    needs: tuple[str, ...]
    cells: int

    @property
    def name(self) -> str:
        """Of its files."""
        return job_name(self.stage, self.digest)


@dataclass
class Plan:
    """All of a study.

    Attributes:
        study: what was asked.
        stages: that run, in their order.
        upstream: stage -> stages that it reads.
        cells: name -> cell.
        jobs: name -> job, each after those that it needs.
    """

    study: Matrix
    stages: list[str]
    upstream: dict[str, list[str]]
    cells: dict[str, Cell] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def add(self, cell: Cell) -> None:
        """Put a cell in, and the jobs that no other has."""
        self.cells[cell.name] = cell
        for stage, digest in cell.digests.items():
            name = job_name(stage, digest)
            known = self.jobs.get(name)
            if known is None:
                needs = tuple(job_name(above, cell.digests[above]) for above in self.upstream[stage])
                self.jobs[name] = Job(stage, digest, cell.name, needs, 1)
            else:
                self.jobs[name] = Job(stage, digest, known.cell, known.needs, known.cells + 1)


def job_name(stage: str, digest: str) -> str:
    """Of a job's files."""
    return f"{stage}-{digest}"


def make_plan(root: Path, study: Matrix) -> Plan:
    """Compose, check and deduplicate a study; nothing runs.

    Raises:
        PersonError: an experiment, override or value that is not there; with the name of the first cell that has it.
    """
    every = read_stages(root)
    planner = Planner(root, study.experiments[0], target=study.target, test=True)
    stages = [COMPOSE, *planner.stages]
    upstream = {name: [above for above in every[name].upstream(every) if above in stages] for name in stages}
    plan = Plan(study, stages, upstream)
    made: dict[tuple[str, str], _Arm] = {}
    for point in study.points():
        if point.experiment != planner.experiment:
            codes = planner.codes
            planner = Planner(root, point.experiment, target=study.target, test=True)
            planner.codes = codes  # what a stage's code is hangs on its parts alone, whatever the experiment
        key = (point.experiment, point.arm)
        if key not in made:
            made[key] = _arm(planner, point, every)
        plan.add(made[key].cell(point))
    return plan


@dataclass(frozen=True)
class _Arm:
    """A configuration, hashed but for seed and fold.

    Attributes:
        begun: stage -> the hash so far, whether the stage reads the seed, whether the fold, and the stages that it stands on.
        seed: of the configuration.
        source: digest of the person's data.
        reads_source: stages that read it.
    """

    begun: dict[str, tuple[Any, bool, bool, tuple[str, ...]]]
    seed: int
    source: str
    reads_source: frozenset[str]

    def cell(self, point: Point) -> Cell:
        seed = self.seed if point.seed is None else point.seed
        overrides = point.overrides
        overrides += () if point.fold is None else (f"{SPLITTER}.{FOLD}={point.fold}",)
        overrides += () if point.seed is None else (f"{SEED}={point.seed}",)
        digests: dict[str, str] = {}
        for name, (begun, seeded, folded, above) in self.begun.items():
            words = [str(seed) if seeded else "", str(point.fold) if folded else "", *(digests[other] for other in above)]
            words += [self.source] if name in self.reads_source else []
            total = begun.copy()
            total.update("\n".join(words).encode())
            digests[name] = total.hexdigest()[:24]
        return Cell(point.name, point.experiment, point.arm, seed, point.fold, overrides, digests)


def _arm(planner: Planner, point: Point, every: Mapping[str, Stage]) -> _Arm:
    first: dict[str, int] = {} if point.seed is None else {SEED: point.seed}
    if point.fold is not None:
        first[f"{SPLITTER}.{FOLD}"] = point.fold
    try:
        config = planner.composer(point.overrides, first)
    except PersonError as error:
        raise PersonError(f"cell {point.name}: {error}") from error
    begun: dict[str, tuple[Any, bool, bool, tuple[str, ...]]] = {}
    codes, crossed = {}, point.fold is not None
    for name, stage in planner.stages.items():
        read = {key: config[key] for key in stage.keys if key in config}
        codes[name] = planner.code(name, read)
        above = tuple(other for other in stage.upstream(dict(every)) if (other != COMPOSE or _reads_composed(stage)))
        text = json.dumps([name, _without(read, crossed), codes[name]], sort_keys=True)
        begun[name] = (hashlib.sha256(text.encode()), SEED in read, crossed and SPLITTER in read, above)
    text = json.dumps([COMPOSE, point.experiment, point.overrides, _without(config, crossed), codes], sort_keys=True)
    composed = (hashlib.sha256(text.encode()), True, crossed, ())
    sourced = frozenset(name for name, stage in planner.stages.items() if "source" in stage.inputs)
    return _Arm({COMPOSE: composed, **begun}, int(config[SEED]), planner.source, sourced)


def _reads_composed(stage: Stage) -> bool:
    """Whether compose's folder itself is an input; else a stage stands on its own keys alone."""
    return str(Path(COMPOSED).parent) in stage.inputs.values()


def _without(config: Mapping[str, Any], crossed: bool) -> dict[str, Any]:
    """The keys but for the seed, and the fold where folds are crossed: a cell adds them."""
    kept = {key: value for key, value in config.items() if key != SEED}
    if crossed and SPLITTER in kept:
        kept[SPLITTER] = {key: value for key, value in kept[SPLITTER].items() if key != FOLD}
    return kept
