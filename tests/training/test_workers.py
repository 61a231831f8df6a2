"""Workers of the loader in a workspace whose path is long."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.training import inputs

CODE = """
import numpy as np
from pipeline.training.inputs import FeatureInputs, Labels, load
from pipeline.training.stream import StepStream
labels = Labels(np.zeros(8, np.int64), np.ones(8, np.float32), [str(number) for number in range(8)])
stream = StepStream(8, batch_size=4, max_steps=3, seed=0)
data = FeatureInputs(np.arange(8, dtype=np.float32)[:, None], labels)
print(len(list(load(data, stream, workers=2))))
"""


def test_a_temporary_folder_with_a_long_name_is_no_obstacle(tmp_path):
    """Without a short folder for its socket a worker sends nothing, and the training waits for ever (a path may have 107 bytes)."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(Path(inputs.__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout.split(), done.stderr) == (["3"], "")
    assert list(folder.iterdir()) == []
