"""The web page as a person meets it, in headless Chromium."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import Decoder
from pipeline.shipping.shipped import open_shipped
from pipeline.target.web import BROWSERS, RUNTIME, Web
from tests import shipped

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def there():
    """onnxruntime-web may be missing only where there is no npm to fetch it; Chromium may not."""
    assert any(map(shutil.which, BROWSERS)), "these tests take Chromium (Debian: apt-get install chromium)"
    if all((shipped.toy.PROJECT / Web().runtime / name).is_file() for name in RUNTIME):
        return
    reason = shipped.allowed_to_lack("web", "there is no npm to fetch onnxruntime-web")
    assert reason, "run  make web  before the tests"
    pytest.skip(reason)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shipped.folder(tmp_path_factory.mktemp("web"), "onnx", "web", timed=[1], repeats=1)


@pytest.fixture(scope="module")
def opened(folder):
    found = Web().load(folder / "web" / "index.html")
    yield found
    found.close()


def pictures(folder: Path, count: int) -> list[Path]:
    """Photos of odd sizes, grey and coloured."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        size = (int(rng.integers(12, 60)), int(rng.integers(12, 60)), *((3,) if seed % 2 else ()))
        made.append(folder / f"{seed}.png")
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(made[-1])
    return made


def test_the_page_says_what_the_trained_model_says(folder):
    import json

    entry = json.loads((folder / "targets.json").read_text())["web"]
    assert (entry["state"], entry["flips"], entry["detector"]) == ("ran here", 0, True)
    assert entry["max_abs_diff"] < 1e-5


def test_pictures_of_any_size_become_the_pixels_that_ingest_makes(opened, folder, tmp_path):
    """64 of them: the same bytes, and so the same answers."""
    files = pictures(tmp_path, 64)
    model = open_shipped(folder, target="onnx")
    decoder = Decoder(**model.decoder)
    read = """async (text) => {
        const bitmap = await createImageBitmap(await (await fetch(text)).blob(), { colorSpaceConversion: "none" });
        return Array.from(pixels(bitmap, bitmap.width, bitmap.height));
    }"""
    same = 0
    for file in files:
        place = folder / "web" / file.name  # beside the page, whose policy lets it read nothing else
        shutil.copyfile(file, place)
        found = np.array(opened.page.evaluate(read, file.name), dtype=np.uint8)
        place.unlink()
        wanted = decoder.decode(file.read_bytes())
        assert np.abs(found.astype(int) - wanted.reshape(-1)).max() <= 1
        answer = opened.answers(found.reshape(1, *wanted.shape))
        same += int(answer["prediction"].argmax() == np.argmax(list(model.answer(wanted[None])[0].columns.values())))
    assert same == 64


def test_a_person_chooses_a_picture_and_sees_the_answer(opened, tmp_path):
    page = opened.page
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    file = pictures(tmp_path, 1)[0]
    page.set_input_files("#file", str(file))
    page.wait_for_function("() => document.body.dataset.done === '1'")
    assert page.inner_text("#label").split(",")[0] in {"bar", "disc"}
    assert len(page.query_selector_all("#columns tr")) == 2
    assert "orange" in page.inner_text("#heatcaption")
    page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.set_input_files("#file", str(tmp_path / "broken.png"))
    page.wait_for_function("() => document.getElementById('status').textContent.includes('no picture')")
    assert faults == []


def test_no_request_leaves_the_folder(opened):
    """The page's own policy forbids it."""
    said = opened.page.evaluate("() => fetch('https://example.org/').then(() => 'sent').catch(() => 'refused')")
    assert said == "refused"
