"""Answer files, folders, archives, videos, a camera or a stream with the model that ships: a table, pictures, and the time."""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.command.serve import add_model, set_threads
from pipeline.core.errors import PersonError
from pipeline.core.progress import track
from pipeline.core.table import write_csv

EXAMPLES = """
examples:
  python -m pipeline predict ~/new_photos                       predictions.csv of a folder
  python -m pipeline predict cell.png batch.zip line.mp4 --every 10 --pictures seen
  python -m pipeline predict camera:0 --most 100 --budget-ms 50
  python -m pipeline predict http://127.0.0.1:8080/line.mjpg --seconds 60     a stream (HTTP or RTSP), for a minute
  python -m pipeline predict ~/new_photos --target openvino --model cells-1.0 --public-key maker.pub
exit code: 0 every image was answered, 1 nothing could be, 3 some were left out (they are listed), 4 the time budget was missed
"""
SHOWN = 8  # left-out files that are named on the terminal


def main(argv: Sequence[str]) -> int:
    """Write the table; see the exit codes in the help.

    Raises:
        PersonError: no model, nothing to answer, or a wrong option.
    """
    asked = _arguments(argv)
    from pipeline.serving.inputs import Inputs
    from pipeline.serving.predicting import Tally, predictions
    from pipeline.shipping.shipped import open_shipped

    set_threads(asked.threads)
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    shipped = open_shipped(asked.model, target=asked.target, key=asked.public_key, unsigned=asked.unsigned)
    pool = {"seconds": asked.decode_seconds, "memory_mb": asked.decode_mb, "workers": asked.workers}
    tally = Tally()
    with (
        closing(shipped),
        tempfile.TemporaryDirectory(prefix="predict-") as scratch,
        Inputs(asked.paths, Path(scratch), every=asked.every, most=asked.most) as inputs,
    ):
        shown = track(inputs, what="predict", total=inputs.total()) if inputs.total() else inputs
        answers = predictions(shipped, shown, tally, batch=asked.batch, pool=pool, pictures=asked.pictures)
        rows = _rows(answers, tally, asked.seconds)
    columns = ["name", "label", "probability", *shipped.columns, "unknown", "unknown_score", "ms"]
    write_csv(asked.out, columns, rows)
    return _tell(asked, tally, f"target {shipped.target}, SHA-256 {shipped.digest[:12]}", missed=inputs.missed)


def _rows(answers: Any, tally: Any, seconds: float | None) -> list[list[Any]]:
    """One of each answer; of a camera, until the time is over or somebody presses Ctrl-C."""
    rows: list[list[Any]] = []
    until = math.inf if seconds is None else time.monotonic() + seconds
    try:
        for one, answer, spent in answers:
            unknown = ["", ""] if answer.unknown is None else [int(answer.unknown), answer.score]
            probability = "" if answer.probability is None else answer.probability
            rows.append([one.name, answer.label, probability, *answer.columns.values(), *unknown, round(1000 * spent, 3)])
            if time.monotonic() >= until:
                break
    except KeyboardInterrupt:
        if not tally.ages:
            raise
    return rows


def _tell(asked: argparse.Namespace, tally: Any, model: str, *, missed: int) -> int:
    """Say what was done; the exit code."""
    budget = _budget(asked)
    pictures = f"; pictures in {asked.pictures}" if asked.pictures else ""
    print(f"{tally.answered} images answered by {model}: {asked.out}{pictures}")
    if tally.unknown:
        print(f"  {tally.unknown} of them are unlike the training data (column unknown)")
    for name, why in tally.left_out[:SHOWN]:
        print(f"  left out: {name}: {why}", file=sys.stderr)
    if len(tally.left_out) > SHOWN:
        print(f"  left out: {len(tally.left_out) - SHOWN} more", file=sys.stderr)
    late = False
    if tally.seconds:
        half, slow = tally.percentile(0.5), tally.percentile(0.99)
        held = tally.age(0.99) if tally.ages else slow
        late = budget is not None and held > budget
        kept = "" if budget is None else f"; budget {budget:g} ms: {'MISSED' if late else 'kept'} by the 99th percentile"
        print(f"  model time of an image: median {half:.2f} ms, 99th percentile {slow:.2f} ms{'' if tally.ages else kept}")
        if tally.ages:
            half = tally.age(0.5)
            print(f"  from the arrival of a frame to its answer: median {half:.2f} ms, 99th percentile {held:.2f} ms{kept}")
            print(f"  {missed} frames came while the model was busy and were left out for newer ones")
    if not tally.answered:
        return 1
    return 3 if tally.left_out else 4 if late else 0


def _budget(asked: argparse.Namespace) -> float | None:
    """Of the command line, or of the run that made the model (`ship.budget_ms`)."""
    from pipeline.shipping.shipped import measured

    if asked.budget_ms is not None:
        return float(asked.budget_ms)
    found = measured(asked.model).get("budget_ms")
    return float(found) if isinstance(found, int | float) else None


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline predict", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="file, folder, archive, video, camera:NUMBER, or a stream: rtsp://, http://")
    add_model(parser)
    add("--out", type=Path, default=Path("predictions.csv"), metavar="FILE", help="the table (predictions.csv)")
    add("--pictures", type=Path, metavar="FOLDER", help="also the images with what was said of them")
    add("--batch", type=int, default=1, help="images in one call (1)")
    add("--every", type=int, default=1, help="take each so-many-th frame of a video or camera (1)")
    add("--most", type=int, default=0, help="images in all (0: every one)")
    add("--seconds", type=float, help="stop after as many (a camera has no end)")
    add(
        "--budget-ms",
        type=float,
        help="time that an image may take, at the 99th percentile (ship.budget_ms); of a camera or "
        "stream, from the arrival of a frame to its answer",
    )
    add("--decode-seconds", type=float, default=10.0, help="CPU seconds that decoding one file may take (10)")
    add("--decode-mb", type=int, default=1024, help="MB that decoding may take (1024)")
    add("--workers", type=int, default=1, help="processes that decode (1)")
    add("--threads", type=int, help="of the runtime (OMP_NUM_THREADS, or 1)")
    asked = parser.parse_args(argv)
    if asked.batch < 1 or asked.every < 1 or asked.most < 0:
        raise PersonError(
            f"--batch and --every must be at least 1, --most not negative: received {asked.batch}, {asked.every}, {asked.most}"
        )
    return asked
