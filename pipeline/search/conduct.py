"""Conducts a study: asks, hands cells to lanes, writes down what comes back, and decides what goes on.

Every decision is a function of the journal, so a study that was killed continues: what was finished is known, what ran is
handed out again and goes on at its checkpoint. With one lane the decisions are those of the uninterrupted study; with several,
the order in which trials come back is not determined, and so neither is what is asked after them.
"""

import hashlib
import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.config import choices
from pipeline.core.errors import PersonError
from pipeline.search import space
from pipeline.search.halving import COMPLETE, OPEN, Job, Rule, Trial, following, rule_of, steps_of
from pipeline.search.journal import Journal
from pipeline.search.lane import Lane, Lanes, Outcome, published, under_way
from pipeline.search.objective import directions, objective, shipped
from pipeline.search.planning import Cell, Planner, settle
from pipeline.search.sampling import propose
from pipeline.search.study import Study

STUDIES = Path(".run") / "studies"
FIXED = ("logger=none",)  # a study has its own page; an override `logger=...` of the study comes after this one
Say = Callable[[str], None]


@dataclass
class Conductor:
    """One study at work.

    Args:
        root: the repository.
        study: what is asked.
        say: is told of each trial that comes back.
    """

    root: Path
    study: Study
    say: Say
    planner: Planner = field(init=False)
    directions: dict[str, bool] = field(init=False)
    metric: str = field(init=False)
    rule: Rule = field(init=False)
    journal: Journal = field(init=False)
    trials: list[Trial] = field(init=False)
    cells: dict[int, Cell] = field(init=False, default_factory=dict)
    scheduling: float = field(init=False, default=0.0)
    _turn: threading.Condition = field(init=False, default_factory=threading.Condition)
    _broken: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.planner = Planner(self.root, self.study.experiment)
        config = self.planner.cell(self.fixed).config
        self.directions = directions(config)
        self.metric = objective(self.study, self.directions)
        if any(dimension.key == "seed" for dimension in self.study.space):
            raise PersonError("space.seed: results scatter with the seed, so the best one is only the luckiest: leave it out")
        maximise = self.directions[self.metric]
        pruner = self.study.pruner
        self.rule = rule_of(pruner.name, eta=pruner.eta, rungs=pruner.rungs, maximise=maximise)
        self._probe()
        self.folder.mkdir(parents=True, exist_ok=True)
        code = config.pop("code")
        searched = hashlib.sha256(json.dumps([self.study.identity(), config, self.planner.source], sort_keys=True).encode())
        self.journal = Journal(self.folder, identity=searched.hexdigest()[:16], dimensions=self.study.space, maximise=maximise)
        self.trials = self.journal.trials()
        if self.journal.changed(hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]):
            self.say("the code of the stages changed since this study began: what is asked now may not compare with what was")
        self._settle_ended()

    @property
    def folder(self) -> Path:
        """Of the study."""
        return self.root / STUDIES / self.study.name

    @property
    def fixed(self) -> tuple[str, ...]:
        """Overrides of every trial."""
        return (*FIXED, *self.study.overrides)

    @property
    def count(self) -> int:
        """Trials to ask; a grid has no more than its points."""
        points = len(space.grid(self.study.space)) if self.study.sampler.name == "grid" else self.study.trials
        return min(self.study.trials, points)

    def best(self) -> Trial | None:
        """The best trial that reached its end; the earlier one of equals."""
        ended = [trial for trial in self.trials if trial.state == COMPLETE]
        return next(iter(self.rule.order(ended, self.rule.rungs - 1)), None)

    def cell(self, params: Mapping[str, Any]) -> Cell:
        """The cell of a point."""
        return self.planner.cell(self.fixed, params)

    def default(self) -> space.Params | None:
        """The point that the experiment has without a study, where it lies inside the space."""
        conf = self.root / "conf"
        return space.standard(self.study.space, self.planner.cell(self.fixed).config,
                              choices(conf, experiment=self.study.experiment, overrides=self.fixed))  # fmt: skip

    def steps_of_default(self) -> list[int]:
        """The step of each look, without the study's choices."""
        return self._steps(self.cell({}))

    def run(self, lanes: Lanes) -> None:
        """Work until nothing is left to do.

        Raises:
            PersonError: a mistake that would meet every trial.
        """
        lanes.each(self._work)
        for trial in self.trials:
            if trial.state == OPEN:
                self.journal.stop(trial)
                self._drop(trial)

    def _work(self, lane: Lane) -> None:
        """One lane's share."""
        whole = False
        try:
            while (taken := self._take()) is not None:
                trial, rung, cell = taken
                pause = None if rung == self.rule.rungs - 1 else self._steps(cell)[rung]
                outcome = lane.run(cell, self._folder(trial), pause_at=pause)
                with self._turn:
                    began = time.thread_time()
                    self._back(trial, rung, cell, lane=lane, outcome=outcome)
                    self.scheduling += time.thread_time() - began
                    self._turn.notify_all()
            whole = True
        finally:
            with self._turn:
                self._broken = self._broken or not whole
                self._turn.notify_all()

    def _take(self) -> tuple[Trial, int, Cell] | None:
        """Wait for a job and take it; None when there will be none."""
        with self._turn:
            while not self._broken:
                began = time.thread_time()
                job = following(self.trials, self.rule, self.count)
                taken = None if job is None else self._start(job)
                self.scheduling += time.thread_time() - began
                if taken is not None:
                    return taken
                if job is None:
                    if not any(trial.running for trial in self.trials):
                        return None
                    self._turn.wait()
            return None

    def _start(self, job: Job) -> tuple[Trial, int, Cell] | None:
        trial = job.trial or self._ask(job.rung)
        try:
            if trial.number not in self.cells:
                self.cells[trial.number] = self.cell(trial.params)
                settle(self.cells[trial.number], self.root, self.study.experiment, self._folder(trial))
            cell = self.cells[trial.number]
            self._steps(cell)
        except PersonError as error:
            self._failed(trial, str(error))
            return None
        trial.running = True
        return trial, job.rung, cell

    def _ask(self, bracket: int) -> Trial:
        params = self.default() if not self.trials and self.study.default else None
        if params is None:
            params = propose(self.study.sampler, self.study.space, self.trials, last=self.rule.rungs - 1,
                             maximise=self.rule.maximise)  # fmt: skip
        trial = self.journal.ask(params, bracket=bracket, facts={"overrides": list(space.overrides(params))})
        self.trials.append(trial)
        return trial

    def _back(self, trial: Trial, rung: int, cell: Cell, *, lane: Lane, outcome: Outcome) -> None:
        """Write down what a lane brought back."""
        trial.running = False
        cpu = float(trial.facts.get("cpu", 0.0)) + outcome.cpu  # type: ignore[arg-type]
        if outcome.state == "interrupted":
            raise KeyboardInterrupt
        if outcome.state == "failed":
            self._failed(trial, outcome.reason)
            return
        target, digest = self.planner.target, cell.digests[self.planner.target]
        whole = outcome.state == "done"
        history = published(lane.artifact(target, digest) / "history.csv") if whole else []
        rows = history or under_way(lane.base(target, digest), self._steps(cell)[rung])
        value, reached = self.value(cell, rows)
        if not math.isfinite(value):
            self._failed(trial, f"{self.metric} is {value} at step {reached}")
            return
        trained = int(trial.facts.get("steps", 0))  # type: ignore[call-overload]
        ended = {"ended": value} if whole else {}
        self.journal.note(trial, steps=max(trained, reached), cpu=round(cpu, 2), digest=digest, **ended)
        last = self.rule.rungs - 1
        if whole:
            self._end(trial, value)
        else:
            self.journal.report(trial, rung, value)
        where = f"step {reached}" + ("" if whole else f" (look {rung + 1} of {last + 1})")
        self.say(f"trial {trial.number:3d}  {self.metric} {value:.4f}  {where}  {' '.join(space.overrides(trial.params))}")

    def _end(self, trial: Trial, value: float) -> None:
        """A training that is over has its value on every look that it had not come to."""
        for rung in range(max(trial.bracket, trial.rung + 1), self.rule.rungs):
            self.journal.report(trial, rung, value)
        self.journal.finish(trial, value)

    def _settle_ended(self) -> None:
        """Finish what was over when a kill came between its value and its end."""
        for trial in self.trials:
            if trial.state == OPEN and "ended" in trial.facts:
                self._end(trial, float(trial.facts["ended"]))  # type: ignore[arg-type]

    def _failed(self, trial: Trial, reason: str) -> None:
        self.journal.fail(trial, " ".join(reason.split()))
        self._drop(trial)
        self.say(f"trial {trial.number:3d}  failed: {trial.facts['reason']}  {' '.join(space.overrides(trial.params))}")

    def value(self, cell: Cell, rows: Sequence[Mapping[str, float]]) -> tuple[float, int]:
        """The objective after these rows of a history, and the step reached."""
        return shipped(rows, cell.config["train"], self.metric, self.directions)

    def _steps(self, cell: Cell) -> list[int]:
        recipe = cell.config["train"]
        return steps_of(int(recipe["max_steps"]), int(recipe["validate_every"]), self.rule)

    def _folder(self, trial: Trial) -> Path:
        return self.folder / "cells" / f"{trial.number:04d}"

    def _drop(self, trial: Trial) -> None:
        """Remove the checkpoints of a trial that will not go on, unless another trial has the same digest."""
        digest = trial.facts.get("digest")
        if digest and not any(t.facts.get("digest") == digest and t.state == OPEN for t in self.trials):
            target = self.planner.target
            shutil.rmtree(self.root / STUDIES / "artifacts" / target / f"{digest}.scratch", ignore_errors=True)

    def _probe(self) -> None:
        """Compose the ends, the middle and every choice of each dimension, so that a wrong name or value is said at once."""
        if self.study.sampler.name == "grid":
            space.grid(self.study.space)
        for params in space.probes(self.study.space):
            try:
                self._steps(self.cell(params))
            except PersonError as error:
                raise PersonError(f"study {self.study.name}, with {' '.join(space.overrides(params))}: {error}") from error
