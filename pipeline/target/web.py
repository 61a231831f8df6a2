"""A web page that runs the model in the browser by onnxruntime-web.

It takes a picture from disk or camera and shows class, probability, the flag of unknown inputs, and a heat map. The folder is
static: any web server shows it, and no picture leaves the browser. `make web` fetches onnxruntime-web once, pinned by
`page/package-lock.json`. Here it is run in headless Chromium.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import base64
import functools
import http.server
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.delivery import Made, opened_facts, precision_of
from pipeline.core.errors import PersonError
from pipeline.core.record import Floats, Pixels

PAGE = Path(__file__).with_name("page")
FILES = ("index.html", "page.css", "page.js")
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 120_000  # milliseconds for one answer of the page


class Web:
    """A folder with the page, the model and the runtime.

    Args:
        source: export (fp32) or compress (8-bit integers).
        runtime: where `make web` put onnxruntime-web, relative to the project.

    Raises:
        PersonError: an unknown source.
    """

    needs = (("playwright", "playwright"),)
    largest_batch = 16
    runs_code = True
    runs = True

    def __init__(self, *, source: str = "export", runtime: str = ".run/web/node_modules/onnxruntime-web/dist") -> None:
        self.source, self.runtime = source, runtime
        self.precision = precision_of(source)

    def build(self, made: Made, directory: Path) -> Path:
        """Copy page and runtime beside the model.

        Raises:
            PersonError: onnxruntime-web is not there, or nothing was compressed.
        """
        runtime = Path(self.runtime)
        if not all((runtime / name).is_file() for name in RUNTIME):
            raise PersonError(f"onnxruntime-web is not in {runtime}: run  make web  once (it takes npm)")
        found = made.file(self.source)
        (directory / "ort").mkdir()
        for name in FILES:
            shutil.copyfile(PAGE / name, directory / name)
        for name in RUNTIME:
            shutil.copyfile(runtime / name, directory / "ort" / name)
        shutil.copyfile(found, directory / "model.onnx")
        facts = {**opened_facts(made.facts(self.source)), "decoder": dict(made.decoder)}
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        (directory / "model.json").write_text(text, encoding="utf-8")
        return directory / "index.html"

    def load(self, path: Path) -> "Opened":
        """Serve the folder on the loopback and open it in headless Chromium."""
        return Opened(path.parent)


class Opened:
    """The page in a browser.

    Args:
        folder: that holds it.

    Raises:
        PersonError: there is no Chromium or Chrome.
    """

    def __init__(self, folder: Path) -> None:
        from playwright.sync_api import sync_playwright

        browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
        if browser is None:
            raise PersonError("there is no Chromium or Chrome to run the page in (Debian: apt-get install chromium)")
        handler = functools.partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.playwright = sync_playwright().start()
        flags = [*FLAGS, *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]
        self.browser = self.playwright.chromium.launch(executable_path=browser, args=flags)
        self.page = self.browser.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(f"http://127.0.0.1:{self.server.server_address[1]}/index.html")
        self.page.evaluate("() => ready")

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        text = base64.b64encode(np.ascontiguousarray(pixels_BHWC).tobytes()).decode()
        found = self.page.evaluate(
            "([text, count]) => answers(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), count)", [text, len(pixels_BHWC)]
        )
        return {name: np.asarray(said["data"], dtype=np.float64).reshape(said["dims"]) for name, said in found.items()}

    def close(self) -> None:
        """End browser and server."""
        self.browser.close()
        self.playwright.stop()
        self.server.shutdown()
        self.server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing."""
