"""Open a folder that ships a model, once it is proven whole.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import MANIFEST, MEASURED, damaged, read_json, sha256
from pipeline.core.contracts import Loaded
from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import build, check_arguments
from pipeline.core.parts import targets as named_targets
from pipeline.core.record import Pixels
from pipeline.images.decode import Decoder
from pipeline.shipping.bill import BILL, listed_files
from pipeline.shipping.signing import check_signature

MODEL, TARGETS = "model.json", "targets.json"
PAGE = "pipeline.target.web"
OWN = Path("data/ship")  # what this project published itself


@dataclass(frozen=True)
class Answer:
    """What the model says of one image.

    Attributes:
        label: the most likely class, or "" where a value is predicted.
        probability: of that class, or None.
        columns: every column of the decoded prediction.
        unknown: whether the detector takes the image for unlike the training data; None where no detector travels.
        score: of that detector.
    """

    label: str
    probability: float | None
    columns: dict[str, float]
    unknown: bool | None = None
    score: float | None = None

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        said: dict[str, Any] = {"prediction": self.columns}
        if self.label:
            said |= {"label": self.label, "probability": self.probability}
        if self.unknown is not None:
            said |= {"unknown": self.unknown, "unknown_score": self.score}
        return said


@dataclass
class Shipped:
    """A model that is open in its runtime.

    Attributes:
        folder: where it lies.
        target: which of its targets is open.
        digest: SHA-256 of the target's main file.
        facts: `model.json`.
        loaded: the open file.
        largest: images that one call takes; None for any number.
    """

    folder: Path
    target: str
    digest: str
    facts: Mapping[str, Any]
    loaded: Loaded
    largest: int | None
    labels: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def decoder(self) -> dict[str, Any]:
        """Arguments of `pipeline.images.decode.Decoder`: images are read as ingest read them."""
        return dict(self.facts["decoder"])

    def answer(self, pixels_BHWC: Pixels) -> list[Answer]:
        """One answer an image, in order."""
        size = self.largest or len(pixels_BHWC)
        found: list[Answer] = []
        for start in range(0, len(pixels_BHWC), size):
            found += self._read(self.loaded.answers(pixels_BHWC[start : start + size]))
        return found

    def close(self) -> None:
        """End what the runtime has started, such as a browser; most have nothing to end."""
        getattr(self.loaded, "close", lambda: None)()

    def _read(self, outputs: Mapping[str, NDArray[Any]]) -> list[Answer]:
        prediction_BK = np.asarray(outputs["prediction"], dtype=np.float64)
        known = "unknown" in outputs
        said = []
        for row, values_K in enumerate(prediction_BK):
            best = int(values_K.argmax())
            classes = len(self.labels) == len(values_K)
            said.append(Answer(
                self.labels[best] if classes else "", float(values_K[best]) if classes else None,
                dict(zip(self.columns, map(float, values_K), strict=True)),
                bool(np.asarray(outputs["unknown"]).reshape(-1)[row]) if known else None,
                float(np.asarray(outputs["unknown_score"]).reshape(-1)[row]) if known else None,
            ))  # fmt: skip
        return said


def check_whole(folder: Path, key: Path | None = None, *, unsigned: bool = False) -> None:
    """Prove that every file of a shipped folder is the one that was published, and signed where it was.

    Args:
        folder: `data/ship`, or what `python -m pipeline release` wrote.
        key: public key of whoever signed it.
        unsigned: take a signed folder without a key.

    Raises:
        PersonError: a file is missing, changed or not listed, the bill of materials names other bytes, or the signature is not
            that of the key.
    """
    if not (folder / MANIFEST).is_file():
        raise PersonError(f"{folder} ships no model (no {MANIFEST}): run  dvc repro ship  or name a folder with  --model")
    try:
        wrong = [name for name in damaged(folder) if name not in {MEASURED, "model.sig"}]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PersonError(f"{folder / MANIFEST} cannot be read: fetch the folder again") from error
    if wrong:
        raise PersonError(f"{folder}: {', '.join(wrong[:5])} is not what was published: nothing of it is used; fetch it again")
    bill = folder / BILL
    if bill.is_file():
        try:
            listed = listed_files(read_json(bill))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PersonError(f"{bill} is no bill of materials: fetch the folder again") from error
        other = [name for name, digest in listed.items() if not (folder / name).is_file() or sha256(folder / name) != digest]
        if other:
            raise PersonError(f"{bill} names other bytes than those of {other[0]}: nothing of the folder is used")
    check_signature(folder, key, unsigned=unsigned)


def _inside(folder: Path, target: str, name: str) -> Path:
    """A file of a target's folder.

    Raises:
        PersonError: the names lead elsewhere.
    """
    path = folder / target / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PersonError(f"{folder / TARGETS} names {path}, which lies elsewhere: nothing of the folder is used")
    return path


def target_part(name: str, node: object) -> Any:
    """Build what a folder says one of its targets is made by; nothing but a target is built.

    Args:
        name: of the target.
        node: its `_target_` and arguments, out of `targets.json`.

    Raises:
        PersonError: it names a class that is no target, or has arguments that the class does not take.
    """
    named = node.get("_target_") if isinstance(node, dict) else None
    inner = list(named_targets(node))
    if not isinstance(node, dict) or not isinstance(named, str) or not named.startswith("pipeline.target.") or inner != [named]:
        raise PersonError(f"the target {name} is made by {inner or node!r}, not by one class of pipeline.target")
    check_arguments(f"target.{name}", node)
    module, _, kind = named.rpartition(".")
    if not hasattr(getattr(import_module(module), kind), "runs_code"):
        raise PersonError(f"the target {name} is made by {named}, which is no target")
    return build(node)


@contextmanager
def _understood(folder: Path) -> Iterator[None]:
    """One line of whatever is wrong with the words of a folder, for its author may be a stranger."""
    try:
        yield
    except PersonError as error:
        unused = "nothing of the folder is used"
        raise PersonError(str(error) if unused in str(error) else f"{folder / TARGETS}: {error}: {unused}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{TARGETS} or {MODEL} is not what ship writes ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
        raise PersonError(f"{folder}: {why}: nothing of the folder is used") from error


def measured(folder: Path) -> dict[str, Any]:
    """What was measured where the folder was made; {} without. It is not proven, so it decides nothing but speed."""
    try:
        found = read_json(folder / MEASURED)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _offered(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of every target that ran and is there: its file, precision and part; and what the model is."""
    offered: dict[str, Any] = {}
    with _understood(folder):
        for name, entry in read_json(folder / TARGETS).items():
            path = _inside(folder, name, entry["file"]) if entry["file"] else None
            if entry["agreement"] is not None and path is not None and path.is_file():
                offered[name] = {"path": path, "precision": entry["precision"], "part": target_part(name, entry["target"])}
                offered[name]["facts"] = {key: entry[key] for key in ("unknown",) if key in entry}
        facts = read_json(folder / MODEL)
        if not isinstance(facts["labels"], list) or not isinstance(facts["output"]["columns"], list):
            raise TypeError("labels and output.columns must be lists")
        Decoder(**facts["decoder"])
    return offered, facts


def _chosen(folder: Path, offered: Mapping[str, Any], target: str) -> str:
    """The target that is opened; see `open_shipped`."""
    if not offered:
        raise PersonError(f"{folder} has no target that runs: choose some with  target=[onnx]  and run  dvc repro ship")
    if target and target not in offered:
        raise PersonError(f"there is no target {target!r} in {folder}: {near_match(target, offered)}")
    plain = [name for name, entry in offered.items() if not entry["part"].runs_code]
    if not target and not plain:
        raise PersonError(f"{folder} has only targets whose opening runs code ({', '.join(offered)}): name one with  --target")
    first = next((name for name in plain if offered[name]["precision"] == "fp32"), plain[0] if plain else "")
    ships = measured(folder).get("ships")
    return target or (str(ships) if ships in plain else first)


def open_shipped(
    folder: Path, *, target: str = "", key: Path | None = None, unsigned: bool = False, threads: bool = False
) -> Shipped:  # fmt: skip
    """Open the model of a folder.

    Args:
        folder: `data/ship`, or what `python -m pipeline release` wrote.
        target: which one; without, the fastest that passed on the machine that made it, or else the first in fp32. One whose
            opening runs code (C, torch.export, the web page) is never taken unasked.
        key: public key of whoever signed it.
        unsigned: take a signed folder without a key.
        threads: whether another thread than this one will ask it, which a browser does not take.

    Raises:
        PersonError: it is not whole, says what `ship` would not, has no such target (the message names what it has), to open it
            is to run code of somebody unknown, or it is a web page and other threads will ask it.
    """
    check_whole(folder, key, unsigned=unsigned)
    offered, facts = _offered(folder)
    chosen = _chosen(folder, offered, target)
    path, part = offered[chosen]["path"], offered[chosen]["part"]
    if part.runs_code and key is None and folder.resolve() != OWN.resolve():
        raise PersonError(
            f"to open the target {chosen} of {folder} is to run code of whoever made it: give their key with  --public-key , or "
            "choose another target"
        )
    if threads and type(part).__module__ == PAGE:
        served = f"python -m http.server -d {path.parent}"
        raise PersonError(f"the page answers in a browser: serve its folder with  {served} , or choose another  --target")
    facts = {**facts, **offered[chosen]["facts"]}
    return Shipped(
        folder, chosen, sha256(path), facts, part.load(path), part.largest_batch, labels=[str(name) for name in facts["labels"]],
        columns=[str(name) for name in facts["output"]["columns"]],
    )  # fmt: skip
