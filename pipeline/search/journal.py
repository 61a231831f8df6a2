"""A study on disk: Optuna's journal, one line an event, so that a kill loses nothing that was finished.

One process has a study at a time. Its lock is the kernel's and falls with the process; a line that a kill cut short is taken off
before the journal is opened, because Optuna would append to it and then read neither.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState, create_trial

from pipeline.core.errors import PersonError
from pipeline.search.halving import COMPLETE, FAILED, OPEN, STOPPED, Trial
from pipeline.search.space import Dimension, Params

STATES = {TrialState.RUNNING: OPEN, TrialState.WAITING: OPEN, TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: STOPPED,
          TrialState.FAIL: FAILED}  # fmt: skip
NAME = "journal.log"


class _Held(JournalFileOpenLock):
    """The journal's lock: nothing to do, since `alone` holds the whole study."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class Journal:
    """Trials of one study, written as they happen.

    Args:
        folder: of the study.
        identity: of what is searched; a journal of another is refused.
        dimensions: of the space.
        maximise: the direction.

    Raises:
        PersonError: the folder holds a study of another space or objective, or a journal that cannot be read.
    """

    def __init__(self, folder: Path, *, identity: str, dimensions: Sequence[Dimension], maximise: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.distributions = {dimension.key: dimension.distribution for dimension in dimensions}
        path = folder / NAME
        mend(path)
        try:
            self.storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held(str(path))))
            self.study = optuna.create_study(
                study_name="study", storage=self.storage, direction="maximize" if maximise else "minimize", load_if_exists=True
            )
            known = self.study.user_attrs.get("identity")
        except (KeyError, ValueError) as error:
            raise PersonError(f"{path} is not a journal of a study: remove the folder {folder} and start again") from error
        if known != identity and not self.study.get_trials(deepcopy=False):
            self.study.set_user_attr("identity", identity)
        elif known != identity:
            raise PersonError(
                f"{folder} holds a study of another space, objective, sampler, pruner, configuration or source: give this one "
                f"another name, or remove that folder"
            )

    def changed(self, code: str) -> bool:
        """Whether the code is not that with which the study began; remembers it where it begins."""
        known = self.study.user_attrs.get("code")
        if known is None:
            self.study.set_user_attr("code", code)
        return known not in {None, code}

    def trials(self) -> list[Trial]:
        """All of them, as they stand."""
        return [
            Trial(frozen.number, dict(frozen.params), int(frozen.user_attrs["bracket"]), dict(frozen.intermediate_values),
                  STATES[frozen.state], facts=dict(frozen.user_attrs))
            for frozen in self.study.get_trials(deepcopy=False)
        ]  # fmt: skip

    def ask(self, params: Params, *, bracket: int, facts: Mapping[str, Any]) -> Trial:
        """Add a trial that now runs; one event, so it is there whole or not at all."""
        distributions = {key: self.distributions[key] for key in params}
        kept = {**facts, "bracket": bracket}
        frozen = create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions, user_attrs=kept)
        self.study.add_trial(frozen)
        return Trial(len(self.study.get_trials(deepcopy=False)) - 1, params, bracket, facts=kept)

    def report(self, trial: Trial, rung: int, value: float) -> None:
        """The objective on a rung."""
        self.storage.set_trial_intermediate_value(self._id(trial), rung, value)
        trial.values[rung] = value

    def note(self, trial: Trial, **facts: Any) -> None:
        """Keep something of a trial that is not finished."""
        for key, value in facts.items():
            self.storage.set_trial_user_attr(self._id(trial), key, value)
            trial.facts[key] = value

    def finish(self, trial: Trial, value: float) -> None:
        """It reached its end."""
        self.study.tell(trial.number, value)
        trial.state = COMPLETE

    def stop(self, trial: Trial) -> None:
        """It will not go on."""
        self.study.tell(trial.number, state=TrialState.PRUNED)
        trial.state = STOPPED

    def fail(self, trial: Trial, reason: str) -> None:
        """It could not be trained."""
        self.note(trial, reason=reason)
        self.study.tell(trial.number, state=TrialState.FAIL)
        trial.state = FAILED

    def _id(self, trial: Trial) -> int:
        study = self.storage.get_study_id_from_name("study")
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)


def mend(path: Path) -> None:
    """Take off a last line that a kill cut short."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    last = whole.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        json.loads(last or b"{}")
    except json.JSONDecodeError:
        whole = whole[: len(whole.rstrip(b"\n")) - len(last)]
    if len(whole) != len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
