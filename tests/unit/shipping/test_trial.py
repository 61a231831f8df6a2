"""A target that fails while it is tried: a line that says why, and nothing else of it, whatever it was doing."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.shipping import trial
from pipeline.shipping.trial import FAILED, RAN, Bench, Runner, attempt
from pipeline.target.onnx import OnnxRuntime
from tests import toy

PROCESS = """
import json, os, sys, time
import numpy as np
verb, folder, fault = sys.argv[1:]
if verb == "build":
    out = json.load(open(folder + "/job.json"))["out"]
    open(out + "/model.onnx", "w").write("a file")
    json.dump({"file": "model.onnx"}, open(folder + "/built.json", "w"))
    sys.exit()
if fault == "never opens":
    time.sleep(60)
if fault == "deaf":
    os.close(0)
print(json.dumps({"ready": True}), flush=True)
if fault == "deaf":
    os._exit(1)
for line in sys.stdin:
    asked = json.loads(line)
    if fault == "ends":
        sys.stderr.write("some warning\\nOSError: no such device\\n")
        sys.exit(1)
    if fault == "hangs":
        time.sleep(60)
    if fault == "talks":
        print("loading kernels", flush=True)
    if asked["do"] == "answer":
        if fault == "killed":
            os._exit(3)
        if fault != "writes nothing":
            np.savez(folder + "/answers.npz", prediction=np.zeros((2, 2), np.float32))
    print(json.dumps({"seconds": 0.1, "cpu": 0.1, "bytes": 5}), flush=True)
"""
BENCH = Bench({"onnx": "", "int8": ""}, np.zeros((2, 4, 4, 1), np.uint8), [1], [1], 1, eager=lambda pixels: None)


def planted(monkeypatch, fault):
    monkeypatch.setattr(trial, "_words", lambda verb, folder: [sys.executable, "-c", PROCESS, verb, str(folder), fault])


def tried(tmp_path):
    return attempt("onnx", toy.option("target", "onnx"), tmp_path / "it", BENCH)


def test_one_that_answers_is_kept(tmp_path, monkeypatch):
    planted(monkeypatch, "")
    found = tried(tmp_path)
    assert (found.state, found.why, list(found.answers), list(found.seconds), found.memory) == (RAN, "", [1], [1], {1: 5})
    assert (tmp_path / "it/model.onnx").is_file()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("ends", "its process ended with 1: OSError: no such device"),
        ("deaf", "its process ended with 1: no word"),
        ("killed", "its process ended with 3: no word"),
        ("hangs", "it took longer than 3 s"),
        ("never opens", "it took longer than 3 s"),
        ("talks", "its process said 'loading kernels', which is no answer"),
        ("writes nothing", "answers.npz"),
    ],
)
def test_one_that_fails_while_it_answers_is_a_line_with_the_reason(tmp_path, monkeypatch, fault, why):
    planted(monkeypatch, fault)
    monkeypatch.setattr(trial, "PATIENCE", 3.0 if "longer" in why else 900.0)
    found = tried(tmp_path)
    assert found.state == FAILED
    assert why in found.why
    assert (found.answers, found.seconds, found.memory) == ({}, {}, {})
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(
    "error", [PersonError("there is no C compiler"), FileNotFoundError("size"), subprocess.CalledProcessError(1, ["size"])]
)
def test_one_whose_footprint_cannot_be_had_is_a_line_with_the_reason(tmp_path, monkeypatch, error):
    def footprint(self, path):
        raise error

    planted(monkeypatch, "")
    monkeypatch.setattr(OnnxRuntime, "footprint", footprint, raising=False)
    found = tried(tmp_path)
    assert (found.state, found.why, found.answers) == (FAILED, str(error), {})


def test_a_broken_pipe_hides_no_error_and_leaves_nothing_open(tmp_path, monkeypatch):
    planted(monkeypatch, "deaf")
    runner = Runner(tmp_path)
    with pytest.raises(RuntimeError, match="its process ended with 1"), runner:
        runner.ask({"do": "memory"})
    assert runner._process.stdin.closed
    assert runner._process.stdout.closed
    assert runner._errors.closed


def test_a_compressed_file_that_is_broken_is_a_line_with_the_reason(tmp_path, monkeypatch):
    planted(monkeypatch, "")
    (tmp_path / "small.onnx").write_bytes(b"\xff" * 50)
    bench = Bench(**{**vars(BENCH), "made": {"onnx": "", "int8": str(tmp_path / "small.onnx")}})
    found = attempt("onnx_int8", toy.option("target", "onnx_int8"), tmp_path / "it", bench)
    assert (found.state, found.why) == (FAILED, "small.onnx is no ONNX file, or a broken one")
    assert not (tmp_path / "it").exists()
