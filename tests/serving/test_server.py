"""The server as a stranger meets it: good answers, every kind of bad request, and what it keeps of itself meanwhile."""

import asyncio
import base64
import contextlib
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import zlib
from multiprocessing import get_context

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests import shipped

pytestmark = pytest.mark.timeout(600)
HOSTILE = int(os.environ.get("HOSTILE", "600"))  # requests; the acceptance asks 3,000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shipped.folder(tmp_path_factory.mktemp("served"), "onnx", timed=[1], repeats=1)


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """Address and process of a server with small limits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "pipeline", "serve", "--model", str(folder), "--port", str(port), "--body-mb", "1", "--held-mb", "16",
             "--body-seconds", "2", "--waiting", "64", "--connections", "100"]
    root = str(shipped.toy.PROJECT)
    log = (tmp_path_factory.mktemp("log") / "server.log").open("w+")
    process = subprocess.Popen(words, cwd=root, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None
            time.sleep(0.2)
    yield url, process
    process.terminate()
    assert process.wait(20) in {0, -15}
    log.seek(0)
    said = log.read()
    log.close()
    assert "Traceback" not in said


def image(seed=0, size=(16, 16), form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(buffer, form)
    return buffer.getvalue()


def bomb(side=30_000):
    """A valid PNG of 900 million grey pixels in some hundred KB."""
    packed = zlib.compress(b"\0" * (side // 8 + 1) * 64, 9)

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_a_good_image_gets_the_answer_of_the_exported_file(server, folder):
    from pipeline.images.decode import Decoder
    from pipeline.shipping.shipped import open_shipped

    url, _ = server
    opened = open_shipped(folder)
    pixels = [Decoder(**opened.decoder).decode(image(seed)) for seed in range(20)]
    wanted = opened.answer(np.stack(pixels))
    for seed, answer in enumerate(wanted):
        found = httpx.post(f"{url}/predict", content=image(seed), headers={"Content-Type": "image/png"})
        assert found.status_code == 200
        said = found.json()
        assert said["label"] == answer.label
        assert abs(said["probability"] - answer.probability) < 1e-6
        assert said["unknown"] == answer.unknown
        assert said["model"] == opened.digest
        assert found.headers["x-unknown"] in {"0", "1"}
    several = {"images": [base64.b64encode(image(seed)).decode() for seed in range(5)]}
    found = httpx.post(f"{url}/predict", json=several).json()["answers"]
    assert [one["label"] for one in found] == [one.label for one in wanted[:5]]


BAD = {
    "no type": ({"content": image()}, 415),
    "another type": ({"content": image(), "headers": {"Content-Type": "text/html"}}, 415),
    "empty": ({"content": b"", "headers": {"Content-Type": "image/png"}}, 400),
    "too large": ({"content": b"x" * 3_000_000, "headers": {"Content-Type": "image/png"}}, 413),
    "no image": ({"content": b"hello", "headers": {"Content-Type": "image/png"}}, 422),
    "cut": ({"content": image()[:100], "headers": {"Content-Type": "image/png"}}, 422),
    "bomb": ({"content": bomb(), "headers": {"Content-Type": "image/png"}}, 422),
    "1 px": ({"content": image(size=(1, 1)), "headers": {"Content-Type": "image/png"}}, 422),
    "svg": ({"content": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "headers": {"Content-Type": "image/svg+xml"}}, 422),
    "no json": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    "NaN": ({"content": b'{"images": NaN}', "headers": {"Content-Type": "application/json"}}, 400),
    "deep json": ({"content": b"[" * 200_000, "headers": {"Content-Type": "application/json"}}, 400),
    "other json": ({"json": {"pixels": [1, 2]}}, 422),
    "no images": ({"json": {"images": []}}, 422),
    "too many": ({"json": {"images": ["AA=="] * 100}}, 413),
    "no base64": ({"json": {"images": ["@@@"]}}, 422),
    "not an image in base64": ({"json": {"images": ["AAAA"]}}, 422),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_one_line_and_the_server_lives(server, name):
    url, _ = server
    request, status = BAD[name]
    found = httpx.post(f"{url}/predict", **request)
    assert found.status_code == status, found.text
    assert found.json()["error"]
    assert "\n" not in found.json()["error"]
    assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/predict/../model/..%2f..%2fsecret", "/.git/config"])
def test_no_path_leads_to_a_file(server, path):
    url, _ = server
    assert httpx.get(url + path).status_code in {404, 405, 400}


def test_a_slow_body_is_ended(server):
    with socket.create_connection(place(server[0]), timeout=20) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc")
        began = time.monotonic()
        assert b" 408 " in slow.recv(4096)
        assert time.monotonic() - began < 6


def place(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


REFUSED = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n"
ANSWERED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "more"),
    [(b"", b""), (b"GET /health HTTP/1.1\r\nHost: ", b"x"), (ANSWERED, b"G"), (REFUSED, b"x")],
    ids=["silent", "half a head", "half a second head", "a body after its refusal"],
)
def test_connections_that_ask_nothing_do_not_keep_others_out(server, said, more):
    """More than the server takes at once, in silence or a byte at a time."""
    url, _ = server
    opened = [socket.create_connection(place(url), timeout=20) for _ in range(99 if said.startswith((ANSWERED, REFUSED)) else 110)]
    try:
        for one in opened:
            one.sendall(said)
        until = time.monotonic() + 4  # shorter than the 5 s that uvicorn waits after an answer
        while time.monotonic() < until:
            for one in opened if more else []:
                with contextlib.suppress(OSError):
                    one.sendall(more)
            time.sleep(0.25)
        assert httpx.get(f"{url}/health").status_code == 200
        for one in opened:  # a read that ends, and no TimeoutError
            one.settimeout(1)
            with contextlib.suppress(ConnectionResetError):
                while one.recv(4096):
                    pass
    finally:
        for one in opened:
            one.close()


def test_a_client_that_goes_away_is_counted_as_its_own_fault(server):
    """The server's log is looked at when it ends: no traceback."""
    url, _ = server

    def bad():
        return float((re.search(r'requests_total{status="400"} (\S+)', httpx.get(f"{url}/metrics").text) or [0, 0])[1])

    before = bad()
    with socket.create_connection(place(url), timeout=20) as gone:
        gone.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.3)
    for _ in range(100):
        if bad() == before + 1:
            return
        time.sleep(0.1)
    raise AssertionError(bad())


def test_openapi_metrics_and_the_model_say_what_they_are(server, folder):
    url, _ = server
    schema = httpx.get(f"{url}/openapi.json").json()
    assert set(schema["paths"]) == {"/predict", "/model", "/health", "/metrics"}
    assert {"200", "400", "408", "413", "415", "422", "503"} <= set(schema["paths"]["/predict"]["post"]["responses"])
    facts = httpx.get(f"{url}/model").json()
    assert facts["labels"] == ["bar", "disc"]
    assert facts["sha256"] == json.loads((folder / "manifest.json").read_text())["files"]["onnx/model.onnx"]
    text = httpx.get(f"{url}/metrics").text
    assert "pipeline_requests_total" in text
    assert f'sha256="{facts["sha256"]}"' in text


def hostile(number):
    """One of the bad requests, or a variation of a good one."""
    rng = np.random.default_rng(number)
    names = list(BAD)
    if number % 3 == 0:
        data = bytearray(image(number, (16, 16), ["PNG", "JPEG", "BMP", "GIF"][number % 4]))
        for _ in range(1 + number % 8):
            data[rng.integers(len(data))] = rng.integers(256)
        return {"content": bytes(data), "headers": {"Content-Type": "image/png"}}
    return BAD[names[number % len(names)]][0]


async def attack(url, count, clients=64):
    """Hostile requests of so many clients at a time, from another address than the good ones; answers by status."""
    codes: dict[int, int] = {}
    waiting = iter(range(count))
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=clients), local_address="127.0.0.2")
    async with httpx.AsyncClient(timeout=60, transport=transport) as client:

        async def one():
            for number in waiting:
                try:
                    code = (await client.post(f"{url}/predict", **hostile(number))).status_code
                except httpx.TransportError:  # the server closed a connection whose body it does not want
                    code = 0
                codes[code] = codes.get(code, 0) + 1

        await asyncio.gather(*(one() for _ in range(clients)))
    return codes


def attacker(url, count, told):
    """In a process of its own, as on another machine: its own work is not what is measured."""
    os.nice(19)
    told.send(asyncio.run(attack(url, count)))


def storm(url, count):
    """Good requests alone, then good ones beside `count` hostile ones; seconds of the good ones, answers to the others."""
    idle: list[float] = []
    busy: list[float] = []
    content, headers = image(1), {"Content-Type": "image/png"}
    ours, theirs = get_context("spawn").Pipe()
    with httpx.Client(timeout=60) as client:

        def good(seconds):
            began = time.perf_counter()
            found = client.post(f"{url}/predict", content=content, headers=headers)
            seconds.append(time.perf_counter() - began)
            assert found.status_code == 200, found.text
            time.sleep(0.02)

        for _ in range(200):
            good(idle)
        other = get_context("spawn").Process(target=attacker, args=(url, count, theirs))
        other.start()
        while not ours.poll():
            good(busy)
        codes = ours.recv()
        other.join()
    return idle, busy, codes


def test_hostile_requests_harm_nobody(server):
    url, process = server
    storm(url, 200)  # caches, pools and arenas are there
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    before = sum(one.memory_info().rss for one in family if one.is_running())
    idle, busy, codes = storm(url, HOSTILE)
    grown = (sum(one.memory_info().rss for one in family if one.is_running()) - before) / 1e6
    slow = [float(np.percentile(times, 99)) for times in (idle, busy)]
    print(f"HOSTILE {sum(codes.values())} requests: {dict(sorted(codes.items()))}, {sum(code >= 500 and code != 503 for code in codes)} kinds of 5xx, "
          f"RSS {grown:+.1f} MB, good requests: median {1000 * statistics.median(idle):.1f} -> {1000 * statistics.median(busy):.1f} ms, "
          f"p99 {1000 * slow[0]:.1f} -> {1000 * slow[1]:.1f} ms ({slow[1] / slow[0]:.1f}x) of {len(busy)}")
    assert not [code for code in codes if code >= 500 and code != 503]
    assert process.poll() is None
    assert grown < 50
    assert httpx.get(f"{url}/health").json()["alive"] is True
