"""Surgery, pretrained weights and snapshots in real trainings: they do what they say, and a killed run ends with the same bytes."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from pipeline.core.artifact import begin, read_json, sha256, write_json
from pipeline.core.errors import PersonError
from pipeline.model.resnet import ResNet
from pipeline.stages import train
from pipeline.training import learner, surgery
from pipeline.training.saved_model import load_model
from tests import toy

STEPS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Artifacts of 96 bars and discs, and a project's configuration of a short training on them."""
    root = tmp_path_factory.mktemp("data")
    made = {"ingest": toy.ingest(root, classes=["bar", "disc"], count=96)}
    made["split"], made["embed"] = toy.split(root, made["ingest"]), toy.embed(root, made["ingest"])
    made |= {name: toy.empty(root, name) for name in ("augment", "synthesize")}
    write_json(made["synthesize"] / "gates.json", {"share": 0.0, "why": "none"})
    return made


def config(part=None, **recipe):
    own = {"max_steps": STEPS, "batch_size": 16, "validate_every": 6, "checkpoint_every": 1, "log_every": 3, "channels_last": False}
    return {
        "model": part or toy.option("model", "resnet_small"), "task": toy.option("task", "classification"), "transform": None,
        "train": {**toy.option("train", "default"), **own, **recipe}, "logger": None, "seed": 0, "threads": 1,
    }  # fmt: skip


def run(data, folder, cfg):
    torch.use_deterministic_algorithms(True)
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    out = begin(folder / "train")
    train.run(cfg, out, scratch=folder / "scratch", **data)
    return out


def bytes_of(out):
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*")) if path.suffix in {".safetensors", ".json", ".csv"} and path.name not in {"run.json", "timings.json"}
    }  # fmt: skip


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("source"), config())


def operated(source):
    part = {**toy.option("model", "resnet_small"), "weights": str(source / "model.safetensors"),
            "weights_sha256": sha256(source / "model.safetensors"), "pretrained": True}  # fmt: skip
    row = [{"kind": "Linear", "out_features": 8}, {"kind": "ReLU"}, {"kind": "Linear", "in_features": 8}]
    return config(
        part, freeze="trunk_layers.1", rates={"trunk_layers": 0.3}, rate_decay=0.9, replace={"head": row}, snapshots=[4, 9], ema=0.5
    )


@pytest.fixture(scope="module")
def uninterrupted(data, source, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("operated"), operated(source))


def test_a_killed_training_with_surgery_ends_with_the_same_bytes(data, source, uninterrupted, tmp_path, monkeypatch):
    whole = bytes_of(uninterrupted)
    step = learner.Learner.training_step
    for stop in (3, 7):

        def dies(self, batch, number, stop=stop):
            if self.global_step == stop:
                raise RuntimeError("killed")
            return step(self, batch, number)

        monkeypatch.setattr(learner.Learner, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            run(data, tmp_path / "killed", operated(source))
    monkeypatch.setattr(learner.Learner, "training_step", step)
    assert bytes_of(run(data, tmp_path / "killed", operated(source))) == whole
    assert {name for name in whole if name.startswith("snapshots")} == {f"snapshots/{number:09d}.safetensors" for number in (4, 9)}


def test_what_was_frozen_is_what_the_source_learnt_and_the_card_says_where_it_came_from(source, uninterrupted):
    out = uninterrupted
    before, after = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    frozen = [name for name in before if name.startswith(("trunk_layers.0.", "trunk_layers.1."))]
    assert len(frozen) > 10
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["trunk_layers.2.conv1.weight"], after["trunk_layers.2.conv1.weight"])
    saved = read_json(out / "model.json")
    assert saved["weights"] == {"from": "file", "file": "model.safetensors", "sha256": sha256(source / "model.safetensors")}
    assert load_model(out).head[2].out_features == 2
    text = (out / "section.json").read_text()
    assert "train.freeze" in text
    assert saved["weights"]["sha256"] in text
    assert "without their hash" not in text


def test_snapshots_are_the_weights_of_their_step(data, source, tmp_path):
    out = run(data, tmp_path, config(snapshots=[5, STEPS]))
    assert sha256(out / f"snapshots/{STEPS:09d}.safetensors") == sha256(out / "model.safetensors")
    assert sha256(out / "snapshots/000000005.safetensors") != sha256(out / "model.safetensors")
    assert sha256(out / "model.safetensors") == sha256(source / "model.safetensors"), "to look on changes nothing"


def test_a_snapshot_after_the_end_is_refused(data, tmp_path):
    with pytest.raises(PersonError, match=r"train.snapshots=\[13\]: this training ends at train.max_steps=12"):
        run(data, tmp_path, config(snapshots=[13]))


# --- does transfer help?

FACTS = {"channels": 1, "height": 8, "width_pixels": 8, "mean": [0.3], "std": [0.37]}
BUDGET = {"source": 300, "target": 40}  # optimiser steps


def fitted(x, truth, *, outputs, steps, seed, start=None, freeze=None):
    torch.manual_seed(seed)
    model = ResNet(outputs=outputs, width=8, stages=2, **FACTS)
    if start is not None:
        state = {name: tensor for name, tensor in start.state_dict().items() if not name.startswith("head.")}
        model.load_state_dict(state, strict=False)
    if freeze is not None:
        surgery.freeze(model, freeze)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), truth[rows]).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.slow
def test_transfer_beats_scratch_with_fifty_images_a_class():
    """Digits 0 to 4 are the source; 5 to 9 the target, 50 images of each, at equal steps; five paired seeds."""
    digits = load_digits()
    x, truth = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    first, other = truth < 5, truth >= 5
    gains = []
    for seed in range(5):
        start = fitted(x[first], truth[first], outputs=5, steps=BUDGET["source"], seed=seed)
        order = torch.randperm(int(other.sum()), generator=torch.Generator().manual_seed(seed))
        x_target, goal = x[other][order], truth[other][order] - 5
        chosen = torch.cat([torch.nonzero(goal == label)[:50, 0] for label in range(5)])
        held = torch.ones(len(goal), dtype=torch.bool)
        held[chosen] = False
        named = {"outputs": 5, "steps": BUDGET["target"], "seed": seed}
        scratch = fitted(x_target[chosen], goal[chosen], **named)
        moved = fitted(x_target[chosen], goal[chosen], start=start, **named)
        with torch.no_grad():
            right = [float((model(x_target[held]).argmax(1) == goal[held]).float().mean()) for model in (scratch, moved)]
        gains.append(right)
        print(f"seed {seed}: scratch {right[0]:.3f}, transfer {right[1]:.3f}")
    assert sum(moved - scratch for scratch, moved in gains) / 5 > 0.0
    assert sum(moved > scratch for scratch, moved in gains) >= 4
