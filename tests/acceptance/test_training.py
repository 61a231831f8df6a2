"""The acceptance list of training: one test a numbered line, on a fresh clone, printing its figure (`make acceptance`)."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.acceptance.commands import run, run_tests
from tests.searching import trials

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


def test_3_search_costs_a_fraction_of_random_search(clone):
    folder = clone("search")
    searched = run([sys.executable, "-m", "benchmarks.search"], cwd=folder)
    planned = run([sys.executable, "-m", "benchmarks.planning"], cwd=folder)
    said = [line for line in searched.text.splitlines() if re.match(r"halving:|asha,|hyperband,|rank correlation", line)]
    said += [line for line in planned.text.splitlines() if re.match(r"\d+ cells|ratio", line)]
    say("3. " + "\n     ".join(said))
    assert (searched.code, planned.code) == (0, 0), (searched.text + planned.text)[-6000:]


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
