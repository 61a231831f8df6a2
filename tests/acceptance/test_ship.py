"""The acceptance list of shipping: one test a numbered line, on a fresh clone, printing its figure (`make acceptance`)."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.acceptance.commands import run, run_tests

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]
TARGETS = "onnx,onnx_int8,torch_export,openvino,openvino_int8,c,c_int8,executorch,litert,ncnn,web,coreml,tensorrt"


def say(text):
    print(f"\n  {text}", flush=True)


def lines(text, word):
    return [line.strip(".sF ") for line in text.splitlines() if word in line]


def test_1_one_table_of_every_target(clone):
    """On handwritten digits with a residual network: the whole DAG, then every target on 256 samples."""
    folder = clone("targets")
    run(["make", "web"], cwd=folder)
    run(["make", f"PYTHON={sys.executable}", "litert"], cwd=folder)
    words = [sys.executable, "-m", "pipeline", "exp", "experiment=digits", "logger=none", f"target=[{TARGETS}]", "ship.repeats=10"]
    done = run(words, cwd=folder)
    assert done.code == 0, done.text[-6000:]
    facts = json.loads((folder / "data/ship/targets.json").read_text())
    timings = json.loads((folder / "data/ship/timings.json").read_text())
    say(f"1. {len(facts)} targets, ships {timings['ships']}; target, state, precision, same class, largest difference, MB, metric, times faster at 1 and 32")
    for name, entry in facts.items():
        metric, times = entry["metric"], timings["targets"].get(name, {})
        speed = [f"{times[batch]['times_eager']:.2f}x" for batch in times]
        if entry["agreement"] is None:
            say(f"   {name:<14}{entry['state']}, {entry['precision']}, {entry['size_bytes'] / 1e6:.2f} MB {entry['why']}")
            continue
        say(f"   {name:<14}{entry['state']}, {entry['precision']}, {entry['agreement']}, {entry['max_abs_diff']:.1e}, {entry['size_bytes'] / 1e6:.2f}, "
            f"{metric.get('value', 0):.3f} [{metric.get('low', 0):.3f}, {metric.get('high', 0):.3f}], {', '.join(speed)} {entry['why']}")
    assert set(facts) == set(TARGETS.split(","))
    recipes = {"coreml", "tensorrt"}  # no Mac and no GPU here
    assert {name: entry["state"] for name, entry in facts.items()} == {name: "recipe only" if name in recipes else "ran here" for name in facts}
    assert sum(entry["flips"] for entry in facts.values() if entry["precision"] == "fp32") == 0
    samples = re.search(r"compared on (\d+) samples", json.loads((folder / "data/ship/section.json").read_text())["summary"])
    assert int(samples.group(1)) >= 256
    page = (folder / "data/report/index.html").read_text()
    assert all(name in page for name in facts)
    assert "times faster" in page


def test_2_the_smallest_that_keeps_a_limit(clone):
    """On handwritten digits: a grid of the chain measured on validation, the choice taken up, and its cost on the test split."""
    folder = clone("smallest")
    words = ["logger=none", "smallest.prune=[0.0,0.5,0.7]", "smallest.project=[1.0,0.9]", "smallest.max_drop=0.02"]
    (folder / "params.yaml").write_text(f"experiment: digits\noverrides: [{words[0]}]\nsource: conf/no_source\n")
    assert run(["dvc", "repro", "ood"], cwd=folder).code == 0
    found = run([sys.executable, "-m", "pipeline", "smallest", *words[1:], "--no-browser"], cwd=folder)
    assert found.code == 0, found.text[-4000:]
    table = list(csv.DictReader((folder / ".run/smallest/pareto.csv").read_text(encoding="utf-8").splitlines()))
    say(f"2. {len(table) - 1} candidates; of each KB, metric and change on validation, ms at 1 and 32, MB at 1, processor ms a sample at 32")
    for row in table:
        if row["size_bytes"]:
            say(f"   {row['candidate']:<36}{int(row['size_bytes']) / 1000:7.1f}  {float(row['metric']):.4f} {float(row['change']):+.4f}  {float(row['ms_1']):.2f} "
                f"{float(row['ms_32']):.2f}  {int(row['memory_bytes_1']) / 1e6:.0f}  {float(row['cpu_ms_a_sample_32']):.3f}  {row['misses']}")
        else:
            say(f"   {row['candidate']:<36}{row['misses']}")
    kept = [row for row in table[1:] if row["size_bytes"] and not row["misses"]]
    chosen = min(kept, key=lambda row: int(row["size_bytes"]))
    assert f"smallest: {chosen['candidate']}" in found.text
    again = run([sys.executable, "-m", "pipeline", "smallest", *words[1:], "--no-browser"], cwd=folder)
    assert "training on" not in again.text, "a second run takes what was measured"
    taken = shlex.split(chosen["overrides"])
    (folder / "params.yaml").write_text(f"experiment: digits\noverrides: {json.dumps(taken)}\nsource: conf/no_source\n")
    done = run(["dvc", "repro", "compress"], cwd=folder)
    assert done.code == 0, done.text[-4000:]
    metrics = json.loads((folder / "data/compress/metrics.json").read_text())
    assert metrics["compressed"]["size_bytes"] == int(chosen["size_bytes"]), "the file of the choice is the one that was measured"
    change = next(iter(metrics["change"].values()))
    say(f"   taken: {chosen['candidate']}, {metrics['compressed']['size_bytes'] / metrics['original']['size_bytes']:.3f} of the size; "
        f"on test {change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]")
    assert change["high"] > -0.05


@pytest.mark.parametrize("part", ["table", "small"])
def test_2_goal_12(clone, part):
    done = run([sys.executable, "-W", "ignore", "-m", "benchmarks.shipped", *([part] if part == "small" else [])], cwd=clone(f"goal-{part}"))
    say(f"2. benchmarks.shipped {part}: exit {done.code} after {done.seconds:.0f} s\n     " + "\n     ".join(done.text.strip().splitlines()[-20:]))
    assert done.code == 0, "a required figure is missed"


def test_3_web_page_and_server(clone, monkeypatch):
    folder = clone("web")
    assert run(["make", "web"], cwd=folder).code == 0
    done, passed = run_tests(folder, "tests/serving/test_web.py", "-s", "--timeout=600", "-rs")
    say(f"3. web page in headless Chromium: {passed} passed ({done.text.strip().splitlines()[-1]})")
    assert passed == 4
    monkeypatch.setenv("HOSTILE", "3000")
    stormed, _ = run_tests(folder, "tests/serving/test_server.py", "-s", "--timeout=600")
    told = re.search(
        r"HOSTILE (\d+) requests: .*?, (\d+) kinds of 5xx, RSS ([+-][\d.]+) MB, .*p99 ([\d.]+) -> ([\d.]+) ms \(([\d.]+)x\)", stormed.text
    )
    say(f"   server: {told.group(0)}")
    assert (int(told.group(1)), int(told.group(2))) == (3000, 0)
    assert float(told.group(3)) < 50
    assert float(told.group(6)) <= 5


def test_4_negative_controls_and_independence(clone):
    folder = clone("controls")
    words = ("-k", "planted or order or not_the_model or cannot_be_written or normalisation")
    done, passed = run_tests(folder, "tests/contract/test_target.py", "tests/stages/test_ship.py", "tests/contract/test_exporter.py", *words, "-vv")
    say(f"4. negative controls and order: {passed} passed\n     " + "\n     ".join(lines(done.text, "PASSED")))
    assert passed >= 8


def test_5_c_code(clone):
    done, passed = run_tests(clone("c"), "tests/contract/test_target.py", "-m", "not acceptance", "-k", "c_compiles", "-v", "-rs")
    say(f"5. C with -Wall -Werror, 64 samples, address and undefined-behaviour sanitizers: {passed} passed")
    assert passed == 1, done.text[-3000:]


def test_6_a_changed_folder_is_refused(clone):
    assert shutil.which("openssl")
    assert subprocess.run([sys.executable, "-c", "import model_signing.signing"], check=False).returncode == 0
    done, passed = run_tests(clone("tamper"), "tests/serving/test_release.py", "-vv", "-rs")
    refused = len(lines(done.text, "test_a_changed_folder_is_refused"))
    say(f"6. {passed} passed, of them {refused} changed folders at predict, serve and verify, all refused")
    assert refused == 33
    assert passed > refused
