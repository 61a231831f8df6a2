"""The page of runs: complete, escaped, and at work in a real browser."""

import re
from pathlib import Path

import pytest

from pipeline.command import review
from pipeline.core.errors import PersonError
from pipeline.tracking.records import Run
from tests.tracked_runs import inside, two_runs

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("review") / "deep" / "runs.html"
    with inside(two_runs()):
        assert review.main(["--out", str(out), "--no-browser"]) == 0
    return out


def test_the_page_holds_both_runs_their_differences_curves_and_pictures(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    for said in ("resnet-aaaa", "resnet-bbbb22", "0.870 [0.820, 0.900]", "0.830 [0.780, 0.860]", "evaluate found 0.87"):
        assert said in text
    different = text[text.index("configured differently") : text.index("that all runs share")]
    assert re.search(r"train\.lr</td><td[^>]*><mark>0\.1</mark></td><td[^>]*><mark>0\.02</mark>", different)
    assert "max_steps" not in different
    loss = text[text.index("<h3>loss</h3>") :]
    assert len(re.findall(r"<polyline", loss[: loss.index("</svg>")])) == 2, "both runs in one chart"
    assert text.count("data:image/png;base64,") == 8
    assert text.count("<h3>evaluate/picture</h3>") == 1
    assert re.search(r"<td>good</td><td>30</td><td>4</td>|<td>good</td><td>4</td><td>30</td>", text)


def test_the_page_says_how_often_the_test_split_was_opened(made: Path) -> None:
    assert "In this workspace the test split was opened 0 times, by 0 different models." in made.read_text(encoding="utf-8")


def test_the_page_is_self_contained(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert str(two_runs()) not in text


def test_what_runs_say_is_escaped() -> None:
    evil = "<script>alert(1)</script>\" onload=alert(2) '"
    run = Run(
        id=evil,
        name=evil,
        started=evil,
        state=evil,
        config={evil: evil},
        history={0: {evil: 1.0}},
        summary={f"section/{evil}": evil, evil: evil, "headline": 1.0, "headline_metric": evil, f"baseline/{evil}/x": 1.0},
    )
    text = review.page([run, run], refused={evil: evil}, older=1, looks=evil)
    assert "<script>alert" not in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in text


def test_no_run_is_a_friendly_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with inside(tmp_path):
        assert review.main(["--no-browser"]) == 0
    assert capsys.readouterr().out.startswith("there is no run in .run/wandb yet: make one with  dvc repro")
    assert list(tmp_path.iterdir()) == []


def test_wrong_number() -> None:
    with pytest.raises(PersonError, match="--last must be at least 1: received 0"):
        review.main(["--last", "0"])


def test_it_opens_where_there_is_a_display_and_not_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(review.webbrowser, "open", opened.append)
    monkeypatch.setattr(review.records, "read_all", lambda directory: ([Run(id="a")], {}))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(review.sys, "platform", "linux")
    out = str(tmp_path / "runs.html")
    review.main(["--out", out])
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    review.main(["--out", out, "--no-browser"])
    assert opened == []
    review.main(["--out", out])
    assert opened == [(tmp_path / "runs.html").as_uri()]


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed on this machine")
def test_the_page_works_in_a_browser(made: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url))
        page.goto(made.as_uri())
        names = "() => [...document.querySelectorAll('table.runs tbody tr')].map(row => row.children[2].textContent.trim().slice(0, 5))"
        assert page.evaluate(names) == ["0.870", "0.830"]
        page.click("table.runs th:nth-child(3) button")
        assert page.evaluate(names) == ["0.830", "0.870"]
        page.click("table.runs th:nth-child(3) button")
        assert page.evaluate(names) == ["0.870", "0.830"]
        visible = (
            "() => [...document.querySelectorAll('.curve.run-1')].filter(part => part.getBoundingClientRect().width > 0).length"
        )
        assert page.evaluate(visible) == 4
        page.click("input[data-run='1']")
        assert page.evaluate(visible) == 0
        assert page.evaluate("() => [...document.images].every(image => image.complete && image.naturalWidth === 120)")
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert wrong == []
