"""The acceptance list of training: one test a numbered line, on a fresh clone, printing its figure (`make acceptance`)."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from pipeline.training.saved_model import load_model
from tests.acceptance.commands import run, run_tests
from tests.searching import trials

PUBLISHED = {
    "two convolutions (under 100,000 parameters)": 0.925, "HOG and SVM": 0.926, "XGBoost": 0.898, "ResNet-18": 0.949,
    "MobileNet": 0.950, "WRN-28-10": 0.959, "a person": 0.835,
}  # fmt: skip
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]


def say(text):
    print(f"\n  {text}", flush=True)


def lines(text, word):
    return [line.strip(".sF ") for line in text.splitlines() if word in line]


def test_1_twenty_kills_over_four_runs(clone):
    done, passed = run_tests(clone("kills"), "tests/training/test_resume.py", "-m", "slow", "-s", "--timeout=3000")
    killed = [re.search(r"KILLED (.*): (\d+) kills, final bytes (\w+), (\d+) unreadable", line) for line in lines(done.text, "KILLED ")]
    kills, bad = sum(int(one.group(2)) for one in killed), sum(int(one.group(4)) for one in killed)
    equal = sum(one.group(3) == "equal" for one in killed)
    say(f"1. {kills} kill -9 over {len(killed)} runs: {equal}/{len(killed)} end with the bytes of the uninterrupted run, {bad} unreadable checkpoints")
    say("\n  ".join(f"   {one.group(0)}" for one in killed))
    planted = lines(done.text, "PLANTED ")
    say(f"   {planted[0]}")
    assert (kills, len(killed), equal, bad) == (20, 4, 4, 0)
    assert planted[0].endswith("final bytes different")
    assert passed >= 5


def test_2_signals_and_lost_processes(clone):
    folder = clone("signals")
    done, _ = run_tests(folder, "tests/training/test_signals.py", "-m", "slow", "-k", "real_command or gan", "-s", "--timeout=3000")
    signalled = lines(done.text, "SIGNAL ")
    said = sum("exit 75" in line for line in signalled)
    say(f"2. signals: {said}/{len(signalled)} end with a checkpoint and exit code 75, and the same command continues to the same bytes")
    say("\n  ".join(f"   {line}" for line in signalled))
    lost, _ = run_tests(folder, "tests/training/test_processes.py", "-m", "slow", "-s", "--timeout=3000")
    killed = [re.search(r"RANK (\d) killed: exit (-?\d+), all gone after ([\d.]+) s, (\d+) left", line) for line in lines(lost.text, " killed: exit")]
    hung = sum(one.group(4) != "0" or one.group(2) == "0" for one in killed)
    say(f"   two processes, one killed: {len(killed)} kills, {hung} hangs, gone after {max(float(one.group(3)) for one in killed):.1f} s at most")
    assert (said, len(signalled), len(killed), hung) == (9, 9, 6, 0)


BENCHMARKS = {
    "loop": r"convolutions,|linear,", "recipes": r"goal (9|10):", "search": r"asha:|halving,|hyperband,|rank correlation",
    "processes": r"two processes|a checkpoint", "planning": r"\d+ cells|ratio",
}  # fmt: skip


@pytest.mark.parametrize("name", BENCHMARKS)
def test_3_goals_8_9_10_13_14(clone, name):
    done = run([sys.executable, "-m", f"benchmarks.{name}"], cwd=clone(name))
    told = [line for line in done.text.splitlines() if re.match(BENCHMARKS[name], line)]
    say(f"3. benchmarks.{name}: exit {done.code} after {done.seconds:.0f} s\n     " + "\n     ".join(told))
    assert told, done.text[-6000:]
    assert done.code == 0, "a required figure is missed"


def test_4_fashion_mnist_and_lite0(clone):
    folder = clone("fashion")
    done = run([sys.executable, "-m", "pipeline", "exp", "experiment=fashion_full", "logger=none"], cwd=folder)
    assert done.code == 0, done.text[-6000:]
    accuracy = json.loads((folder / "data/evaluate/metrics.json").read_text())["accuracy"]
    model = load_model(folder / "data/train")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    minutes = done.stages["train"] / 60
    looks = [json.loads(line) for line in (folder / ".run/looks.jsonl").read_text().splitlines()]
    judged = [look["model"] for look in looks if look["stage"] == "evaluate"]
    say(f"4. {type(model).__name__} of {parameters} parameters: official test accuracy {accuracy['value']:.4f} "
        f"[{accuracy['low']:.4f}, {accuracy['high']:.4f}], trained for {minutes:.1f} CPU-minutes on one thread; "
        f"evaluated on the test split {len(judged)} time")  # fmt: skip
    say("   beside it, as the data's README lists them: " + ", ".join(f"{name} {value}" for name, value in PUBLISHED.items()))
    photographs = run([sys.executable, "-m", "benchmarks.imagenet20"], cwd=folder)
    say("   " + "\n   ".join(photographs.text.strip().splitlines()[-6:]))
    assert len(judged) == 1
    assert parameters < 100_000
    assert accuracy["value"] > 0.925
    assert minutes <= 15
    assert photographs.code == 0, photographs.text[-3000:]


def test_5_transfer_scratch_and_features_by_blocks(clone):
    folder = clone("blocks")
    done = run(["make", f"PYTHON={sys.executable}", "repro"], cwd=folder)
    assert done.code == 0, done.text[-6000:]
    table = run([sys.executable, "-m", "benchmarks.elpv_transfer"], cwd=folder)
    say(f"5. {table.seconds / 60:.0f} minutes\n{table.text}")
    assert table.code == 0, "another method is ahead of the default by more than the noise"


def test_6_two_kills_of_a_search_lose_nothing(clone):
    whole, killed = clone("whole-search"), clone("killed-search")
    command = [sys.executable, "-m", "pipeline", "tune", "digits", "--no-browser"]
    done = run(command, cwd=whole)
    assert done.code == 0, done.text[-6000:]
    moments, lost, finished = random.Random(6), 0, []
    for kill in range(2):
        process = subprocess.Popen(command, cwd=killed, stdout=subprocess.PIPE, text=True, start_new_session=True)
        returned = 0
        for line in process.stdout:
            returned += line.startswith("trial ")
            if returned == 2 + kill:
                break
        time.sleep(moments.uniform(0.5, 6))
        over = process.poll() is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not over, "the study ended before it was killed"
        now = [trial for trial in trials(killed, "digits") if trial["values"]]
        kept = [trial["params"] for trial in now]
        lost += sum(params not in kept for params in finished)
        finished = kept
    again = run(command, cwd=killed)
    assert again.code == 0, again.text[-6000:]
    best = [next(line for line in text.splitlines() if line.startswith("best:")) for text in (done.text, again.text)]
    equal = trials(whole, "digits") == trials(killed, "digits")
    say(f"6. search killed twice with {len(finished)} trials judged by then: {lost} lost; {best[1]}; "
        f"{'the same as' if best[0] == best[1] else 'NOT'} the uninterrupted study's; {len(trials(whole, 'digits'))} trials in {done.seconds:.0f} s")
    assert (lost, best[0], equal) == (0, best[1], True)
