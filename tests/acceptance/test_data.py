"""The acceptance list of the data: one test a numbered line, in a fresh clone, printing its figure (`make acceptance`)."""

import re
import sys

import pytest

from tests.acceptance.commands import run, run_tests

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]


def say(text):
    print(f"\n  {text}", flush=True)


@pytest.fixture(scope="module")
def folder(clone):
    return clone("data")


@pytest.fixture(scope="module")
def ingest(folder):
    done = run([sys.executable, "-m", "benchmarks.ingest", "--pairs", "3"], cwd=folder)
    assert done.code == 0, done.text[-3000:]
    say(done.text)
    return done.text


def figure(text, name):
    """The median that a benchmark prints on the line of this name."""
    return float(re.findall(rf"{re.escape(name)}\D*?(\d+\.\d+)", text)[0])


def test_1_goals_four_to_seven(folder, ingest):
    loader = run([sys.executable, "-m", "benchmarks.loader"], cwd=folder)
    assert loader.code == 0, loader.text[-3000:]
    say(f"1. {loader.text}")
    ratios = [float(found) for found in re.findall(r": (\d+\.\d+)x \[", loader.text)]
    musts = [float(found) for found in re.findall(r"must (\d+\.?\d*)x", loader.text)]
    assert all(ratio >= must for ratio, must in zip(ratios, musts, strict=True)), "goal 6"
    assert figure(ingest, "decode by Pillow") <= 1.3, "goal 4"
    assert figure(ingest, "dvc add of the folder") <= 1.5, "goal 4"
    words = [sys.executable, "-m", "benchmarks.ingest", "--side", "300", "--goals", "5", "--pairs", "6"]  # three: one spreads by a fifth
    larger = run(words, cwd=folder)
    assert larger.code == 0, larger.text[-3000:]
    say(f"   the same at the size of the default experiment, after {larger.seconds / 60:.0f} minutes:\n{larger.text}")
    assert figure(larger.text, "CPU of the three stages against a full run") <= 0.05, "goal 5, photographs of 300 pixels"
    assert float(re.findall(r"goal 7.*: (\d+\.\d+) \(must", ingest)[0]) <= 1.10, "goal 7"


def test_2_one_per_cent_more_data(folder, ingest):
    fresh, decoded = map(int, re.findall(r"goal 5, (\d+) files new or changed.*?: (\d+) decoded", ingest)[0])
    hit, written = map(int, re.findall(r"(\d+) had to be written, (\d+) were", ingest)[0])
    _, passed = run_tests(folder, "tests/stages/test_split.py", "-k", "stable or grow or moves")
    say(f"2. {fresh} files new or changed: {decoded} decoded; {written} shards written, {hit} needed; splits: {passed} passed")
    assert decoded == fresh == 220
    assert written <= hit + 2
    assert passed >= 1


def test_3_planted_leaks(folder):
    done, passed = run_tests(folder, "tests/stages/test_leaks.py", "-s")
    say(f"3. planted leaks and clean sets: {passed} passed")
    say("\n".join(line for line in done.text.splitlines() if re.search(r"\d+/\d+|%|clean", line)))


def test_4_bad_inputs(folder):
    _, passed = run_tests(folder, "tests/bad_inputs", "tests/fuzz", "-m", "not acceptance", "-n", "2", "--dist", "loadgroup")
    say(f"4. bad inputs, fuzz of 20,000 images and archives included: {passed} passed")
    assert passed >= 150


def test_5_the_audit_of_augmentation(folder):
    _, passed = run_tests(folder, "tests/unit/augmentation/test_audit.py")
    say(f"5. green for ours with 0, 1, 2, 4 workers, red for stock albumentations: {passed} passed")


def test_6_synthetic_samples_earn_their_place(folder):
    _, passed = run_tests(folder, "tests/stages/test_synthetic_gates.py")
    say(f"6. copiers caught, noise dropped, a good source kept: {passed} passed")
    read = run([sys.executable, "-m", "dvc", "repro", "embed"], cwd=folder)  # the solar cells, which the benchmark reads
    assert read.code == 0, read.text[-3000:]
    done = run([sys.executable, "-m", "benchmarks.synthesis"], cwd=folder)
    assert done.code == 0, done.text[-3000:]
    say(done.text)
    ratio = float(re.findall(r"(\d+\.\d+) \(at most 0\.7\)", done.text)[-1])
    assert ratio <= 0.7, "DiffAugment"


def test_7_four_times_the_memory(folder):
    done, passed = run_tests(folder, "tests/stages/test_bounded_memory.py", "-m", "multi", "-s")
    say(f"7. ingest and training of four times the memory limit: {passed} passed")
    say("\n".join(line for line in done.text.splitlines() if "peak memory" in line))
