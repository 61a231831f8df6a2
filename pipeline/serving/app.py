"""The HTTP service: an image in the body, its prediction out. Everything that comes from outside has a limit."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from pipeline.images.decoding import Refused
from pipeline.serving.batcher import Batcher
from pipeline.shipping.shipped import Shipped

IMAGES = ("image/", "application/octet-stream")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Limits:
    """What one request and all together may take.

    Attributes:
        body_mb: MB of one body.
        held_mb: MB of all bodies that are being read or wait.
        body_seconds: until the body is whole.
        answer_seconds: until there is an answer.
        images: in one JSON request.
        client: requests of one address at once.
    """

    body_mb: float = 8.0
    held_mb: float = 64.0
    body_seconds: float = 10.0
    answer_seconds: float = 30.0
    images: int = 16
    client: int = 16


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """An answer that is no prediction: its HTTP status, and one line that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Metrics:
    """What Prometheus reads."""

    def __init__(self, batcher: Batcher, shipped: Shipped) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("pipeline_requests_total", "Requests by answer.", ["status"], **made)
        self.unknown = Counter("pipeline_unknown_total", "Images unlike the training data.", **made)
        self.labels = Counter("pipeline_predictions_total", "Predictions by class.", ["label"], **made)
        self.seconds = Histogram("pipeline_request_seconds", "Seconds until a prediction.", buckets=BUCKETS, **made)
        Gauge("pipeline_waiting", "Images that wait for the model.", **made).set_function(lambda: batcher.depth)
        Gauge("pipeline_images_total", "Images answered.", **made).set_function(lambda: batcher.counts.images)
        Gauge("pipeline_batches_total", "Calls of the model.", **made).set_function(lambda: batcher.counts.batches)
        Gauge("pipeline_model", "The open file.", ["sha256", "target"], **made).labels(shipped.digest, shipped.target).set(1)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return bytes(generate_latest(self.registry))


class Held:
    """Bytes of all bodies that are in memory, and requests of each address."""

    def __init__(self, limits: Limits) -> None:
        self.most, self.now = limits.held_mb * 1e6, 0
        self.client = limits.client
        self.clients: dict[str, int] = {}

    @contextmanager
    def of(self, client: str) -> Iterator[None]:
        """One request of an address, or a refusal."""
        now = self.clients.get(client, 0)
        if now >= self.client:
            raise Refusal(503, f"{now} requests of {client} are being answered: wait for one of them")
        self.clients[client] = now + 1
        try:
            yield
        finally:
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]


def make_app(shipped: Shipped, batcher: Batcher, limits: Limits) -> FastAPI:
    """The application.

    Args:
        shipped: the open model.
        batcher: that asks it; it is started and ended with the application.
        limits: of requests.
    """
    metrics, held = Metrics(batcher, shipped), Held(limits)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        with batcher:
            yield

    title = f"{shipped.facts.get('data', '')} {shipped.facts.get('task', 'model')}"
    app = FastAPI(title=title, version=shipped.digest[:12], lifespan=alive)

    @app.exception_handler(Refusal)
    async def refuse(_: Request, error: Refusal) -> JSONResponse:
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        if error.status in {408, 413, 503}:
            headers["Connection"] = "close"  # what is left of the body is not read
        return JSONResponse({"error": error.why, "model": shipped.digest}, error.status, headers=headers)

    @app.post("/predict", openapi_extra=_body(limits), responses=_answers())
    async def predict(request: Request) -> JSONResponse:
        """Prediction of one image (its file as the body), or of several (JSON `{"images": [base64, ...]}`)."""
        began = time.perf_counter()
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json" and not kind.startswith(IMAGES):
            expected = "image/*, application/octet-stream or application/json"
            raise Refusal(415, f"Content-Type must be {expected}: received {kind[:60]!r}")
        client = request.client.host if request.client else ""
        with held.of(client):
            async with _taken(request, limits, held) as body:
                files = [body] if kind != "application/json" else _images(body, limits)
                found = await _answered(batcher, files, limits, client=client)
        for one in found:
            metrics.labels.labels(one.label).inc()
            metrics.unknown.inc(int(bool(one.unknown)))
        metrics.seconds.observe(time.perf_counter() - began)
        said = [one.facts() for one in found]
        answer = said[0] if kind != "application/json" else {"answers": said}
        return JSONResponse({**answer, "model": shipped.digest}, headers=_headers(found))

    @app.get("/model")
    async def model() -> JSONResponse:
        """What the model is: labels, input, licence, data, and the SHA-256 of its file."""
        return JSONResponse({"sha256": shipped.digest, "target": shipped.target, **shipped.facts})

    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether it answers."""
        said = {"alive": batcher.alive, "waiting": batcher.depth, "model": shipped.digest}
        return JSONResponse(said, 200 if batcher.alive else 503)

    @app.get("/metrics")
    async def measured() -> Response:
        """For Prometheus."""
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(_Counted, metrics=metrics)
    return app


class _Counted:
    """Counts answers by status; plain ASGI, because Starlette's own base class reads bodies into memory."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.requests.labels(str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, watched if scope["type"] == "http" else send)


@asynccontextmanager
async def _taken(request: Request, limits: Limits, held: Held) -> AsyncIterator[bytes]:
    """The whole body, within the limits; its bytes count as held until the answer stands."""
    most = int(limits.body_mb * 1e6)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise Refusal(413, f"the body has {int(declared):,} bytes, more than {most:,}")
    parts: list[bytes] = []
    size = 0
    try:
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for part in request.stream():
                    if size + len(part) > most:
                        raise Refusal(413, f"the body has more than {most:,} bytes")
                    if held.now + len(part) > held.most:
                        raise Refusal(503, "too many requests at once: try again in a moment")
                    size, held.now = size + len(part), held.now + len(part)
                    parts.append(part)
        except TimeoutError as error:
            raise Refusal(408, f"the body was not whole after {limits.body_seconds:g} s") from error
        except ClientDisconnect as error:  # nobody reads the answer; it is counted, and is no fault of the server
            raise Refusal(400, "the client went away before its body was whole") from error
        if not size:
            raise Refusal(400, "the body is empty: send the file of an image")
        body = b"".join(parts)
        parts.clear()
        yield body
    finally:
        held.now -= size


def _images(body: bytes, limits: Limits) -> list[bytes]:
    """Files out of a JSON body."""
    try:
        said = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON ({str(error)[:80]})") from error
    images = said.get("images") if isinstance(said, dict) else None
    if not isinstance(images, list) or not images or not all(isinstance(one, str) for one in images):
        raise Refusal(422, 'expected {"images": ["base64 of a file", ...]}')
    if len(images) > limits.images:
        raise Refusal(413, f"{len(images)} images in one request, more than {limits.images}")
    try:
        return [base64.b64decode(one, validate=True) for one in images]
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, f"an image is not base64 ({str(error)[:80]})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


async def _answered(batcher: Batcher, files: list[bytes], limits: Limits, *, client: str) -> list[Any]:
    futures: list[Future[Any]] = []
    for data in files:
        future = batcher.submit(data, client)
        if future is None:
            for other in futures:
                other.cancel()
            raise Refusal(503, "too many images wait: try again in a moment")
        futures.append(future)
    try:
        async with asyncio.timeout(limits.answer_seconds):
            found = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
    except TimeoutError as error:
        raise Refusal(503, f"no answer within {limits.answer_seconds:g} s: try again in a moment") from error
    for place, one in enumerate(found):
        if isinstance(one, Refused):
            where = f"image {place + 1}: " if len(files) > 1 else ""
            raise Refusal(422, f"{where}{one.reason}")
    return found


def _headers(found: list[Any]) -> dict[str, str]:
    flags = [one.unknown for one in found if one.unknown is not None]
    return {"X-Unknown": str(sum(flags))} if flags else {}


def _body(limits: Limits) -> dict[str, Any]:
    one = {"schema": {"type": "string", "format": "binary"}}
    several = {
        "schema": {"type": "object", "required": ["images"], "properties": {
            "images": {"type": "array", "minItems": 1, "maxItems": limits.images, "items": {"type": "string", "format": "byte"}}}}
    }  # fmt: skip
    content = {"image/*": one, "application/octet-stream": one, "application/json": several}
    return {"requestBody": {"required": True, "content": content}}


def _answers() -> dict[int | str, dict[str, Any]]:
    why = {400: "empty body, or no JSON", 408: "the body came too slowly", 413: "too large", 415: "wrong Content-Type",
           422: "no usable image", 503: "too many requests; Retry-After says when"}  # fmt: skip
    return {status: {"description": text} for status, text in why.items()}
