"""The acceptance list of scale: one test a numbered line, on a fresh clone, printing its figure (`make acceptance`)."""

import pytest

from tests.scale_slurm import on_slurm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(14400)]


def say(text):
    print(f"\n  {text}", flush=True)


def test_1_a_study_on_slurm_with_kills(clone):
    passed, figures = on_slurm(clone("study"), "tests/slurm/test_study.py", "tests/slurm/test_bad_input.py")
    say(f"1. twelve cells on a real Slurm of four nodes: {passed} tests passed\n     " + "\n     ".join(figures))


def test_2_preemption(clone):
    passed, figures = on_slurm(clone("preempted"), "tests/slurm/test_preemption.py")
    say(f"2. preempted, a killed node, a killed controller: {passed} tests passed\n     " + "\n     ".join(figures))
    assert passed == 6


def test_6_the_page_word_by_word(clone):
    passed, _ = on_slurm(clone("page"), "tests/slurm/test_page.py")
    say(f"6. docs/cluster.md followed on two nodes: {passed} tests passed")
    assert passed == 2
