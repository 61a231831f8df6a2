"""The first machine's newest checkpoint for machines that have a disk of their own.

Every process has to continue from the same checkpoint, and only process 0 writes any. Before each training on several machines
process 0 says which one it continues from; a machine whose `.run` does not hold it gets it, in pieces, over a TCPStore of torch
at the port after `MASTER_PORT`. Where the machines share the folder, nothing is sent.
"""

import logging
import os
from datetime import timedelta
from pathlib import Path

from torch import nn
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]  # public, and not in its __all__

from pipeline.core.errors import PersonError
from pipeline.core.ranks import Place
from pipeline.training.checkpoint import NAME, REFUSED, is_whole, newest
from pipeline.training.processes import patience, surroundings

PIECE = 8 << 20  # bytes; process 0 holds one piece at a time
NONE = "none"
LOG = logging.getLogger(__name__)


def hand_over(folder: Path, module: nn.Module, here: Place) -> None:
    """Make `newest(folder, module)` the same on all machines; does nothing on one machine.

    Args:
        folder: of the checkpoints, on this machine.
        module: that is going to be trained.
        here: this process.

    Raises:
        PersonError: the machines do not reach each other in `PIPELINE_PATIENCE` seconds, or the disk is full.
    """
    if here.nodes < 2:
        return
    each = 1 if not here.launcher else here.devices  # without a launcher, the others of this machine are not started yet
    number, count = here.rank // (here.devices // each), here.nodes * each
    around = surroundings(here)
    address, port = around.main_address, around.main_port + 1
    try:
        store = TCPStore(address, port, count, is_master=number == 0, timeout=timedelta(seconds=patience()))
        if number == 0:
            _give(store, folder, module, count)
        else:
            _take(store, folder, number, first=here.local == 0)
    except (DistError, ConnectionError) as error:
        raise PersonError(
            f"process {here.rank} of {here.world} does not meet the others at {address}:{port}, where checkpoints are handed "
            f"over ({' '.join(str(error).split())[:120]}): open that port (MASTER_PORT + 1), and start all machines within "
            f"{patience()} seconds (PIPELINE_PATIENCE)"
        ) from error


def _give(store: TCPStore, folder: Path, module: nn.Module, count: int) -> None:
    """Say which checkpoint is continued from and send it to those who ask; stay until all have it."""
    path, _ = newest(folder, module)
    size = path.stat().st_size if path is not None else 0
    store.set("name", f"{size} {path.name if path is not None else NONE}")
    askers = [number for number in range(1, count) if store.get(f"wants {number}") == b"yes"]
    if path is not None and askers:
        with path.open("rb") as file:
            for piece in range(_pieces(size)):
                store.set(f"piece {piece}", file.read(PIECE))  # type: ignore[arg-type]  # its stub forgets bytes
                store.wait([f"has {piece} {number}" for number in askers])
                store.delete_key(f"piece {piece}")
    store.wait([f"ready {number}" for number in range(1, count)])


def _take(store: TCPStore, folder: Path, number: int, *, first: bool) -> None:
    """Hold what process 0 continues from and nothing newer; one process of each machine asks."""
    size, name = store.get("name").decode().split(" ", 1)
    if name != NONE and not NAME.fullmatch(name):
        raise PersonError(f"the first machine names a checkpoint {name[:80]!r}: run the same version of the project on all")
    wanted = folder / name
    wants = first and name != NONE and not (wanted.is_file() and is_whole(wanted))
    store.set(f"wants {number}", "yes" if wants else "no")
    if wants:
        _receive(store, wanted, number, size=int(size))
    for other in folder.glob("step=*.ckpt") if first else ():
        if name == NONE or other.name > name:  # on a shared disk, process 0 has set these aside already
            LOG.warning("%s is newer than what the first machine continues from, and set aside", other.name)
            other.replace(other.with_name(REFUSED + other.name))
    store.set(f"ready {number}", "yes")


def _receive(store: TCPStore, wanted: Path, number: int, *, size: int) -> None:
    """Write the checkpoint that process 0 sends; older ones go, since process 0 keeps those to fall back on."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    partial = wanted.with_name(f".{wanted.name}.part")
    with partial.open("wb") as file:
        for piece in range(_pieces(size)):
            file.write(store.get(f"piece {piece}"))
            store.set(f"has {piece} {number}", "yes")
        file.flush()
        os.fsync(file.fileno())
    for old in wanted.parent.glob("step=*.ckpt"):
        if old.name < wanted.name:
            old.unlink()
    partial.replace(wanted)
    if not is_whole(wanted):
        raise PersonError(f"{wanted.name} did not arrive whole: nothing was trained; the same command tries again")
    LOG.info("checkpoint %s was handed over by the first machine", wanted.name)


def _pieces(size: int) -> int:
    return -(-size // PIECE)
