"""What is proven of the trained, the exported and the compressed model, and which attacks carry over from one to the others.

N samples, C channels, H height, W width, R radii, K columns of a decoded prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.adversarial.ball import eight_bit
from pipeline.adversarial.victim import Victim
from pipeline.attack.pgd import Pgd
from pipeline.core.artifact import read_json, sha256
from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Section, write_section
from pipeline.evaluation.shares import share
from pipeline.training.predict import BATCH, GRADIENT_BATCH, to_batch
from pipeline.training.saved_model import CONFIG, WEIGHTS, load_model
from pipeline.training.subset import Subset, read_subset
from pipeline.verification.certificate_page import Counts, Verdict, publish, publish_nothing, section
from pipeline.verification.certificates import Artifact, Findings, enforce, enforce_bounds
from pipeline.verification.graph import Graph, Unboundable
from pipeline.verification.onnx_reader import read_onnx
from pipeline.verification.proving import check_radii, prove
from pipeline.verification.statement import Statement
from pipeline.verification.tracing import from_module
from pipeline.verification.transfer import LINF, Look, Raid, carry_over, least_seen, read_raids, violations

PIXEL = 1e-6  # of a pixel in [0, 1]: what float32 may add to a radius, so that the bounds hold for attacked images too
DECODING = 1e-3  # of 1 + |margin|: what float32 may do to a margin that is read off decoded predictions
REACH = 2.5  # Madry et al. 2018: steps of PGD together, in radii
Verifiers = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """The samples that are certified.

    Attributes:
        task: of the model.
        model: the trained one.
        subset: of the test split.
        x_NCHW: their images in [0, 1].
        radii: rising, pixels in [0, 1].
        tolerance: of a value, as a share of the target's range.
    """

    task: Any
    model: nn.Module
    subset: Subset
    x_NCHW: Tensor
    radii: list[float]
    tolerance: float

    def claim(self, subset: Subset) -> Statement:
        """What must hold of the answers to these samples."""
        return Statement(self.task, subset.truth, tolerance=self.tolerance)


def run(
    cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path, robustness: Path, compress: Path, export: Path
) -> str:
    """Attack, bound, compare; write `certificates.json`, `metrics.json`, `transfer.csv`, the curve and the section.

    Raises:
        PersonError: no test sample, or a radius outside the range of the pixels.
        RuntimeError: a sample is both verified and violated, or an artifact answers what its bounds exclude.
    """
    verifiers: Verifiers = {name: build(node) for name, node in (cfg["verifier"] or {}).items() if not is_off(node)}
    if not verifiers:
        publish_nothing(out)
        return write_section(out, Section("Verification", "nothing is proven (verifier: none)"))
    options = cfg["certify"]
    radii = check_radii(options["radii"])
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    test = read_subset(task, ingest, split, ["test"])
    if not len(test):
        raise PersonError("the test split is empty: set a larger test share")
    ids, raids = read_raids(robustness / "adversarial.npz")
    subset = _chosen(test, ids, int(options["count"]), int(cfg["seed"]))
    model = load_model(train).requires_grad_(requires_grad=False)
    case = Case(task, model, subset, to_batch(list(subset.pixels())), radii, float(options["tolerance"]))
    artifacts = [_trained(case, train), *_shipped(cfg["exporter"], {"exported": export, "compressed": compress})]
    raids += _search(case, steps=int(options["steps"]), number=int(cfg["seed"]))
    looks = carry_over(raids, artifacts, lambda some: case.claim(_of(test, some)))
    coverage = float(cfg["intervals"]["coverage"])
    verdicts = [_verdict(case, one, verifiers, looks, coverage=coverage) for one in artifacts]
    counts, claim = Counts(len(subset), len(set(ids) & set(subset.ids)), len(test)), case.claim(subset).text()
    publish(verdicts, looks, out, ids=subset.ids, radii=radii, claim=claim, methods=list(verifiers))
    return write_section(out, section(verdicts, looks, counts=counts, radii=radii, claim=claim))


def _chosen(test: Subset, ids: Sequence[str], count: int, number: int) -> Subset:
    """Samples to certify: of those that robustness attacked, and others where these are too few; in proportions of the truth."""
    attacked = _of(test, ids)
    if count <= len(attacked) or len(attacked) == len(test):
        return attacked.spread(count, number, "certify")
    known = set(ids)
    rest = test.take(np.asarray([row for row, identity in enumerate(test.ids) if identity not in known], dtype=np.int64))
    return _of(test, [*ids, *rest.spread(count - len(attacked), number, "certify").ids])


def _of(subset: Subset, ids: Sequence[str]) -> Subset:
    """The samples of these ids, in their order."""
    place = {identity: row for row, identity in enumerate(subset.ids)}
    missing = [identity for identity in ids if identity not in place]
    if missing:
        raise PersonError(f"robustness attacked {missing[0]}, which is not in the test split: run  dvc repro robustness")
    return subset.take(np.asarray([place[identity] for identity in ids], dtype=np.int64))


def _trained(case: Case, train: Path) -> Artifact:
    def answer(x_NCHW: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [case.task.decode(case.model(x_BCHW)).float().numpy() for x_BCHW in torch.split(x_NCHW, BATCH)]
        return np.concatenate(parts)

    files = {f"{train.name}/{name}": sha256(train / name) for name in (CONFIG, WEIGHTS)}
    network = case.claim(case.subset).network(case.model)
    example_BCHW = torch.rand((2, *case.x_NCHW.shape[1:]), generator=torch.Generator().manual_seed(0))
    graph, reason = _graph(lambda: from_module(network, example_BCHW))
    return Artifact("trained", files, answer, graph, reason, whole_levels=False)


def _shipped(exporter: Any, folders: dict[str, Path]) -> list[Artifact]:
    """The files that are shipped; one that was not made is left out."""
    return [_file(name, build(exporter), folder / "model.onnx") for name, folder in folders.items() if _made(exporter, folder)]


def _made(exporter: Any, folder: Path) -> bool:
    return not is_off(exporter) and (folder / "model.onnx").is_file() and (folder / "model.onnx").stat().st_size > 0


def _file(name: str, exporter: Any, path: Path) -> Artifact:
    run_file = exporter.load(path)

    def answer(x_NCHW: Tensor) -> NDArray[np.float32]:
        levels_NHWC = torch.round(255 * x_NCHW).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return np.concatenate([run_file(levels_BHWC.numpy()) for levels_BHWC in torch.split(levels_NHWC, BATCH)])

    graph, reason = _graph(lambda: read_onnx(path))
    return Artifact(name, {f"{path.parent.name}/{path.name}": sha256(path)}, answer, graph, reason, whole_levels=True)


def _graph(read: Callable[[], Graph]) -> tuple[Graph | None, str]:
    """A graph, or why there is none."""
    try:
        return read(), ""
    except Unboundable as error:
        return None, str(error)


def _search(case: Case, *, steps: int, number: int) -> list[Raid]:
    """Look for a counterexample to each claim at each radius by PGD on the trained network; one that was found is kept."""
    found_NCHW, claim, ids = case.x_NCHW.clone(), case.claim(case.subset), tuple(case.subset.ids)
    truth_N = torch.as_tensor(case.subset.truth)
    fooled_N = np.zeros(len(ids), dtype=bool)
    raids = []
    for place, eps in track(list(enumerate(case.radii)), what="attacks", total=len(case.radii)):
        attack = Pgd(eps=eps, steps=steps, rel_step=min(2.0, REACH / steps))
        for rows in (part for part in torch.split(torch.from_numpy(np.flatnonzero(~fooled_N)), GRADIENT_BATCH) if len(part)):
            rng = torch.Generator().manual_seed(seed(number, "certify", place, int(rows[0])))
            found_NCHW[rows] = attack(Victim(case.model, case.task, truth_N[rows]), case.x_NCHW[rows], rng)
            with torch.no_grad():
                answer_BK = case.task.decode(case.model(found_NCHW[rows])).float().numpy()
            fooled_N[rows.numpy()] = ~claim.rows(rows.numpy()).holds(answer_BK)
        levels_NCHW = eight_bit(found_NCHW, case.x_NCHW, eps, LINF)
        raids.append(Raid("search", LINF, eps, ids, levels_NCHW, found_NCHW.clone()))
    return raids


def _verdict(case: Case, artifact: Artifact, verifiers: Verifiers, looks: list[Look], *, coverage: float) -> Verdict:
    """Bound every sample that is right, and hold the laws."""
    ids, claim = case.subset.ids, case.claim(case.subset)
    clean_NK = artifact.answer(case.x_NCHW)
    right_N, violated_NR = claim.holds(clean_NK), violations(looks, artifact.name, ids, case.radii)
    shape, reason = violated_NR.shape, artifact.reason
    findings = Findings(right_N, violated_NR, np.full(shape, np.nan), np.full(shape, "", dtype="<U1"), reason)
    if artifact.graph is not None:
        radii = [min(1.0, _reach(eps, artifact) + PIXEL) for eps in case.radii]
        open_NR = np.repeat(right_N[:, None], len(radii), axis=1)  # also what an attack broke: no bound may say otherwise
        proof = prove(verifiers, artifact.graph, claim, case.x_NCHW, radii=radii, open_NR=open_NR)
        findings = Findings(right_N, violated_NR, proof.least_NR, proof.method_NR, proof.reason)
    enforce(findings, ids, case.radii, who=artifact.name)
    seen_NR = np.fmin(least_seen(looks, artifact.name, ids, case.radii), claim.margins(clean_NK)[:, None])
    enforce_bounds(findings.least_NR, seen_NR, who=artifact.name, slack=DECODING)
    names = ["clean", *(f"{kind}_{place}" for kind in ("attacked", "certified") for place in range(len(case.radii)))]
    columns = zip(names, findings.shares.T, strict=True)
    intervals = {name: share(hit_N, case.subset.groups, coverage=coverage) for name, hit_N in columns}
    return Verdict(artifact, findings, intervals)


def _reach(eps: float, artifact: Artifact) -> float:
    """How far a pixel of an artifact's own inputs may move: of one that takes whole grey levels, a whole number of them."""
    return float(np.floor(255 * eps + 1e-4)) / 255 if artifact.whole_levels else eps
