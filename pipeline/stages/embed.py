"""Features of a frozen network for every sample, computed once, in a matrix that numpy maps."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifact import write_json
from pipeline.core.contracts import Embedder
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Section, Table, write_section
from pipeline.core.store import Samples, open_samples


def run(cfg: dict[str, Any], out: Path, *, ingest: Path) -> str:
    """Publish `features.npy` (N x D), `ids.txt` (its rows) and `embedder.json`.

    Args:
        cfg: `embedder`, `embed` and `threads`.
        out: where to write.
        ingest: the samples.

    Raises:
        PersonError: a feature is not finite.
    """
    if is_off(cfg["embedder"]):
        np.save(out / "features.npy", np.zeros((0, 0), np.float32))
        (out / "ids.txt").write_text("", encoding="utf-8")
        write_json(out / "embedder.json", {"name": "none"})
        return write_section(out, Section(title="Features", summary="no features (embedder=none)"))
    embedder: Embedder = build(cfg["embedder"])
    samples = open_samples(ingest)
    width = _write(out / "features.npy", embedder, samples, batch_size=cfg["embed"]["batch_size"])
    (out / "ids.txt").write_text("".join(f"{identity}\n" for identity in samples.ids), encoding="utf-8")
    facts = embedder.describe()
    write_json(out / "embedder.json", facts)
    text = [f"{facts['name']}, {facts['source']}" + (f", licence {facts['license']}." if facts["license"] else ".")]
    rows = [[block["from"], block["pool"], block["count"]] for block in facts["features"]]
    return write_section(out, Section(
        title="Features",
        summary=f"{width:,} features of {facts['name']} for each of {len(samples):,} samples",
        text=text,
        tables=[Table("Where the features come from", ["layer", "pooled by", "features"], rows)] if rows else [],
    ))  # fmt: skip


def _write(path: Path, embedder: Embedder, samples: Samples, *, batch_size: int) -> int:
    """Write the matrix batch by batch; return D."""
    matrix: np.memmap[Any, np.dtype[np.float32]] | None = None
    starts = range(0, len(samples), batch_size)
    for start in track(starts, what="embed", total=len(starts)):
        places = range(start, min(start + batch_size, len(samples)))
        found = embedder.features(np.stack([samples.pixels(place) for place in places]))
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise PersonError(
                f"the features of {samples.columns['name'][places[int(bad[0])]]} are not finite: "
                f"check the embedder's weights, or leave the sample out"
            )
        if matrix is None:
            shape = (len(samples), found.shape[1])
            matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        matrix[start : start + len(found)] = found
    if matrix is None:
        raise PersonError("there is no sample to compute features of")
    matrix.flush()
    return int(matrix.shape[1])
