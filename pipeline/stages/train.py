"""Train the model of conf on the train split; a killed run continues to the same bits. Publishes weights and history."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.core import launch, pictures
from pipeline.core.artifact import digest, write_json
from pipeline.core.parts import build, is_off
from pipeline.core.ranks import place
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.training.checkpoint import newest
from pipeline.training.construction import construct
from pipeline.training.fit import fit
from pipeline.training.handover import hand_over
from pipeline.training.inputs import batch_of, load
from pipeline.training.learner import Learner
from pipeline.training.material import Material, gather
from pipeline.training.observers import Health, conclude, observers
from pipeline.training.pausing import pauses
from pipeline.training.saved_model import save_model
from pipeline.training.smoothing import trained_task
from pipeline.training.snapshots import publish, snapshots_of
from pipeline.training.stopping import Stopping, load_best, rule_of, shipped_row
from pipeline.training.stream import StepStream
from pipeline.training.surgery import changes, check_cached, unpinned
from pipeline.training.watch import Row, Validator, read_rows, series, write_history


def run(
    cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, augment: Path, synthesize: Path, scratch: Path
) -> str:
    """Train and publish `model.safetensors`, `model.json`, `history.csv`, `health.csv`, `run.json`, pictures, any `snapshots/`.

    Args:
        cfg: the declared configuration.
        out: where to write.
        ingest: every sample, and the card.
        embed: features of a frozen trunk.
        split: ids, and the train split's statistics.
        augment: augmented samples of the train split.
        synthesize: synthetic samples.
        scratch: checkpoints and the history of a run that was killed; valid for these inputs alone.

    Raises:
        PersonError: the data cannot serve the task, a batch is larger than the train split, or the loss is not finite.
    """
    made = construct(cfg, ingest=ingest, split=split)
    model, task = made.model, made.task
    folders = {"ingest": ingest, "embed": embed, "split": split, "augment": augment, "synthesize": synthesize}
    material = gather(cfg, model, task, folders)
    if material.cached:
        check_cached(cfg["train"])
    tracker = _tracker(cfg, scratch.name, folders)
    rows = _train(cfg, model, task=task, material=material, tracker=tracker, scratch=scratch)
    if launch.rank() != 0:
        return "trained"
    save_model(model, made.saved, out)
    publish(scratch, out)
    write_history(rows, out / "history.csv")
    write_json(out / "run.json", {"run_id": scratch.name})
    health = conclude(scratch, out, rows, shipped=shipped_row(rows, rule_of(cfg["train"], task)))
    return _section(out, model, health=health, task=task, material=material, cfg=cfg)


def _train(
    cfg: dict[str, Any], model: nn.Module, *, task: Any, material: Material, tracker: Any, scratch: Path
) -> list[Row]:
    """Train in place what is to be trained; return the history."""
    recipe, world = cfg["train"], launch.world()
    trained: Any = model.head if material.cached else model
    if recipe["channels_last"] and not material.cached:
        trained = trained.to(memory_format=torch.channels_last)
    learner = Learner(trained, task=trained_task(task, cfg["task"], recipe), recipe=recipe, seed=cfg["seed"], owner=model)
    learner.names = material.inputs.labels.ids
    hand_over(scratch, learner, place())
    _, start = newest(scratch, learner)
    stream = StepStream(
        len(material.inputs), batch_size=recipe["batch_size"], max_steps=recipe["max_steps"], start_step=start,
        seed=cfg["seed"], rank=launch.rank(), world=world,
    )  # fmt: skip
    loader = load(material.inputs, stream, workers=launch.workers())
    held = material.validation
    validator = Validator(partial(batch_of, held), len(held), task=task, batch_size=recipe["batch_size"])
    watching = observers(
        learner, recipe, scratch=scratch, start=start, batch_of=partial(batch_of, material.inputs), validator=validator,
        tracker=tracker,
    )  # fmt: skip
    snapshots = snapshots_of(recipe, scratch, model, prefix="head." if material.cached else "")
    rule = rule_of(recipe, task)
    stopping = [Stopping(scratch, rule, every=recipe["validate_every"], last=recipe["max_steps"])] if rule.active else []
    fit(
        learner, loader, max_steps=recipe["max_steps"], folder=scratch, checkpoint_every=recipe["checkpoint_every"],
        precision=recipe["precision"],
        callbacks=[*pauses(start_step=start, max_steps=recipe["max_steps"]), *watching, *stopping, *snapshots],
    )  # fmt: skip
    if tracker is not None:
        tracker.finish()
    if learner.average is not None:
        learner.model.load_state_dict(learner.average.state_dict())
    if rule.keep == "best" and launch.rank() == 0:
        load_best(scratch, learner.model, rule)
    return read_rows(scratch / "history.jsonl")


def _tracker(cfg: dict[str, Any], run_id: str, folders: dict[str, Path]) -> Any:
    """The tracker with its run open, or None. A training that fails does not finish it, so its run is marked as failed."""
    if is_off(cfg["logger"]) or launch.rank() != 0:
        return None
    tracker = build(cfg["logger"])
    config = {name: cfg[name] for name in ("model", "task", "train", "transform", "seed", "threads")}
    network = cfg["model"]["_target_"].rsplit(".", 1)[1].lower()
    facts = {"inputs": {name: digest(folder) for name, folder in folders.items()}}
    tracker.open(run_id=run_id, name=f"{network}-{run_id[:6]}", config=config, facts=facts)
    return tracker


def _section(
    out: Path, model: nn.Module, *, health: Health, task: Any, material: Material, cfg: dict[str, Any]
) -> str:  # fmt: skip
    rows, last = health.history, health.shipped
    figure = pictures.figure(9, 3)
    left, right = figure.subplots(1, 2)
    for name, colour, label in (("loss", pictures.GREY, "train"), ("val_loss", pictures.BLUE, "validation")):
        left.plot(*series(rows, name), color=colour, label=label)
    left.set(xlabel="step", ylabel="loss", title="Loss")
    left.legend()
    headline = f"val_{task.headline}"
    right.plot(*series(rows, headline), color=pictures.BLUE)
    right.set(xlabel="step", ylabel=task.headline, title=f"Validation {task.headline}")
    pictures.save(figure, out / "curves.png", 110)
    trained: Any = model.head if material.cached else model
    facts: list[list[Cell]] = [
        ["network", type(model).__name__],
        ["parameters", sum(parameter.numel() for parameter in model.parameters())],
        ["of them trained", sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad)],
        ["training samples", len(material.inputs)], ["steps", int(rows[-1]["step"])],
        ["step of the shipped weights", int(last["step"])], [f"validation {task.headline} of them", last[headline]],
        *changes(model, cfg),
    ]  # fmt: skip
    text = [
        "The trunk is frozen, so the head was trained on the features that embed computed once; images are not augmented then."
    ]
    summary = f"{type(model).__name__}, {int(last['step'])} steps, validation {task.headline} {last[headline]:.3f}"
    return write_section(out, Section(
        title="Training", summary=summary,
        text=text if material.cached else [], warnings=[*unpinned(cfg["model"]), *health.warnings],
        tables=[Table("The network and its training", ["fact", "value"], facts), health.table],
        pictures=[
            Picture("curves.png", "Training and validation loss, and the headline metric on the validation split."),
            health.picture,
        ],
    ))  # fmt: skip
