"""Make each candidate, measure it once, and keep what was found, so that the same command continues after a kill.

Candidates that share a network train it once. What was measured is kept under a key of everything that it follows from: the
published artifacts, the settings, the code.

K columns of a decoded prediction, N samples.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.compression.candidates import Candidate
from pipeline.compression.choice import Result
from pipeline.compression.measuring import At, Measured, Stand
from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build
from pipeline.training.chain import Chain, Files, compressed
from pipeline.training.paired import paired_change
from pipeline.training.subset import Subset

FILE, ANSWERS, MEASURED = "model.onnx", "answers.npy", "measured.json"
PARTS = ("shrinker", "compressor", "exporter", "detector", "task")
SETTINGS = (*PARTS, "compress", "ood", "seed")
Found = tuple[Measured, NDArray[np.float32]]
Settings = Callable[[Candidate], dict[str, Any]]


@dataclass(frozen=True)
class World:
    """What every candidate is made from and measured with.

    Attributes:
        chain: the trained network and the train split.
        files: how a network becomes one.
        target: configuration of the runtime.
        validation: samples that are answered; the test split stays closed.
        settings: candidate -> the whole configuration with it.
        measure: resamples, coverage and seed of the intervals.
        identity: of the artifacts.
        code: parts of the configuration -> hash of the code that makes a file with them.
        folder: where results are kept.
    """

    chain: Chain
    files: Files
    target: dict[str, Any]
    validation: Subset
    settings: Settings
    measure: dict[str, Any]
    identity: str
    code: Callable[[dict[str, Any]], str]
    folder: Path


class Search:
    """One pass over candidates.

    Args:
        world: what they are made from.
        repeats: calls of each batch size.
        say: where a line for people goes.
    """

    def __init__(self, world: World, *, repeats: int, say: Callable[[str], None]) -> None:
        self.world, self.repeats, self.say = world, repeats, say
        self._networks: dict[tuple[float, float], nn.Module] = {}

    def run(self, wanted: Sequence[Candidate]) -> list[Result]:
        """The original first, then every candidate; one that cannot be made says why, and the others go on."""
        world = self.world
        original = self._place({"original": True})
        source = original / FILE
        if not source.is_file():
            with _fresh(original) as partial:
                world.files.whole(world.chain.trained, partial)
        with Stand(source, world.validation, target=world.target, repeats=self.repeats) as stand:
            first = kept(original) or _keep(original, stand.measure(source))
            results = [self._judged(None, first, first)]
            for number, candidate in enumerate(wanted, start=1):
                try:
                    found = self._found(candidate, stand)
                    results.append(self._judged(candidate, found, first))
                except PersonError as error:
                    results.append(Result(candidate, why=" ".join(str(error).split())))
                self.say(f"  {number} of {len(wanted)}  {candidate.name}: {told(results[-1])}")
        return results

    def _found(self, candidate: Candidate, stand: Stand) -> Found:
        cfg = self.world.settings(candidate)
        place = self._place({key: cfg[key] for key in SETTINGS})
        before = kept(place)
        if before is not None:
            return before
        if not (place / FILE).is_file():
            compressor = build(cfg["compressor"])
            network = self._network(candidate, cfg)
            if hasattr(compressor, "simulate"):
                network = self.world.chain.aware(network, compressor)
            calibration = self.world.validation.spread(int(cfg["compress"]["calibration"]), int(cfg["seed"]), "calibration")
            with _fresh(place) as partial:
                compressed(network, self.world.files, compressor, calibration, out=partial)
        return _keep(place, stand.measure(place / FILE))

    def _network(self, candidate: Candidate, cfg: dict[str, Any]) -> nn.Module:
        """The network after this candidate's shrinkers; that of the candidate before, where it is the same."""
        network, key = self.world.chain.trained, (0.0, 1.0)
        passed = {key: network}
        for name in candidate.shrinkers:
            key = (candidate.share, 1.0) if name == "prune" else (candidate.share, candidate.variance)
            if key not in self._networks:
                self.say(f"  {name}, and training on")
                self._networks[key] = self.world.chain.shrunk(network, build(cfg["shrinker"][name]))
            network = passed[key] = self._networks[key]
        self._networks = passed
        return network

    def _judged(self, candidate: Candidate | None, found: Found, original: Found) -> Result:
        world, task = self.world, self.world.chain.task
        measured, found_NK = found
        if not np.isfinite(found_NK).all():
            return Result(candidate, why="it predicts values that are not finite")
        subset, headline = world.validation, task.headline
        metric = bootstrap(
            lambda *parts: {headline: task.metrics(*parts)[headline]}, found_NK, subset.truth, subset.weight, subset.groups,
            **world.measure,
        ).get(headline, {})  # fmt: skip
        change = paired_change(task, original[1], found_NK, subset, **world.measure).get(headline, {})
        return Result(candidate, measured=measured, metric=metric, change=change)

    def _place(self, facts: dict[str, Any]) -> Path:
        code = self.world.code({key: facts[key] for key in PARTS if key in facts})
        text = json.dumps([self.world.identity, code, facts], sort_keys=True)
        return self.world.folder / hashlib.sha256(text.encode()).hexdigest()[:16]


class _fresh:  # noqa: N801
    """A folder that takes its name once all is written."""

    def __init__(self, final: Path) -> None:
        self.final, self.partial = final, final.with_name(final.name + ".partial")

    def __enter__(self) -> Path:
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self.partial

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.partial.replace(self.final)
        else:
            shutil.rmtree(self.partial, ignore_errors=True)


def kept(place: Path) -> Found | None:
    """What was measured before; None where that is not whole."""
    if not (place / MEASURED).is_file():
        return None
    facts = read_json(place / MEASURED)
    at = {int(size): At(**{**entry, "faster": tuple(entry["faster"])}) for size, entry in facts["at"].items()}
    return Measured(facts["size"], at), np.load(place / ANSWERS)


def _keep(place: Path, found: Found) -> Found:
    np.save(place / ANSWERS, found[1])
    partial = place / f"{MEASURED}.part"
    write_json(partial, asdict(found[0]))
    partial.replace(place / MEASURED)
    return found


def told(result: Result) -> str:
    """One line of a result."""
    if result.measured is None:
        return result.why
    at = result.measured.at[1]
    change = f", {result.change['value']:+.4f}" if result.change else ""
    return f"{result.measured.size / 1000:,.0f} KB, {at.ms:.2f} ms ({at.faster[1]:.2f}x), {at.memory / 1e6:.0f} MB{change}"


def grouped(wanted: Sequence[Candidate]) -> Iterator[tuple[str, int]]:
    """Each network that candidates share, and how many candidates are made of it."""
    names = [one.network for one in wanted]
    for name in dict.fromkeys(names):
        yield name, names.count(name)
