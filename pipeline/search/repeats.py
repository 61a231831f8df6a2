"""Cells that repeat a configuration: other seeds, other folds; run on lanes, each stage once for each distinct digest."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PersonError
from pipeline.search.lane import Lane, Lanes, Outcome
from pipeline.search.planning import Cell, Planner, settle

Told = Callable[[int, Outcome], None]


@dataclass(frozen=True)
class Repeat:
    """One cell of a fan.

    Attributes:
        arm: which configuration it repeats.
        seed: its seed; None is that of the configuration.
        fold: its test fold; None where nothing is crossed.
        overrides: that make it.
    """

    arm: str
    seed: int | None
    fold: int | None
    overrides: tuple[str, ...]


def fan(arm: str, overrides: Sequence[str], *, seeds: Sequence[int] = (), folds: int = 0) -> list[Repeat]:
    """Every seed with every fold, each as one cell.

    Args:
        arm: name of the configuration.
        overrides: of the configuration.
        seeds: to repeat with.
        folds: of a cross-validation (`splitter=kfold`); 0 leaves the splitter as it is.

    Raises:
        PersonError: seeds that repeat themselves, or fewer than 3 folds.
    """
    if len(set(seeds)) != len(seeds):
        raise PersonError(f"seeds must differ from each other: received {', '.join(map(str, seeds))}")
    if folds and folds < 3:
        raise PersonError(f"folds must be 3 or more (one tests, one validates, the others train): received {folds}")
    made = []
    each_seed: Sequence[int | None] = seeds or [None]
    each_fold: Sequence[int | None] = range(folds) if folds else [None]
    for seed, fold in itertools.product(each_seed, each_fold):
        words = [*overrides]
        if fold is not None:
            words += ["splitter=kfold", f"splitter.folds={folds}", f"splitter.test_fold={fold}"]
        if seed is not None:
            words.append(f"seed={seed}")
        made.append(Repeat(arm, seed, fold, tuple(words)))
    return made


def run(cells: Sequence[Cell], planner: Planner, lanes: Lanes, *, folder: Path, told: Told) -> list[Outcome]:
    """Run cells on lanes; one that fails is told and the others go on.

    Args:
        cells: to run, in this order.
        planner: that composed them.
        lanes: which share the work.
        folder: where each cell keeps its configuration and log, in `NNNN`.
        told: is called with a cell's number and outcome as it comes back.

    Returns:
        The outcome of each cell.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = iter(enumerate(cells))
    turn = threading.Lock()

    def work(lane: Lane) -> None:
        while not lane.closed:
            with turn:
                number, cell = next(waiting, (-1, None))
                if cell is None:
                    return
                place = folder / f"{number:04d}"
                settle(cell, planner.root, planner.experiment, place)
            outcome = lane.run(cell, place)
            if outcome.state == "interrupted":
                raise KeyboardInterrupt
            with turn:
                outcomes[number] = outcome
                told(number, outcome)

    lanes.each(work)
    return [outcomes[number] for number in range(len(cells))]
