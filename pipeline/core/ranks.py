"""Where this process stands among the processes of one training, and the start and the watch over those on this machine.

The environment alone decides:

- `PIPELINE_DEVICES=2` (and `PIPELINE_NODES=2`, with `NODE_RANK` and `MASTER_ADDR`, `MASTER_PORT` on each node): the stage
  starts the other processes of its machine itself.
- torchrun, or whatever sets `RANK` and `WORLD_SIZE`: the processes are there already.
- srun: likewise, by Slurm's own variables.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.core import interrupt
from pipeline.core.errors import PersonError

GRACE_SECONDS = 20.0  # how long the others may take to end by themselves once one has ended
PERIOD_SECONDS = 0.5  # between two looks


@dataclass(frozen=True)
class Place:
    """Where a process stands.

    Attributes:
        rank: among all processes.
        local: among those of this machine.
        world: number of processes.
        devices: processes of each machine.
        nodes: machines.
        launcher: env (torchrun and its like), srun, or "" where nobody started the processes yet.
    """

    rank: int = 0
    local: int = 0
    world: int = 1
    devices: int = 1
    nodes: int = 1
    launcher: str = ""


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Read the place of this process from the environment.

    Raises:
        PersonError: a variable is no whole number, or the numbers contradict each other.
    """
    env = os.environ if environment is None else environment
    if "RANK" in env and "WORLD_SIZE" in env:
        world = _number(env, "WORLD_SIZE", 1)
        devices = _number(env, "LOCAL_WORLD_SIZE", world)
        return _launched(_number(env, "RANK", 0, least=0), _number(env, "LOCAL_RANK", 0, least=0), (world, devices), "env")
    if "SLURM_STEP_ID" in env and _number(env, "SLURM_STEP_NUM_TASKS", 1) > 1:
        world, nodes = _number(env, "SLURM_STEP_NUM_TASKS", 1), _number(env, "SLURM_STEP_NUM_NODES", 1)
        rank, local = _number(env, "SLURM_PROCID", 0, least=0), _number(env, "SLURM_LOCALID", 0, least=0)
        return _launched(rank, local, (world, max(1, world // nodes)), "srun")
    devices, nodes = _number(env, "PIPELINE_DEVICES", 1), _number(env, "PIPELINE_NODES", 1)
    node = _number(env, "NODE_RANK", 0, least=0)
    if node >= nodes:
        raise PersonError(f"NODE_RANK must be less than PIPELINE_NODES, {nodes}: received {node}")
    return Place(node * devices, 0, devices * nodes, devices, nodes, "")


def _launched(rank: int, local: int, sizes: tuple[int, int], launcher: str) -> Place:
    world, devices = sizes
    if rank >= world or world % devices:
        raise PersonError(
            f"the launcher's numbers contradict each other: process {rank} of {world} in all, {devices} on each machine; "
            "start the same number of processes on each machine"
        )
    return Place(rank, local, world, devices, world // devices, launcher)


def _number(env: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or int(text) < least:
        raise PersonError(f"the environment variable {name} must be a whole number, {least} or more: received {text!r}")
    return int(text)


class Ranks:
    """The processes of a training on this machine beside this one, which starts them with its own command line.

    Inside the `with` block the environment says what torchrun would say. When one of them ends early, this process has
    `GRACE_SECONDS` to notice by itself (its exchange with the other breaks); then it is ended. Where a launcher started the
    processes, or there is only one, nothing is done.

    Args:
        place: of this process.

    Attributes:
        lost: what became of a process that ended early; "" for none.
    """

    def __init__(self, place: Place) -> None:
        self.place, self.lost = place, ""
        self.wanted = not place.launcher and place.world > 1
        self._children: list[subprocess.Popen[bytes]] = []
        self._before: dict[str, str | None] = {}
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if self.wanted:
            if self.place.nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
                raise PersonError(
                    f"PIPELINE_NODES is {self.place.nodes}: set MASTER_ADDR and MASTER_PORT to an address of the first machine, "
                    "and NODE_RANK on each; or start the stage with torchrun or srun"
                )
            mine = self._variables(0)
            self._before = {name: os.environ.get(name) for name in mine}
            os.environ.update(mine)  # the others take the port from here
            command = [sys.executable, *sys.orig_argv[1:]]
            for local in range(1, self.place.devices):
                others = {**os.environ, **self._variables(local)}
                self._children.append(subprocess.Popen(command, env=others, stdout=subprocess.DEVNULL))
            threading.Thread(target=self._watch, name="rank-watch", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._over.set()
        ending_together = kind is None or issubclass(kind, interrupt.Interrupted)
        for child in self._children:
            try:
                child.wait(GRACE_SECONDS if ending_together else 0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _variables(self, local: int) -> dict[str, str]:
        here = self.place
        return {
            "RANK": str(here.rank + local), "LOCAL_RANK": str(local), "WORLD_SIZE": str(here.world),
            "LOCAL_WORLD_SIZE": str(here.devices), "GROUP_RANK": str(here.rank // here.devices),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR") or "127.0.0.1",
            "MASTER_PORT": os.environ.get("MASTER_PORT") or _free_port(),
        }  # fmt: skip

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            ended = [(local, child.poll()) for local, child in enumerate(self._children, start=1)]
            lost = [(local, code) for local, code in ended if code]
            if lost:
                self._end(*lost[0])
                return

    def _end(self, local: int, code: int) -> None:
        self.lost = f"process {self.place.rank + local} of {self.place.world} {_how(code)}"
        if code in {interrupt.CODE, interrupt.BY_HAND}:
            os.kill(os.getpid(), signal.SIGTERM)
        if self._over.wait(GRACE_SECONDS):
            return
        sys.stderr.write(f"error: {self.lost}: nothing was published; the same command continues\n")
        for child in self._children:
            child.kill()
        os._exit(interrupt.CODE if code == interrupt.CODE else 1)


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])
