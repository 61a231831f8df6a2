"""A small training in a process of its own, forked from a server that has imported torch and Lightning once."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import time

import numpy as np

STEPS, BATCH, COUNT = 60, 8, 40
RECIPE = {
    "lr": 1e-2, "weight_decay": 0.01, "warmup": 0.2, "max_steps": STEPS, "clip": 1.0, "ema": 0.9, "log_every": 1, "validate_every": 15,
    "batch_size": BATCH,
}  # fmt: skip
CARD = {"classes": ["a", "b", "c"], "target": None, "name": "toy"}
TASK = {
    "_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0, "positive": None,
    "bins": 5, "equal_mass": False,
}  # fmt: skip
PLAIN = {
    "kind": "classifier", "workers": 0, "precision": "bf16-mixed", "dropout": 0.3, "norm": True, "every": 3, "pause": 0.0, "sampler": "step",
    "batch": BATCH, "steps": STEPS, "weights": False, "ema": 0.9, "width": 4, "after": "", "recipe": {},
}  # fmt: skip
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.training.trainee", "pytorch_lightning", "pipeline.training.fit", "pipeline.training.gan_module",
                               "pipeline.training.learner", "pipeline.model.resnet", "torchvision"])  # fmt: skip


def main(folder, options, environment):
    """What the process does: `final.json` is written at the end of the training."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # of data workers, as in a command of its own
    os.environ.update(environment)
    sys.stderr = (folder / f"stderr-{environment.get('RANK', '0')}.txt").open("a", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    import torch

    from pipeline.core import interrupt
    from pipeline.core.errors import PersonError

    interrupt.listen()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    chosen = {**PLAIN, **options}
    try:
        trained = gan(folder, chosen) if chosen["kind"] == "gan" else classifier(folder, chosen)
    except interrupt.Interrupted as said:
        print(said, file=sys.stderr)
        os._exit(said.code)
    except (PersonError, OSError) as error:
        print("error:", error, file=sys.stderr)
        os._exit(1)
    if environment.get("RANK", "0") == "0":
        content = b"".join(trained[name].contiguous().numpy().tobytes() for name in sorted(trained))
        told = json.dumps({"sha256": hashlib.sha256(content).hexdigest()})
        (folder / "final.json").write_text(told)
    os._exit(0)


def classifier(folder, chosen):
    import pytorch_lightning as pl
    import torch

    from pipeline.core.parts import build
    from pipeline.core.ranks import place
    from pipeline.model.resnet import ResNet
    from pipeline.training.checkpoint import newest
    from pipeline.training.fit import fit
    from pipeline.training.inputs import FeatureInputs, Labels, batch_of, load
    from pipeline.training.learner import Learner
    from pipeline.training.stream import StepStream
    from pipeline.training.watch import Validator, Watch

    class Noisy(FeatureInputs):
        """Images with noise keyed by (epoch, index), as augmentation is; what was drawn is written down."""

        def batch(self, epoch_B, index_B):
            items = super().batch(epoch_B, index_B)
            for row, key in enumerate(zip(epoch_B.tolist(), index_B.tolist(), strict=True)):
                made = torch.Generator().manual_seed(key[0] * 1000 + key[1])
                items["x"][row] += 0.1 * torch.randn(items["x"][row].shape, generator=made)
            return items

    class Slow(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, number):
            time.sleep(chosen["pause"])
            with (folder / f"seen-{trainer.global_rank}.jsonl").open("a") as file:
                file.write(json.dumps([trainer.global_step, batch["index"].tolist()]) + "\n")
            exec(chosen["after"], {"step": trainer.global_step, "rank": trainer.global_rank, "os": os, "time": time})

    class ByEpoch(StepStream):
        """What plain stacks do: the epoch starts anew after a resume."""

        def runs(self):
            self.start_step = 0
            yield from super().runs()

    here = place()
    rng = np.random.default_rng(0)
    weights = rng.random(COUNT, dtype=np.float32) if chosen["weights"] else np.ones(COUNT, np.float32)
    labels = Labels(rng.integers(0, 3, COUNT), weights, [str(i) for i in range(COUNT)])
    inputs = Noisy(rng.random((COUNT, 1, 8, 8), dtype=np.float32), labels)
    torch.manual_seed(3)
    model = ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=chosen["width"], stages=2,
                   dropout=chosen["dropout"])  # fmt: skip
    if not chosen["norm"]:
        for module in model.modules():
            for name, child in module.named_children():
                if isinstance(child, torch.nn.BatchNorm2d):
                    setattr(module, name, torch.nn.GroupNorm(1, child.num_features))
    task, recipe = build(TASK, card=CARD), {**RECIPE, "max_steps": chosen["steps"], "ema": chosen["ema"], **chosen["recipe"]}
    learner = Learner(model, task=task, recipe=recipe, seed=5)
    _, start = newest(folder, learner)
    stream = {"step": StepStream, "epoch": ByEpoch}[chosen["sampler"]](
        COUNT, batch_size=chosen["batch"], max_steps=chosen["steps"], start_step=start, seed=1, rank=here.rank, world=here.world
    )
    validator = Validator(lambda rows: batch_of(inputs, rows), 9, task=task, batch_size=BATCH)
    watch = Watch(folder / "history.jsonl", start_step=start, recipe=recipe, validator=validator, tracker=None)
    fit(learner, load(inputs, stream, workers=chosen["workers"]), max_steps=chosen["steps"], folder=folder, checkpoint_every=chosen["every"],
        precision=chosen["precision"], callbacks=[watch, Slow()])  # fmt: skip
    return learner.state_dict()


def gan(folder, chosen):
    import pytorch_lightning as pl

    from pipeline.core.parts import build
    from pipeline.training.gan_module import Images, train_gan
    from tests import toy

    class Slow(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            time.sleep(chosen["pause"])
            with (folder / "seen-0.jsonl").open("a") as file:
                file.write(f"[{trainer.global_step}]\n")

    small = {"resolution": 8, "width": 4, "latent": 8, "max_steps": chosen["steps"], "batch_size": 8, "checkpoint_every": chosen["every"], "log_every": 3}
    part = build(toy.option("generator", "gan", **small))
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20, dtype=np.int64) % 2)
    network, _ = train_gan(part, images, conditions=2, seed=0, folder=folder, callbacks=[Slow()])
    return network.state_dict()


class Run:
    """One start of a training: its processes, `ranks` of them, as a launcher would start them."""

    def __init__(self, folder, *, ranks=1, environment=None, **options):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.begun = rows(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self.processes = []
        for rank in range(ranks):
            mine = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            process = SERVER.Process(target=main, args=(folder, options, {**mine, **(environment or {})}))
            process.start()
            self.processes.append(process)

    def under_way(self, more=2, timeout=60):
        """Wait until it has taken that many steps more than its folder knew; returns whether it still runs."""
        end = time.monotonic() + timeout
        while rows(self.folder) < self.begun + more:
            if not self.alive():
                return False
            assert time.monotonic() < end, self.said()
            time.sleep(0.005)
        return self.alive()

    def alive(self):
        return any(process.is_alive() for process in self.processes)

    def send(self, number, ranks=None):
        for rank in range(len(self.processes)) if ranks is None else ranks:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.processes[rank].pid, number)

    def codes(self, timeout=60):
        """Wait for the end; the exit code of each process."""
        end = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        left = self.alive()
        self.send(signal.SIGKILL)
        assert not left, f"a process still ran after {timeout} s\n{self.said()}"
        return [process.exitcode for process in self.processes]

    def said(self):
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("stderr-*.txt")))

    def final(self, **limits):
        codes = self.codes(**limits)
        assert codes == [0] * len(codes), self.said()
        return json.loads((self.folder / "final.json").read_text())["sha256"]


def rows(folder):
    """Lines of the histories: how much was trained in this folder, repeated steps counted again."""
    found = [path for name in ("seen-0.jsonl", "history.jsonl") if (path := folder / name).is_file()]
    return found[0].read_bytes().count(b"\n") if found else 0


def killed(folder, kills, chance, *, least=2, longest=0.4, **named):
    """Start, kill everything at a random moment, start again; returns the final run and how many were killed."""
    done = 0
    while True:
        run = Run(folder, **named)
        if done >= kills or not run.under_way(least):
            return run, done
        time.sleep(chance.uniform(0.0, longest))
        done += run.alive()
        run.send(signal.SIGKILL)
        for process in run.processes:
            process.join()


def chance():
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 10**6))
    print(f"KILL_SEED={seed} repeats these moments")
    return random.Random(seed)
