"""What must run for a cell of a study: the stages up to a target, each with the digest of all that decides its bytes.

The digest of a stage covers the configuration keys that dvc.yaml lists for it, the fingerprint of its code, and the digests of
the stages it reads; for raw data it covers names, sizes and times of its files. Cells whose stage has the same digest share one
job, and the jobs of a plan are its distinct digests, exactly. Nothing runs here, and everything is known before anything does.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.core.config import Composer
from pipeline.core.dag import COMPOSED, Stage, read_params, read_stages
from pipeline.core.errors import PersonError
from pipeline.core.fingerprint import fingerprint
from pipeline.core.ledger import opens_test
from pipeline.core.parts import targets

if TYPE_CHECKING:
    from pipeline.search.space import Value

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the same text, ten times faster, where libyaml is there


@dataclass(frozen=True)
class Cell:
    """One configuration and the digests of its stages.

    Attributes:
        overrides: on top of the experiment.
        config: composed, with `code` of each stage.
        digests: stage -> digest, in the order of running.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    digests: dict[str, str]


@dataclass
class Planner:
    """Composes cells of one experiment and says what must run for each.

    Args:
        root: the repository.
        experiment: file of conf/experiment.
        target: the stage whose artifact is wanted; those that it needs come with it.
        test: whether stages that look at the test split are allowed.

    Raises:
        PersonError: the target, or a stage that it needs, looks at the test split and must not.
    """

    root: Path
    experiment: str
    target: str = "train"
    test: bool = False
    stages: dict[str, Stage] = field(init=False)
    composer: Composer = field(init=False)
    source: str = field(init=False)
    codes: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        every = read_stages(self.root)
        wanted = needed(every, self.target)
        self.stages = {name: stage for name, stage in every.items() if name in wanted}
        looking = [name for name, stage in self.stages.items() if opens_test(stage)]
        if looking and not self.test:
            raise PersonError(f"the stage {looking[0]} looks at the test split, and a search must not: it would choose by it")
        self.composer = Composer(self.root / "conf", experiment=self.experiment)
        self.source = source_digest(self.root / str(read_params(self.root)["source"]))

    def cell(self, overrides: Sequence[str], params: "Mapping[str, Value] | None" = None) -> Cell:
        """Compose one configuration and work out its digests.

        Args:
            overrides: for Hydra.
            params: a point of a space, put behind them.

        Raises:
            PersonError: an override names what is not there, or a value is out of range.
        """
        from pipeline.search.space import overrides as point  # imports Optuna, which a plan without a space does not need
        from pipeline.search.space import parted

        chosen, leaves = parted(params or {})
        config = self.composer([*overrides, *chosen], leaves)
        code: dict[str, Any] = {}
        digests: dict[str, str] = {}
        made: dict[str, str] = {}
        for name, stage in self.stages.items():
            read = {key: config[key] for key in stage.keys if key in config}
            code[name] = self.code(name, read)
            above = {keyword: made.get(path, self.source) for keyword, path in stage.inputs.items()}
            facts = json.dumps([name, read, code[name], above], sort_keys=True)
            made[stage.out] = digests[name] = hashlib.sha256(facts.encode()).hexdigest()[:24]
        return Cell((*overrides, *point(params or {})), {**config, "code": code}, digests)

    def code(self, name: str, read: Mapping[str, Any]) -> dict[str, Any]:
        """Fingerprint of a stage's code beside these keys; worked out once for the parts that they name."""
        key = (name, tuple(sorted(set(targets(dict(read))))))
        if key not in self.codes:
            self.codes[key] = fingerprint(self.root / "pipeline", name, dict(read))
        return self.codes[key]


def needed(stages: Mapping[str, Stage], target: str) -> set[str]:
    """The target and every stage that it needs; compose is not one, since cells are composed here."""
    found: set[str] = set()
    waiting = [target]
    while waiting:
        name = waiting.pop()
        if name in found or name == "compose":
            continue
        if name not in stages:
            raise PersonError(f"dvc.yaml has no stage {name}")
        found.add(name)
        waiting += stages[name].upstream(dict(stages))
    return found


def jobs(cells: Iterable[Cell]) -> dict[tuple[str, str], int]:
    """(stage, digest) -> number of cells that need it, in the order of running; one job each."""
    counted: dict[tuple[str, str], int] = {}
    for cell in cells:
        for job in cell.digests.items():
            counted[job] = counted.get(job, 0) + 1
    return counted


def settle(cell: Cell, root: Path, experiment: str, folder: Path) -> None:
    """Write a cell's configuration as compose would, and the params.yaml that makes the same in the workspace."""
    composed = folder / COMPOSED
    composed.parent.mkdir(parents=True, exist_ok=True)
    _replace(composed, yaml.dump(cell.config, Dumper=DUMPER, sort_keys=True, allow_unicode=True, width=120))
    params = {"experiment": experiment, "overrides": list(cell.overrides), "source": str(read_params(root)["source"])}
    _replace(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=120))


def source_digest(source: Path) -> str:
    """Names, sizes and times of the files below a person's source; a changed file makes another digest."""
    facts = [(os.path.relpath(path, source), *_stat(path)) for path in sorted(_files(source))]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _files(source: Path) -> Iterator[str]:
    if source.is_file():
        yield str(source)
    for folder, _, names in os.walk(source):
        yield from (os.path.join(folder, name) for name in names)


def _stat(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
