"""Proposes the next point from what is known: Optuna's samplers, each asked with a seed of its own.

A sampler that lives through a study draws on from where it stood, and one that is made anew after a kill repeats its first
draws (measured with Optuna 5). So a sampler is made for each point, from (seed of the study, number of the trial), and shown
all that is known in a study in memory: the same trials give the same point, killed in between or not.

A trial that waits on a rung is shown as a pruned one with its values so far, for TPE learns from those; one that runs without a
value is shown as running, which keeps parallel workers from asking for nearly the same point (constant liar).
"""

from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.core.keyed import seed as keyed_seed
from pipeline.search.halving import COMPLETE, FAILED, Trial
from pipeline.search.space import Dimension, Params, draw, grid
from pipeline.search.study import Sampler


def propose(
    sampler: Sampler, dimensions: Sequence[Dimension], trials: Sequence[Trial], *, last: int, maximise: bool
) -> Params:  # fmt: skip
    """The point of the next trial.

    Args:
        sampler: who proposes.
        dimensions: the space.
        trials: all so far.
        last: the last rung.
        maximise: the direction.
    """
    number = len(trials)
    if sampler.name == "grid":
        points = grid(dimensions)
        return points[number % len(points)]
    study = view(dimensions, trials, last=last, maximise=maximise, sampler=_made(sampler, number))
    return draw(dimensions, study.ask())


def view(
    dimensions: Sequence[Dimension], trials: Sequence[Trial], *, last: int, maximise: bool, sampler: BaseSampler | None = None
) -> optuna.Study:  # fmt: skip
    """What is known, as a study in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if maximise else "minimize", sampler=sampler or RandomSampler(seed=0))
    study.add_trials([_frozen(dimensions, trial, last) for trial in trials if trial.state != FAILED])
    return study


def _made(sampler: Sampler, number: int) -> BaseSampler:
    seed = keyed_seed(sampler.seed, "study", number) % 2**32
    return RandomSampler(seed=seed) if sampler.name == "random" else TPESampler(seed=seed, n_startup_trials=sampler.startup)


def _frozen(dimensions: Sequence[Dimension], trial: Trial, last: int) -> FrozenTrial:
    distributions = {dimension.key: dimension.distribution for dimension in dimensions if dimension.key in trial.params}
    state, value = TrialState.RUNNING, None
    if trial.state == COMPLETE:
        state, value = TrialState.COMPLETE, trial.values[last]
    elif trial.values:
        state = TrialState.PRUNED
    return create_trial(
        state=state, value=value, params=dict(trial.params), distributions=distributions, intermediate_values=dict(trial.values)
    )
