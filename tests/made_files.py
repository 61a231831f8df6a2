"""Files of `smallest` that take no time to make and to measure, and processes that fail while they do."""

import json
import sys

from pipeline.compression import search
from pipeline.shipping import trial

# A runtime that opens nothing: what it does follows from the text of the file.
PROCESS = """
import json, os, sys, time
import numpy as np
folder, fault = sys.argv[1], json.loads(sys.argv[2])
job = json.load(open(folder + "/job.json"))
fault = fault.get(open(job["out"] + "/" + job["file"]).read(), "")
print(json.dumps({"ready": True}), flush=True)
for number, line in enumerate(sys.stdin):
    if fault == "hangs":
        time.sleep(60)
    if fault == "ends" or fault == "ends once" and folder.endswith("/original") and number == 3 and not os.path.exists(folder + "/ended"):
        open(folder + "/ended", "w").close()
        sys.exit("RuntimeError: no such kernel")
    if json.loads(line)["do"] == "answer":
        time.sleep(4 if fault == "slow" else 0)
        truth_N = np.arange(len(np.load(job["samples"]))) % 2
        np.savez(os.path.dirname(job["samples"]) + "/answers.npz", prediction=np.eye(2, dtype=np.float32)[truth_N])
    print(json.dumps({"seconds": 1.0 if fault == "slow" else 0.001, "cpu": 0.001, "bytes": 5}), flush=True)
"""


class Made:
    """What was made and what was measured, by name of what made it."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.files, self.measured = monkeypatch, [], []
        monkeypatch.setattr(search.Files, "whole", lambda _, network, directory: self.file(directory, "original"))
        monkeypatch.setattr(search, "compressed", lambda *given, out: self.file(out, type(given[2]).__name__))
        real = search.Stand.measure

        def measure(stand, file):
            self.measured.append(file.read_text())
            return real(stand, file)

        monkeypatch.setattr(search.Stand, "measure", measure)
        self.plant({})

    def plant(self, fault):
        """Let processes fail: text of the file -> hangs, ends, ends once (the original's) or slow."""
        words = [sys.executable, "-c", PROCESS]
        self.monkeypatch.setattr(trial, "_words", lambda verb, folder: [*words, str(folder), json.dumps(fault)])

    def file(self, folder, name):
        self.files.append(name)
        (folder / "model.onnx").write_text(name)
        return folder / "model.onnx"

    def taken(self):
        """What was made and what was measured since this was asked last."""
        found = self.files, self.measured
        self.files, self.measured = [], []
        return found
