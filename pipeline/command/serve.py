"""Answer over HTTP with the model that ships, within limits on every request."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import PersonError

EXAMPLES = """
examples:
  python -m pipeline serve                                     data/ship on http://127.0.0.1:8000
  curl --data-binary @cell.png -H 'Content-Type: image/png' http://127.0.0.1:8000/predict
  python -m pipeline serve --model release --public-key maker.pub --host 0.0.0.0 --port 80
  python -m pipeline serve --target openvino                   another of its targets
routes: POST /predict   GET /model /health /metrics /docs (OpenAPI)
"""


def main(argv: Sequence[str]) -> int:
    """Serve until it is interrupted.

    Raises:
        PersonError: a folder that is not whole, a missing package, a wrong option, a web page as target, or a port that is taken.
    """
    asked = _arguments(argv)
    try:
        import uvicorn

        from pipeline.serving.app import Limits, make_app
        from pipeline.serving.batcher import Batcher
        from pipeline.serving.patience import patient
    except ImportError as error:
        raise PersonError(f"serving needs packages ({error.name} is missing): pip install -e '.[serve]'") from error
    from pipeline.shipping.shipped import open_shipped

    set_threads(asked.threads)
    shipped = open_shipped(asked.model, target=asked.target, key=asked.public_key, unsigned=asked.unsigned, threads=True)
    batcher = Batcher(
        shipped, largest=asked.batch, wait=asked.wait_ms / 1000, waiting=asked.waiting,
        pool={"seconds": asked.decode_seconds, "memory_mb": asked.decode_mb, "workers": asked.workers},
    )  # fmt: skip
    limits = Limits(**{name: getattr(asked, name) for name in ("body_mb", "held_mb", "body_seconds", "answer_seconds", "client")})
    print(f"{shipped.folder}: target {shipped.target}, SHA-256 {shipped.digest}")
    print(f"http://{asked.host}:{asked.port}/docs", flush=True)
    config = uvicorn.Config(
        make_app(shipped, batcher, limits), host=asked.host, port=asked.port, log_level="warning", access_log=False,
        limit_concurrency=asked.connections, timeout_keep_alive=5, h11_max_incomplete_event_size=16384, server_header=False,
        http=patient(asked.body_seconds),
    )  # fmt: skip
    server = uvicorn.Server(config)
    try:
        server.run()
    except (SystemExit, OverflowError, UnicodeError) as error:  # uvicorn exits where a port is taken
        if server.started or server.lifespan.should_exit:  # the latter: the application itself did not start, and has said why
            raise
        raise PersonError(f"port {asked.port} of {asked.host} cannot be opened: choose another with  --port") from error
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline serve", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add_model(parser)
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    add("--port", type=int, default=8000, help="(8000)")
    add("--batch", type=int, default=16, help="images in one call of the model (16)")
    add("--wait-ms", type=float, default=2.0, help="that the first image of a batch waits for others (2)")
    add("--waiting", type=int, default=128, help="images that may wait; one more is answered 503 (128)")
    add("--connections", type=int, default=256, help="at once; one more is answered 503 (256)")
    add("--client", type=int, default=16, help="requests of one address at once; one more is answered 503 (16)")
    add("--body-mb", type=float, default=8.0, help="of one request (8)")
    add("--held-mb", type=float, default=64.0, help="of all requests that are in memory (64)")
    add("--body-seconds", type=float, default=10.0, help="until the head of a request is whole, and again until its body is (10)")
    add("--answer-seconds", type=float, default=30.0, help="until there is an answer (30)")
    add("--decode-seconds", type=float, default=2.0, help="CPU seconds that decoding one file may take (2)")
    add("--decode-mb", type=int, default=512, help="MB that decoding may take (512)")
    add("--workers", type=int, default=1, help="processes that decode (1)")
    add("--threads", type=int, help="of the runtime (OMP_NUM_THREADS, or 1)")
    asked = parser.parse_args(argv)
    for name in ("batch", "waiting", "connections", "client", "body_mb", "held_mb", "body_seconds", "answer_seconds",
                 "decode_seconds", "decode_mb", "workers", "threads"):  # fmt: skip
        value = getattr(asked, name)
        if value is not None and value <= 0:
            raise PersonError(f"--{name.replace('_', '-')} must be above 0: received {value}")
    return asked


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options that name a shipped model."""
    add = parser.add_argument
    add("--model", type=Path, default=Path("data/ship"), metavar="FOLDER", help="that ships it (data/ship)")
    add("--target", default="", help="which of its targets (the fastest that passed where it was made)")
    add("--public-key", type=Path, metavar="FILE", help="of whoever signed the folder")
    add("--unsigned", action="store_true", help="take a signed folder without a key")


def set_threads(asked: int | None) -> None:
    """Tell the runtimes, before they are loaded, how many threads they may take: what is asked, or the environment says, or 1.

    Raises:
        PersonError: fewer than one.
    """
    if asked is None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    elif asked < 1:
        raise PersonError(f"--threads must be above 0: received {asked}")
    else:
        os.environ["OMP_NUM_THREADS"] = str(asked)
