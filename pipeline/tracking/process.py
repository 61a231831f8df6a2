"""The tracker's own process, `python -m pipeline.tracking.process`: reads messages on standard input and talks to wandb.

It alone imports wandb. It may fail, hang or be killed: its owner holds the other end of a bounded pipe and goes on. When that
end closes without a `finish`, the owner died and the run is marked as failed.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from pipeline.tracking import live, records

WENT_OFFLINE = 3


class Tracker:
    """One open run.

    Args:
        order: the first message: project, mode, run_id, name, config and patience (seconds for the server to answer).
        folder: where runs lie.
    """

    def __init__(self, order: dict[str, Any], folder: Path) -> None:
        self.code = 0
        self.order = order
        self._lock = live.hold(folder, order["run_id"], patience=order["patience"])
        past = self._past(folder)
        self.run = self._open(order["mode"], order["name"] or past.name or _name(order))
        self.step: int = max(int(self.run.step), past.last_step + 1)

    def _past(self, folder: Path) -> records.Run:
        """What earlier processes left of the run; a folder that cannot be read is left out."""
        parts = []
        for path in records.folders(folder, self.order["run_id"]):
            try:
                parts.append(records.read(path))
            except records.UnreadableRunError as error:
                sys.stderr.write(f"{path.name} cannot be read: {error}\n")
        return records.merge(parts)

    def _open(self, mode: str, name: str) -> Any:
        wandb = _wandb()
        patience = self.order["patience"]
        settings = wandb.Settings(
            console="off", silent=True, quiet=True, symlink=False, program="pipeline", host="", username="", email="",
            disable_code=True, save_code=False, disable_git=True, disable_job_creation=True,
            x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True, x_transaction_log_flush_interval=1.0,
            init_timeout=patience, x_graphql_timeout_seconds=patience, x_graphql_retry_max=2,
        )  # fmt: skip
        try:
            return wandb.init(project=self.order["project"], id=self.order["run_id"], name=name, config=self.order["config"],
                              mode=mode, resume="allow", settings=settings)  # fmt: skip
        except (wandb.Error, OSError) as error:
            if mode != "online":
                raise
            sys.stderr.write(f"{' '.join(str(error).split())}\n")
            self.code = WENT_OFFLINE
            wandb.teardown()
            return self._open("offline", name)

    def take(self, message: dict[str, Any]) -> None:
        """Carry out one message."""
        wandb = _wandb()
        what = message["do"]
        if what == "log":
            self._log(message["values"], message["step"])
        elif what == "picture":
            try:
                image = wandb.Image(message["path"], caption=message["caption"])
            except (OSError, ValueError) as error:
                sys.stderr.write(f"a picture was left out: {error}\n")
                return
            self._log({message["key"]: image}, message["step"])
        elif what == "table":
            self._log({message["key"]: _table(message["columns"], message["rows"])}, None)
        elif what == "confusion":
            names = ["Actual", "Predicted", "nPredictions"]
            table = wandb.Table(columns=names, data=message["rows"])
            chart = wandb.plot_table("wandb/confusion_matrix/v1", table, {name: name for name in names})
            self._log({message["key"]: chart}, None)
        elif what == "summary":
            self.run.summary.update(message["values"])

    def _log(self, values: dict[str, Any], step: int | None) -> None:
        if step is not None and step < self.step:
            return
        self.step = self.step if step is None else step
        self.run.log(values, step=self.step)


def _name(order: dict[str, Any]) -> str:
    """A name for a run that nobody named: its network and the beginning of its id."""
    model = order["config"].get("model")
    target = str(model.get("_target_", "")) if isinstance(model, dict) else ""
    return f"{target.rpartition('.')[2].lower() or 'run'}-{order['run_id'][:6]}"


def _wandb() -> Any:
    return importlib.import_module("wandb")


def _table(columns: list[str], rows: list[list[Any]]) -> Any:
    """A table whose cells of one column have one type: wandb refuses a mixture, and a text tells a person as much."""
    texts = [any(isinstance(row[number], str) for row in rows) for number in range(len(columns))]
    cells = [[str(cell) if text and cell is not None else cell for text, cell in zip(texts, row, strict=True)] for row in rows]
    return _wandb().Table(columns=columns, data=cells)


def main() -> int:
    """Serve one owner until it says `finish` or is gone."""
    first = sys.stdin.readline()
    if not first:
        return 0
    tracker = Tracker(json.loads(first), Path(os.environ["WANDB_DIR"]) / "wandb")
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "finish":
            tracker.run.finish()
            return tracker.code
        tracker.take(message)
    tracker.run.finish(exit_code=1)
    return 1


if __name__ == "__main__":
    sys.exit(main())
