"""Goal 14, the parts of training: two processes against a raw torch DDP script, and how long a checkpoint holds a training up.

    python -m benchmarks.processes

Two gloo processes on the loopback, one thread each, a residual network on images of 32 pixels at some 40 ms a step: the loop
with `DistributedDataParallel` that a person writes, and ours (`Learner` and `fit`: Lightning, exact resume, agreement on
signals, one mean loss), interleaved A B A B in the same two processes; the wall clock from the sixth step to the last, so that
imports do not count, and beside it the CPU time of both processes, which a busy machine disturbs less. Must: 0.95 of the raw
script's speed, stretch 0.98.

The stall of a checkpoint: how long a training waits for one, when it is written in the background and when it is written before
the next step (the same durable protocol: hash, flush, rename, flush, read back). Must: 0.5 of the synchronous one, stretch 0.15.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

COUNT, SIDE, BATCH, STEPS, WARM, PAIRS = 1024, 32, 64, 45, 5, 5
WIDTH, OUTPUTS, RATE, CLIP, DECAY = 16, 10, 1e-3, 1.0, 0.01
MUST_SPEED, MUST_STALL = 0.95, 0.5
STATE, EVERY, SAVES = 2048, 10, 6  # side of the square layers of the network whose checkpoints are timed; steps; checkpoints


def network() -> Any:
    """The network of both."""
    import torch

    from pipeline.model.resnet import ResNet

    torch.manual_seed(0)
    facts = {"channels": 3, "height": SIDE, "width_pixels": SIDE, "outputs": OUTPUTS, "mean": [0.5] * 3, "std": [0.25] * 3}
    return ResNet(**facts, width=WIDTH, stages=3)


def data() -> Any:
    """Images and labels of both."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.random((COUNT, 3, SIDE, SIDE), dtype=np.float32), rng.integers(0, OUTPUTS, COUNT)


Took = tuple[float, float]  # wall clock and CPU time, seconds


def now() -> Took:
    """Wall clock and CPU time of this process."""
    return time.perf_counter(), time.process_time()


def raw() -> Took:
    """The script that a person writes, once its process group stands; what its steps after the warm ones took."""
    import torch
    from torch import distributed, nn
    from torch.nn.parallel import DistributedDataParallel

    rank, world = distributed.get_rank(), distributed.get_world_size()
    images, labels = (torch.from_numpy(part) for part in data())
    model = DistributedDataParallel(network(), gradient_as_bucket_view=True)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    chance = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(COUNT, generator=chance) for _ in range(1 + STEPS * BATCH // COUNT)])
    began = now()
    for step in range(STEPS):
        if step == WARM:
            began = now()
        mine = order[step * BATCH : (step + 1) * BATCH][rank::world]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[mine]), labels[mine]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        falling.step()
    return took(began, now())


def took(began: Took, ended: Took) -> Took:
    """The difference of two readings."""
    return ended[0] - began[0], ended[1] - began[1]


def ours() -> Took:
    """The same by the parts that the stage train uses."""
    import numpy as np
    import pytorch_lightning as pl

    from pipeline.core.parts import build
    from pipeline.core.ranks import place
    from pipeline.training.fit import fit
    from pipeline.training.inputs import FeatureInputs, Labels, load
    from pipeline.training.learner import Learner
    from pipeline.training.stream import StepStream

    class Clock(pl.Callback):
        """Notes when the warm steps are over, and the end."""

        def __init__(self) -> None:
            self.times: list[Took] = []

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == WARM:
                self.times.append(now())

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == STEPS:
                self.times.append(now())

    here, (images, truth) = place(), data()
    inputs = FeatureInputs(images, Labels(truth, np.ones(COUNT, np.float32), [str(number) for number in range(COUNT)]))
    stream = StepStream(COUNT, batch_size=BATCH, max_steps=STEPS, seed=0, rank=here.rank, world=here.world)
    learner = Learner(network(), task=_task(build), recipe=_recipe(STEPS), seed=0)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        loader = load(inputs, stream, workers=0)
        fit(learner, loader, max_steps=STEPS, folder=Path(folder), checkpoint_every=10**9, callbacks=[clock])
    return took(*clock.times)


def worker() -> list[tuple[Took, Took]]:
    """What one of the two processes measures: pairs of the raw script and ours, the first to warm up."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    pairs = []
    for _ in range(PAIRS + 1):
        distributed.barrier()
        theirs = raw()
        distributed.barrier()
        pairs.append((theirs, ours()))
    return pairs[1:]


def _recipe(steps: int) -> dict[str, Any]:
    return {"lr": RATE, "weight_decay": DECAY, "warmup": 0.1, "max_steps": steps, "clip": CLIP, "ema": 0.0, "log_every": 10**9,
            "validate_every": 10**9, "batch_size": BATCH}  # fmt: skip


def _task(build: Any) -> Any:
    part = {"_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0,
            "positive": None, "bins": 5, "equal_mass": False}  # fmt: skip
    return build(part, card={"classes": [str(number) for number in range(OUTPUTS)], "target": None, "name": "noise"})


def stall(*, waiting: bool) -> float:
    """How long a save holds a training up, seconds, the median of some; waiting writes it before the next step."""
    import numpy as np
    import torch
    from torch import nn

    from pipeline.core.parts import build
    from pipeline.training import checkpoint
    from pipeline.training.fit import fit
    from pipeline.training.inputs import FeatureInputs, Labels, load
    from pipeline.training.learner import Learner
    from pipeline.training.stream import StepStream

    torch.set_num_threads(1)
    held: list[float] = []
    save = checkpoint.EverySteps.save

    def timed(self: Any, trainer: Any) -> None:
        began = time.perf_counter()
        save(self, trainer)
        if waiting:
            self.io.wait()
        held.append(time.perf_counter() - began)

    steps = EVERY * SAVES + EVERY // 2
    model = nn.Sequential(nn.Linear(64, STATE), nn.ReLU(), nn.Linear(STATE, STATE), nn.ReLU(), nn.Linear(STATE, OUTPUTS))
    rng = np.random.default_rng(0)
    labels = Labels(rng.integers(0, OUTPUTS, COUNT), np.ones(COUNT, np.float32), [str(number) for number in range(COUNT)])
    inputs = FeatureInputs(rng.random((COUNT, 64), dtype=np.float32), labels)
    stream = StepStream(COUNT, batch_size=BATCH, max_steps=steps, seed=0)
    learner = Learner(model, task=_task(build), recipe=_recipe(steps), seed=0)
    checkpoint.EverySteps.save = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        fit(learner, load(inputs, stream, workers=0), max_steps=steps, folder=Path(folder), checkpoint_every=EVERY)
    checkpoint.EverySteps.save = save  # type: ignore[method-assign]
    return statistics.median(held[:SAVES])


def _two() -> list[Any]:
    """What the two processes measured, each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.processes", "worker"]
    started = [
        subprocess.Popen(words, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]


def processes() -> bool:
    """Measure two processes and print; whether the required speed is reached."""
    wall, cpu, steps = [], [], []
    for first, second in zip(*_two(), strict=True):
        (theirs, mine), (theirs2, mine2) = first, second
        wall.append(max(theirs[0], theirs2[0]) / max(mine[0], mine2[0]))
        cpu.append((theirs[1] + theirs2[1]) / (mine[1] + mine2[1]))
        steps.append(1000 * max(theirs[0], theirs2[0]) / (STEPS - WARM))
    print(
        f"two processes, {STEPS - WARM} steps of {statistics.median(steps):.1f} ms in the raw script: ours at "
        f"{statistics.median(wall):.3f} of its speed [{min(wall):.3f}, {max(wall):.3f}]; must 0.95, stretch 0.98; by CPU time "
        f"{statistics.median(cpu):.3f} [{min(cpu):.3f}, {max(cpu):.3f}]"
    )
    return statistics.median(wall) >= MUST_SPEED


def checkpoints() -> bool:
    """Measure the stall of checkpoints and print; whether the required share is reached."""
    held = []
    for pair in range(PAIRS + 1):
        longest, shortest = stall(waiting=True), stall(waiting=False)
        if pair:
            held.append((shortest / longest, 1000 * shortest, 1000 * longest))
    ratio = statistics.median(one for one, _, _ in held)
    behind, before = (statistics.median(row[place] for row in held) for place in (1, 2))
    print(
        f"a checkpoint holds the training up for {behind:.1f} ms, written before the next step for {before:.1f} ms: {ratio:.3f} "
        f"[{min(held)[0]:.3f}, {max(held)[0]:.3f}]; must 0.5, stretch 0.15"
    )
    return ratio <= MUST_STALL


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        print(json.dumps(worker()))
    else:
        reached = [processes(), checkpoints()]
        sys.exit(int(not all(reached)))
