"""Libraries are imported without what they do not need here, and what is imported already stays."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from pipeline.core.imports import instead


def test_a_module_is_another_one_inside_and_itself_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    stand_in = ModuleType("colorsys")
    with instead({"colorsys": stand_in}):
        import colorsys as found

        assert found is stand_in
    import colorsys

    assert colorsys is not stand_in
    assert colorsys.rgb_to_hsv(1, 0, 0) == (0, 1, 1)


def test_a_module_can_be_absent_also_where_the_body_fails(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ModuleNotFoundError), instead({"colorsys": None}):
        importlib.import_module("colorsys")
    assert "colorsys" not in sys.modules


def test_what_somebody_has_imported_stays():
    import json

    with instead({"json": None}):
        import json as again
    assert again is json


def said(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_composing_reads_no_grammar_of_addresses_and_rules_hold():
    code = """
import sys
from pipeline.core.schema import validator
print("rfc3987_syntax" in sys.modules, len(list(validator({"type": "integer", "maximum": 3}).iter_errors(4))))
"""
    assert said(code) == ["False", "1"]


def test_deterministic_kernels_need_no_compiler():
    code = """
import sys, torch
from pipeline.core.launch import seed_everything
seed_everything(1)
print(torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(), "torch._dynamo" in sys.modules)
"""
    assert said(code) == ["True", "False", "False"]
