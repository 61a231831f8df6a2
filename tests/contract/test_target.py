"""Every option of conf/target is held to the laws of a target; a new option is tested with no new test file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from torch import nn

from pipeline.core.artifact import read_json
from pipeline.core.parts import build, is_off
from pipeline.shipping import trial
from pipeline.shipping.attempt import absent
from pipeline.shipping.judge import judge
from pipeline.shipping.made import made_of
from pipeline.shipping.trial import FAILED, MISSING, RAN, RECIPE, Bench, attempt
from pipeline.target.web import RUNTIME, Web
from pipeline.training.predict import predict, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import read_subset
from tests import shipped, toy

CONF = Path(__file__).resolve().parents[2] / "conf/target"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
LIMITS = {"tolerance": 1e-4, "drop": 0.05, "sign": 1}


def web_runtime():
    return all((toy.PROJECT / Web().runtime / name).is_file() for name in RUNTIME)


def test_only_what_no_command_of_the_tests_installs_may_be_passed_over(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert {name for name in OPTIONS if shipped.allowed_to_lack(name, "it is not there")} <= {"coreml", "litert", "web"}
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert shipped.allowed_to_lack("web", "run  make web") == ""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What targets are made of, 256 real samples, and the trained model's answers."""
    directory = tmp_path_factory.mktemp("target")
    folders, inputs = shipped.before(directory, count=300)
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    subset = read_subset(task, folders.ingest, folders.split, ["train", "val", "test"]).spread(256, "parity")
    model = load_model(folders.train)
    facts = {"ingest": str(inputs["ingest"]), "train": str(inputs["train"]), "ood": str(inputs["ood"]), "onnx": str(inputs["export"] / "model.onnx"),
             "int8": str(inputs["compress"] / "model.onnx"), "task": folders.task, "decoder": shipped.INGEST, "detector": {"energy": toy.option("detector", "energy")}}

    def eager(pixels_BHWC):
        with torch.inference_mode():
            return task.decode(model(to_batch(list(pixels_BHWC))))

    bench = Bench(facts, np.stack(list(subset.pixels())), [1, 2, 7], [1], 2, eager)
    trained_NK = predict(model, task, subset.pixels(), total=len(subset))

    def metric(found_NK):
        return {"value": task.metrics(found_NK, subset.truth, subset.weight)[task.headline], "low": 0.0, "high": 1.0}

    return bench, trained_NK, metric


@pytest.fixture(scope="module")
def watched(world):
    """What the detector of unknown inputs says of the samples in torch: scores and flags."""
    bench, *_ = world
    with torch.inference_mode():
        _, score_N, unknown_N = made_of(bench.made).network(torch.from_numpy(bench.samples_NHWC))
    assert 0 < int(unknown_N.sum()) < len(unknown_N)
    return score_N.numpy(), unknown_N.numpy()


WATCHED = {"onnx", "openvino", "torch_export", "c", "executorch", "ncnn", "litert"}  # the detector is inside; web: test_web.py
WATCHED_SMALL = {"onnx_int8", "openvino_int8", "c_int8"}  # the same of the compressed file, with its own threshold
HEAVY = {"coreml", "executorch", "ncnn", "litert", "openvino_int8", "c_int8"}  # by `make test-all`


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in OPTIONS])
def option(request):
    text = (CONF / f"{request.param}.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# @package target.{request.param}\n"), "a listed room needs its package line"
    return request.param, yaml.safe_load(text)


@pytest.mark.timeout(600)
def test_it_says_what_the_trained_model_says_on_256_samples_in_a_process_of_its_own(option, world, watched, tmp_path):
    name, part = option
    bench, trained_NK, metric = world
    before = {path.name for path in tmp_path.iterdir()}
    found = attempt(name, part, tmp_path / name, bench)
    if found.state == MISSING or (name == "web" and not web_runtime()):
        reason = shipped.allowed_to_lack(name, found.why)
        assert reason, f"{name} must be installed where the tests run: {found.why}"
        pytest.skip(reason)
    if found.state == RECIPE:  # a Mac or a GPU has to run it
        assert name in {"coreml", "tensorrt"}
        assert (tmp_path / name / found.file).stat().st_size > 0
        assert judge(found, trained_NK, metric, LIMITS).agreement is None
        return
    assert found.state == RAN, found.why
    judged = judge(found, trained_NK, metric, LIMITS)
    assert judged.refused == ""
    assert judged.unfit == ""
    assert judged.agreement == 1.0 if found.precision == "fp32" else judged.agreement > 0.95
    assert {path.name for path in tmp_path.iterdir()} == before | {name}
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file())
    if name in WATCHED:
        assert set(found.answers[7]) == {"prediction", "unknown_score", "unknown"}
        score_N, unknown_N = watched
        assert np.abs(found.answers[7]["unknown_score"].reshape(-1) - score_N).max() < 1e-4
        other = found.answers[7]["unknown"].reshape(-1) != unknown_N
        assert np.ptp(score_N[other]) < 1e-6 if other.any() else True  # the sample that set the threshold may fall on either side
        assert other.sum() <= 1
    if name in WATCHED_SMALL:
        assert set(found.answers[7]) == {"prediction", "unknown_score", "unknown"}
        score_N, flag_N = (found.answers[7][key].reshape(-1) for key in ("unknown_score", "unknown"))
        assert spearmanr(score_N, watched[0]).statistic > 0.9
        limit = json.loads(made_of(bench.made).told["unknown"])["threshold"]
        assert np.array_equal(flag_N[np.abs(score_N - limit) > 1e-3], (score_N > limit)[np.abs(score_N - limit) > 1e-3])
        assert 0 < flag_N.mean() < 0.2


class Broken(nn.Module):
    """The network behind a planted mistake."""

    def __init__(self, network, fault):
        super().__init__()
        self.model, self.decode, self.fault = network.model, network.decode, fault

    def forward(self, pixels_BHWC):
        x_BCHW = pixels_BHWC.permute(0, 3, 1, 2).to(torch.float32)
        if self.fault == "normalisation":
            return self.decode(self.model(x_BCHW / 256.0))
        return self.decode(self.model(x_BCHW.flip(3) / 255.0))


@pytest.mark.parametrize("fault", ["normalisation", "flipped", "training mode"])
def test_a_planted_mistake_is_refused(world, tmp_path, fault):
    """Negative controls: they are written by torch.export, which takes whatever network it is given."""
    bench, trained_NK, metric = world
    made = made_of(bench.made)
    network = Broken(made.plain, fault).eval() if fault != "training mode" else made.plain
    target = build(toy.option("target", "torch_export"))
    if fault == "training mode":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()
    path = target.build(type(made)(**{**vars(made), "network": network}), tmp_path)
    answers = {7: {"prediction": np.concatenate([target.load(path)(bench.samples_NHWC[at : at + 7]) for at in range(0, 256, 7)])}}
    found = trial.Trial("torch_export", RAN, "fp32", answers=answers)
    assert "differ by" in judge(found, trained_NK, metric, LIMITS).refused


def test_a_target_that_cannot_be_written_is_a_line_and_leaves_nothing(world, tmp_path):
    bench, *_ = world
    part = toy.option("target", "onnx_int8")
    found = attempt("onnx_int8", part, tmp_path / "it", Bench(**{**vars(bench), "made": {**bench.made, "int8": ""}}))
    assert (found.state, found.why) == (FAILED, "nothing was compressed: choose compressor=int8")
    assert not (tmp_path / "it").exists()


def test_a_missing_package_is_named_with_what_to_do():
    assert absent((("some-package", "no_such_module_anywhere"),)) == "not installed: pip install some-package"
    assert absent((("numpy", "numpy"),)) == ""


def test_the_same_bytes_again(world, tmp_path):
    """What certify proved things of is what ships; the others are as stable as their converters."""
    bench, *_ = world
    source = Path(bench.made["onnx"])
    made = made_of(bench.made)
    for name in ("onnx", "c"):
        target = build(toy.option("target", name))
        written = []
        for place in ("a", "b"):
            (tmp_path / name / place).mkdir(parents=True)
            written.append(target.build(made, tmp_path / name / place).read_bytes())
        assert written[0] == written[1]
        if name == "onnx":
            assert written[0] == source.read_bytes()


@pytest.mark.slow  # compiled four times over
def test_c_compiles_without_a_warning_and_is_clean_under_the_sanitizers(world, tmp_path):
    import subprocess

    from pipeline.target.c import FLAGS, compile_c

    bench, *_ = world
    target = build(toy.option("target", "c"))
    path = target.build(made_of(bench.made), tmp_path)
    assert {"-Wall", "-Werror"} <= set(FLAGS)
    footprint = target.footprint(path)
    assert footprint["code"] > 0
    assert footprint["static"] > 16 * 16 * 4
    main = tmp_path / "main.c"
    main.write_text(
        '#include "model.c"\n#include <stdio.h>\nint main(void) {\n    static uint8_t pixels[1][16][16][1];\n'
        "    static float prediction[1][2], score[1];\n    static bool unknown[1];\n"
        '    FILE *file = fopen("images.bin", "rb");\n    if (!file) { return 2; }\n'
        "    while (fread(pixels, sizeof(pixels), 1, file) == 1) {\n        model(pixels, prediction, score, unknown);\n"
        '        printf("%.9g %.9g\\n", prediction[0][0], prediction[0][1]);\n    }\n    fclose(file);\n    return 0;\n}\n'
    )
    images = bench.samples_NHWC[:64]
    (tmp_path / "images.bin").write_bytes(images.tobytes())
    program = tmp_path / "program"
    compile_c(main, program, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
    done = subprocess.run([str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})
    assert done.returncode == 0, done.stderr[:2000]
    rows = np.array([[float(word) for word in line.split()] for line in done.stdout.splitlines()])
    wanted = bench.eager(images).numpy()
    assert rows.shape == wanted.shape
    assert np.abs(rows - wanted).max() < 1e-5
    assert (rows.argmax(1) == wanted.argmax(1)).all()
