"""`release --layout`: what Triton's own schema says of its config, and the container's server run as its Containerfile says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.shipping.shipped import open_shipped
from tests import shipped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CHECK = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())
print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    place = tmp_path_factory.mktemp("layouts")
    (place / "data").mkdir()
    shipped.folder(place / "data", "torch_export", "onnx", timed=[1], repeats=1)
    (place / "data/report").mkdir()
    (place / "data/report/MODEL_CARD.md").write_text("# A card\n")
    before = os.getcwd()
    os.chdir(place)
    try:
        assert main(["release", "Cells 1.0", "--layout", "triton", "container"]) == 0
    finally:
        os.chdir(before)
    return place / "Cells 1.0"


def environment(place, *words):
    """A fresh environment with these packages alone."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin/python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words], check=True)
    return python


def test_tritons_own_schema_takes_the_config(released, tmp_path):
    python = environment(tmp_path / "env", "tritonclient[grpc]")
    done = subprocess.run([str(python), "-c", CHECK, str(released / "triton/cells-1.0/config.pbtxt")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads(done.stdout)
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("cells-1.0", "onnxruntime", 64)
    assert config["input"] == [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": ["16", "16", "1"]}]
    assert [(part["name"], part["data_type"], part["dims"]) for part in config["output"]] == [
        ("prediction", "TYPE_FP32", ["2"]), ("unknown_score", "TYPE_FP32", ["1"]), ("unknown", "TYPE_BOOL", ["1"]),
    ]  # fmt: skip
    assert (released / "triton/cells-1.0/labels.txt").read_text() == "bar\ndisc\n"
    assert (released / "triton/cells-1.0/1/model.onnx").read_bytes() == (released / "onnx/model.onnx").read_bytes()


def test_the_container_answers_with_its_own_packages_alone(released, tmp_path):
    """No container engine here: each word of the Containerfile is done by hand, in an environment that holds nothing else."""
    text = (released / "Containerfile").read_text()
    model = tmp_path / "model"
    shutil.copytree(released, model)
    files = re.search(r"pip install --no-cache-dir (.*)", text).group(1).replace("/tmp/", f"{model}/container/").split()
    python = environment(tmp_path / "env", *files)
    listed = subprocess.run([str(python), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    assert not re.search(r"^(torch|dvc|pytorch-lightning|hydra-core)==", listed, re.MULTILINE)
    words = json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE).group(1))
    words = [word.replace("/model", str(model)) for word in words]
    settings = dict(word.split("=", 1) for word in re.search(r"^ENV (.*)$", text, re.MULTILINE).group(1).split())
    settings = {name: value.replace("/model", str(model)) for name, value in settings.items()}
    port = "18473"
    log = tmp_path / "log"
    with log.open("w") as said:
        server = subprocess.Popen([str(python), *words[1:], "--port", port], cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT,
                                  env={"PATH": os.environ["PATH"], **settings})  # fmt: skip
    try:
        until = time.time() + 120
        while time.time() < until and server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=3)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        assert server.poll() is None, log.read_text()
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
        body = BytesIO()
        Image.fromarray(pixels).save(body, "PNG")
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body.getvalue(), {"Content-Type": "image/png"})
        said = json.loads(urllib.request.urlopen(asked, timeout=60).read())
        wanted = open_shipped(released, target="onnx").answer(pixels[None, :, :, None])[0]
        found = said["predictions"][0] if "predictions" in said else said
        assert found["label"] == wanted.label
        assert abs(found["probability"] - wanted.probability) < 1e-6
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert main(["verify", "--release", str(model)]) == 0  # it wrote nothing into its folder
