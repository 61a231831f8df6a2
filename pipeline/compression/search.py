"""Make each candidate, measure it once, and keep what was found, so that the same command continues after a kill.

Candidates that share a network train it once. A file is kept under a key of everything that it follows from: the published
artifacts, the settings, the code, and the versions of the libraries that this imports. Beside it lies what was measured, with the
number of calls and the configuration of the runtime, and what the file was made from: at the end of a search, folders of other
artifacts or of other code are removed.

K columns of a decoded prediction, N samples.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from pipeline.shipping.trial import Ended
from pipeline.training.chain import Chain, Files, compressed
from pipeline.training.paired import paired_change
from pipeline.training.subset import Subset

FILE, ANSWERS, MEASURED, MADE = "model.onnx", "answers.npy", "measured.json", "made.json"
PARTS = ("shrinker", "compressor", "exporter", "detector", "task")
SETTINGS = (*PARTS, "compress", "ood", "seed", "threads")
PLACE = re.compile(r"[0-9a-f]{16}(\.partial)?")
Found = tuple[Measured, NDArray[np.float32]]
Settings = Callable[[Candidate], dict[str, Any]]


@dataclass(frozen=True)
class World:
    """What every candidate is made from and measured with.

    Attributes:
        chain: the trained network and the train split.
        files: how a network becomes one.
        shared: the parts exporter, detector and task of the configuration, which every file is made with.
        target: configuration of the runtime.
        validation: samples that are answered; the test split stays closed.
        settings: candidate -> the whole configuration with it.
        measure: resamples, coverage and seed of the intervals.
        identity: of the artifacts.
        code: parts of the configuration -> hash of the code that makes a file with them and measures it.
        folder: where results are kept.
    """

    chain: Chain
    files: Files
    shared: dict[str, Any]
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
        self.manner = {"repeats": repeats, "target": world.target}
        self._networks: dict[tuple[float, float], nn.Module] = {}
        self._made: dict[str, dict[str, Any]] = {}  # name of a folder -> what it follows from, but for the settings

    def run(self, wanted: Sequence[Candidate]) -> list[Result]:
        """The original first, then every candidate; one that cannot be made or measured says why, and the others go on.

        Raises:
            PersonError: the original itself cannot be measured.
        """
        world = self.world
        place = self._place({"original": True, **world.shared})
        if not (place / FILE).is_file():
            with self._fresh(place) as partial:
                world.files.whole(world.chain.trained, partial)
        with Stand(place / FILE, world.validation, target=world.target, repeats=self.repeats) as stand:
            original = self._original(place, stand)
            results = [self._judged(None, original, original)]
            for number, candidate in enumerate(wanted, start=1):
                results.append(self._result(candidate, stand, original))
                self.say(f"  {number} of {len(wanted)}  {candidate.name}: {told(results[-1])}")
        self._tidy()
        return results

    def _original(self, place: Path, stand: Stand) -> Found:
        try:
            found = self._measured(place, stand)
        except Ended as error:
            raise PersonError(f"the trained network's file cannot be measured: {error}") from error
        if not np.isfinite(found[1]).all():
            raise PersonError("the trained network predicts values that are not finite: there is nothing to compare with")
        return found

    def _result(self, candidate: Candidate, stand: Stand, original: Found) -> Result:
        try:
            return self._judged(candidate, self._found(candidate, stand), original)
        except PersonError as error:
            return Result(candidate, why=" ".join(str(error).split()))
        except Exception as error:  # noqa: BLE001 - of torch, ONNX, its runtime, a detector or the machine; the others go on
            return Result(candidate, why=f"failed: {' '.join(str(error).split())[:300] or type(error).__name__}")

    def _found(self, candidate: Candidate, stand: Stand) -> Found:
        cfg = self.world.settings(candidate)
        place = self._place({key: cfg[key] for key in SETTINGS})
        if not (place / FILE).is_file():
            compressor = build(cfg["compressor"])
            network = self._network(candidate, cfg)
            if hasattr(compressor, "simulate"):
                network = self.world.chain.aware(network, compressor)
            calibration = self.world.validation.spread(int(cfg["compress"]["calibration"]), int(cfg["seed"]), "calibration")
            with self._fresh(place) as partial:
                compressed(network, self.world.files, compressor, calibration, out=partial)
        return self._measured(place, stand)

    def _measured(self, place: Path, stand: Stand) -> Found:
        return kept(place, self.manner) or _keep(place, stand.measure(place / FILE), self.manner)

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
        parts = {**{key: facts[key] for key in PARTS if key in facts}, "target": self.world.target}
        made = {"identity": self.world.identity, "code": self.world.code(parts), "parts": parts}
        text = json.dumps([made["identity"], made["code"], facts], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._made[name] = made
        return self.world.folder / name

    @contextmanager
    def _fresh(self, final: Path) -> Iterator[Path]:
        """A folder that takes its name once all is written."""
        partial = final.with_name(f"{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        write_json(partial / MADE, self._made[final.name])
        shutil.rmtree(final, ignore_errors=True)  # whose file is not there
        partial.replace(final)

    def _tidy(self) -> None:
        """Remove what was made from other artifacts or with other code, or half made before a kill."""
        for path in self.world.folder.iterdir():
            if PLACE.fullmatch(path.name) and path.is_dir() and self._is_stale(path):
                shutil.rmtree(path, ignore_errors=True)

    def _is_stale(self, path: Path) -> bool:
        if not (path / MADE).is_file():
            return True
        made = read_json(path / MADE)
        return bool(made["identity"] != self.world.identity or made["code"] != self.world.code(made["parts"]))


def kept(place: Path, manner: dict[str, Any]) -> Found | None:
    """What was measured in this manner before; None where that is not whole."""
    if not all((place / name).is_file() for name in (FILE, ANSWERS, MEASURED)):
        return None
    facts = read_json(place / MEASURED)
    if facts.get("manner") != manner:
        return None
    at = {int(size): At(**{**entry, "faster": tuple(entry["faster"])}) for size, entry in facts["at"].items()}
    return Measured(facts["size"], at), np.load(place / ANSWERS)


def _keep(place: Path, found: Found, manner: dict[str, Any]) -> Found:
    (place / MEASURED).unlink(missing_ok=True)  # it tells of other answers
    np.save(place / ANSWERS, found[1])
    partial = place / f"{MEASURED}.part"
    write_json(partial, {**asdict(found[0]), "manner": manner})
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
