"""The report: names from outside stay text, the page loads nothing and logs nothing, the model card's front matter parses."""

import html.parser
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from pipeline.core import artifact
from pipeline.core.section import Section, write_section
from pipeline.stages import report
from tests import toy

XSS = '<script>alert("x")</script><img src=x onerror=alert(1)>'
CFG = {"report": {"title": "", "picture_width": 1600}, "logger": {"_target_": None}}
VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """Collects tags and ids, and checks that every element is closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.open = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.images += [found["src"]] if tag == "img" else []
        assert not any(name.startswith("on") for name in found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Artifacts whose names, warnings, tables and captions hold markup; the report of them."""
    root = tmp_path_factory.mktemp("hostile")
    card = {"name": f"Cells {XSS} | a`b", "license": f"[x](javascript:alert(1)) {XSS}", "citation": f"{XSS}\n---\nlicense: mit",
            "source": XSS}  # fmt: skip
    directories = toy.artifacts(root, classes=[f"a{XSS}", "b: &amp; | c", "{{ 7 * 7 }}"], card=card, count=160)
    shutil.rmtree(directories["explain"])
    out = artifact.begin(root / "explain")
    table = toy.Table(XSS, [XSS, "n"], [[f"{XSS}.png", 1234567], ["plain", None]])
    toy.pictures.sheet([toy.np.zeros((8, 8), dtype="uint8")], ["one"], out / "maps.png")
    write_section(out, Section(XSS, XSS, [XSS], [XSS], [table], [toy.Picture("maps.png", f'"{XSS}')]))
    toy.publish(root, "explain")
    out = artifact.begin(root / "report")
    said = report.run(CFG, out, **directories)
    return out, said


@pytest.fixture(scope="module")
def page(hostile):
    return (hostile[0] / "index.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.images) >= 6
    assert all(source.startswith("data:image/") for source in parsed.images)


def test_markup_in_names_stays_text(page):
    assert "script" not in Page(page).tags
    assert XSS not in page
    assert "&lt;script&gt;" in page
    assert '<td class="right">1,234,567</td>' in page
    assert "49" not in re.findall(r"\d+: ([^<]*)</dd>", page)[0]


def test_planted_fault_without_escaping_the_markup_gets_through(hostile, monkeypatch):
    monkeypatch.setattr(report, "select_autoescape", lambda *_: False)
    directories = {stage: hostile[0].parent / stage for stage in toy.STAGES}
    out = hostile[0].parent / "unescaped"
    out.mkdir()
    report.run(CFG, out, **directories)
    assert XSS in (out / "index.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere_and_says_so_to_the_browser(page):
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", page)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_holds_what_a_reader_needs(page, hostile):
    for words in ("AUROC", "95 % interval", "this model", "majority", "linear", "svm", "Read this first", "too small to rank models",
                  "Licence:", "Please cite", "Lineage", "Configuration", "balanced accuracy"):  # fmt: skip
        assert words in page
    for stage in toy.STAGES:
        assert artifact.digest(hostile[0].parent / stage)[:16] in page
    assert page.index("Read this first") < page.index("Contents") < page.index("Lineage</h2>")


def test_the_last_words_name_the_headline_the_baseline_and_the_page(hostile):
    assert re.search(
        r"AUROC 0\.\d{3} \[.*\] on 40 test samples; best baseline \w+ 0\.\d{3} \[.*data/report/index\.html", hostile[1], re.DOTALL
    )


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_a_browser_without_a_word_on_the_console(hostile, scheme):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    said = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (1280, 390):
            tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on(
                "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
            )
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.goto(f"file://{hostile[0] / 'index.html'}")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            small = tab.locator("details.picture img").first.bounding_box()
            tab.locator("details.picture summary").first.click()
            assert tab.locator("details.picture img").first.bounding_box()["width"] >= small["width"]
        browser.close()
    assert said == []


def test_the_model_cards_front_matter_is_yaml_and_complete(hostile):
    text = (hostile[0] / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "other"
    assert XSS in facts["license_name"]
    assert facts["library_name"] == "pytorch"
    assert facts["pipeline_tag"] == "image-classification"
    result = facts["model-index"][0]["results"][0]
    measured = artifact.read_json(hostile[0].parent / "evaluate/metrics.json")
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == pytest.approx(
        {name: entry["value"] for name, entry in measured.items()}, abs=1e-6
    )
    assert result["dataset"]["split"] == "test"
    assert "<script" not in body
    assert "<img" not in body
    assert "](javascript" not in body
    for words in ("## Data", "## Intended use", "## Limits", "## Results", "## Lineage", "Read this first", "Please cite"):
        assert words in body


def test_a_known_licence_keeps_its_identifier():
    assert report.license_id("CC-BY-NC-SA-4.0") == "cc-by-nc-sa-4.0"
    assert report.license_id("CC BY-NC-SA 4.0") == "cc-by-nc-sa-4.0"
    assert report.license_id("Apache 2.0") == "apache-2.0"
    assert report.license_id("my own words") is None


@pytest.mark.parametrize(("ours", "rival", "words"), [
    ((0.9, 0.88, 0.92), (0.8, 0.78, 0.82), "lies clear"), ((0.9, 0.85, 0.95), (0.88, 0.84, 0.92), "a gain is not certain"),
    ((0.8, 0.75, 0.9), (0.85, 0.8, 0.9), "neither is certainly better"), ((0.7, 0.65, 0.75), (0.85, 0.8, 0.9), "use the baseline"),
])  # fmt: skip
@pytest.mark.parametrize("higher", [True, False])
def test_the_verdict_says_no_more_than_the_intervals(ours, rival, words, higher):
    sign = 1 if higher else -1
    entries = [{"value": sign * v, "low": min(sign * a, sign * b), "high": max(sign * a, sign * b)} for v, a, b in (ours, rival)]
    assert words in report.verdict({"higher_is_better": higher}, entries[0], "svm", {"svm": entries[1]})
    assert "No baseline" in report.verdict({"higher_is_better": higher}, entries[0], None, {})


def test_regression_is_reported_too_and_the_same_twice(tmp_path):
    directories = toy.artifacts(tmp_path, classes=["bar", "disc"], task="regression", count=160)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report.run({**CFG, "report": {"title": "Wear of tools", "picture_width": 1600}}, tmp_path / name, **directories)
    for file in ("index.html", "MODEL_CARD.md", "section.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    text = (tmp_path / "one/index.html").read_text(encoding="utf-8")
    assert "<title>Wear of tools</title>" in text
    assert "mean absolute error" in text
    assert str(tmp_path) not in text
    front = yaml.safe_load((tmp_path / "one/MODEL_CARD.md").read_text(encoding="utf-8").split("---\n")[1])
    assert "pipeline_tag" not in front


def test_the_tracker_is_handed_every_directory_and_the_run(hostile, monkeypatch, tmp_path):
    handed = []

    class Tracker:
        def finish_report(self, directories, run_id):
            handed.append((list(directories), run_id))

    monkeypatch.setattr(report, "build", lambda node: Tracker())
    directories = {stage: hostile[0].parent / stage for stage in toy.STAGES}
    report.run({**CFG, "logger": {"_target_": "pipeline.logger.wandb.Wandb"}}, tmp_path, **directories)
    assert handed == [(list(toy.STAGES), "0123456789abcdef")]


def test_secrets_of_the_configuration_do_not_reach_the_page(tmp_path):
    text = yaml.safe_dump(
        {"task": {"_target_": "pipeline.task.x.X"}, "logger": {"api_key": "s3cr3t-value"}, "code": {"train": 1}}
    )
    assert "s3cr3t" not in report._config(text)["yaml"]
    assert "code" not in report._config(text)["yaml"]


def test_it_imports_no_torch():
    code = "import sys, pipeline.stages.report, pipeline.stages.baseline; print([n for n in ('torch', 'lightning', 'timm') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=toy.PROJECT)
    assert done.stdout.strip() == "[]"
