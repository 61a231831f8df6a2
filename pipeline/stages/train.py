"""Train the model of conf on the train split; a killed run continues to the same bits. Publishes weights and history."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline.core import launch, pictures
from pipeline.core.artifact import digest, read_json, write_json
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.parts import build, is_off
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.training.checkpoint import newest
from pipeline.training.fit import fit
from pipeline.training.inputs import collate
from pipeline.training.learner import Learner
from pipeline.training.material import Material, gather
from pipeline.training.saved_model import save_model
from pipeline.training.stream import StepStream
from pipeline.training.watch import Row, Validator, Watch, read_rows, series, write_history


def run(
    cfg: dict[str, Any], out: Path, *, ingest: Path, embed: Path, split: Path, augment: Path, synthesize: Path, scratch: Path
) -> str:
    """Train and publish `model.safetensors`, `model.json`, `history.csv`, `run.json` and `curves.png`.

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
    card = read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    task.check()
    statistics = read_json(split / "statistics.json")
    facts = {
        "channels": card["channels"], "height": card["height"], "width_pixels": card["width"], "outputs": task.outputs(),
        "mean": statistics["mean"], "std": statistics["std"],
    }  # fmt: skip
    torch.manual_seed(keyed_seed(cfg["seed"], "init"))
    model: nn.Module = build(cfg["model"], **facts)
    folders = {"ingest": ingest, "embed": embed, "split": split, "augment": augment, "synthesize": synthesize}
    material = gather(cfg, model, task, folders)
    tracker = _tracker(cfg, scratch.name, folders)
    rows = _train(cfg, model, task=task, material=material, tracker=tracker, scratch=scratch)
    if launch.rank() != 0:
        return "trained"
    save_model(model, {"part": cfg["model"], "facts": facts, "task": cfg["task"]}, out)
    write_history(rows, out / "history.csv")
    write_json(out / "run.json", {"run_id": scratch.name})
    return _section(out, model, rows=rows, task=task, material=material)


def _train(
    cfg: dict[str, Any], model: nn.Module, *, task: Any, material: Material, tracker: Any, scratch: Path
) -> list[Row]:
    """Train in place what is to be trained; return the history."""
    recipe, (_, start), world = cfg["train"], newest(scratch), launch.world()
    trained: Any = model.head if material.cached else model
    if recipe["channels_last"] and not material.cached:
        trained = trained.to(memory_format=torch.channels_last)
    learner = Learner(trained, task=task, recipe=recipe, seed=cfg["seed"], owner=model)
    stream = StepStream(
        len(material.inputs), batch_size=recipe["batch_size"], max_steps=recipe["max_steps"], start_step=start,
        seed=cfg["seed"], rank=launch.rank(), world=world,
    )  # fmt: skip
    loader = DataLoader(
        material.inputs, recipe["batch_size"] // world, sampler=stream, num_workers=launch.workers(), drop_last=True,
        collate_fn=collate,
    )  # fmt: skip
    held = material.validation
    gathered = getattr(held, "__getitems__", lambda keys: collate([held[key] for key in keys]))
    validator = Validator(
        lambda rows: gathered([(0, row) for row in rows]), len(held), task=task, batch_size=recipe["batch_size"]
    )
    watch = Watch(scratch / "history.jsonl", start_step=start, recipe=recipe, validator=validator, tracker=tracker)
    fit(
        learner, loader, max_steps=recipe["max_steps"], folder=scratch, checkpoint_every=recipe["checkpoint_every"],
        precision=recipe["precision"], callbacks=[watch],
    )  # fmt: skip
    if tracker is not None:
        tracker.finish()
    if learner.average is not None:
        learner.model.load_state_dict(learner.average.state_dict())
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


def _section(out: Path, model: nn.Module, *, rows: list[Row], task: Any, material: Material) -> str:
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
    last = next(row for row in reversed(rows) if "val_loss" in row)
    trained: Any = model.head if material.cached else model
    facts: list[list[Cell]] = [
        ["network", type(model).__name__],
        ["parameters", sum(parameter.numel() for parameter in model.parameters())],
        ["of them trained", sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad)],
        ["training samples", len(material.inputs)], ["steps", int(last["step"])],
        [f"validation {task.headline} at the last step", last[headline]],
    ]  # fmt: skip
    text = [
        "The trunk is frozen, so the head was trained on the features that embed computed once; images are not augmented then."
    ]
    summary = f"{type(model).__name__}, {int(last['step'])} steps, validation {task.headline} {last[headline]:.3f}"
    return write_section(out, Section(
        title="Training", summary=summary,
        text=text if material.cached else [], tables=[Table("The network and its training", ["fact", "value"], facts)],
        pictures=[Picture("curves.png", "Training and validation loss, and the headline metric on the validation split.")],
    ))  # fmt: skip
