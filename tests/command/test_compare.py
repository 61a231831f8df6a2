"""The command compare: folders, folders of seeds, revisions; what it says, and what it refuses to pair."""

import csv
import hashlib
import json
import subprocess

import numpy as np
import pytest
import yaml

from pipeline.command import compare
from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError
from tests import toy

CLASSES = ["good", "bad"]


def publish(folder, *, skill, seed=0, count=120, data=0, noise=0, classes=CLASSES, headline="accuracy"):
    """Results of evaluate of a model whose logit leans to the truth by `skill`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(data)
    truth_N, hard_N = rng.integers(0, 2, count), rng.normal(size=count)
    logit_N = (2 * truth_N - 1) * skill + hard_N + 0.3 * np.random.default_rng([seed, noise]).normal(size=count)
    p_N = 1 / (1 + np.exp(-2 * logit_N))
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "name", "truth", "truth_value", "weight", "group", *(f"p_{name}" for name in classes)])
        for n in range(count):
            writer.writerow([f"{data}-{n}", f"{n}.png", classes[truth_N[n]], truth_N[n], 1, f"g{n // 2}", f"{1 - p_N[n]:.6f}", f"{p_N[n]:.6f}"])
    accuracy = float(((p_N > 0.5) == truth_N).mean())
    write_json(folder / "metrics.json", {name: {"value": accuracy, "low": 0.0, "high": 1.0} for name in ("accuracy", "auroc")})
    write_json(folder / "headline.json", {"metric": headline, "labels": {"accuracy": "accuracy", "auroc": "AUROC"}})
    card = {"name": "toy", "classes": classes, "target": None}
    write_json(folder / "task.json", {"part": toy.option("task", "classification", headline=headline), "card": card, "train_samples": 400})
    write_json(folder / "manifest.json", {"seed": seed, "inputs": {"train": hashlib.sha256(f"{skill}{seed}{noise}".encode()).hexdigest()}})
    return folder


def run(capsys, *words):
    assert compare.main([str(word) for word in words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_better_model_is_called_better_with_the_caveat_of_one_seed(tmp_path, capsys):
    a, b = publish(tmp_path / "a", skill=0.3), publish(tmp_path / "b/data/evaluate", skill=1.2, noise=1)
    said = run(capsys, a, tmp_path / "b", "--resamples", 200, "--json", tmp_path / "out.json")
    assert f"{tmp_path / 'b'} is better than {a}: +0." in said
    assert "over 60 paired groups of test samples" in said
    assert "It says nothing of their configurations: one seed each" in said
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["winner"], found["metric"], found["pairs_of"]) == ("B", "accuracy", "groups of test samples")
    assert found["compared"]["accuracy"]["p"] < 0.05
    assert found["compared"]["auroc"]["p"] is None, "only one metric is tested"
    assert found["compared"]["auroc"]["low"] > 0
    said = run(capsys, b.parents[1], a, "--resamples", 200)
    assert f"{b.parents[1]} is better than {a}: -0." in said


def test_equal_models_show_no_difference_and_the_same_one_is_named_so(tmp_path, capsys):
    a, b = publish(tmp_path / "a", skill=0.6), publish(tmp_path / "b", skill=0.6, noise=1)
    assert "No difference: " in run(capsys, a, b, "--resamples", 200)
    said = run(capsys, a, a, "--resamples", 200, "--metric", "auroc")
    assert "A and B are the same trained model." in said
    assert "No difference: +0.0000 [+0.0000, +0.0000] in AUROC, p = 1.000" in said


def seeds(folder, count, **facts):
    for seed in range(count):
        publish(folder / f"seed-{seed}/evaluate", seed=seed, **facts)
    return folder


def test_six_seeds_may_have_a_winner_and_five_never(tmp_path, capsys):
    a, b = seeds(tmp_path / "a", 6, skill=0.2), seeds(tmp_path / "b", 6, skill=1.2, noise=1)
    said = run(capsys, a, b, "--resamples", 100)
    assert f"{b} is better than {a}" in said
    assert "over 6 paired seeds" in said
    assert "The seeds share one test split" in said
    five = [",".join(str(folder / f"seed-{seed}") for seed in range(5)) for folder in (a, b)]
    said = run(capsys, *five, "--resamples", 100)
    assert "No winner is named" in said
    assert "fewer than 6 pairs cannot show a difference" in said


def test_seeds_of_their_own_test_splits_widen_the_interval(tmp_path, capsys):
    for seed in range(6):
        publish(tmp_path / f"a/{seed}", skill=0.5, seed=seed, data=seed)
        publish(tmp_path / f"b/{seed}", skill=0.5, seed=seed, data=seed, noise=1)
    said = run(capsys, tmp_path / "a", tmp_path / "b", "--resamples", 100)
    assert "Each seed has its own test split; intervals are widened" in said
    assert "No difference" in said


def test_runs_that_cannot_be_paired_are_refused(tmp_path):
    a = publish(tmp_path / "a", skill=1.0)
    for other, words in (
        (publish(tmp_path / "data", skill=1.0, data=1), r"tested on different samples \(120 and 120, 0 of them common\)"),
        (publish(tmp_path / "classes", skill=1.0, classes=["bad", "good"]), "predict different things"),
    ):
        with pytest.raises(PersonError, match=words):
            compare.main([str(a), str(other)])
    turned = publish(tmp_path / "truth", skill=1.0)
    text = (turned / "predictions.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[3] = str(1 - int(cells[3]))
    (turned / "predictions.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]))
    with pytest.raises(PersonError, match="the same test samples with different truths"):
        compare.main([str(a), str(turned)])
    many, few = seeds(tmp_path / "many", 3, skill=1.0), seeds(tmp_path / "few", 2, skill=1.0)
    with pytest.raises(PersonError, match="the seeds 2 are of one side alone"):
        compare.main([str(many), str(few)])
    with pytest.raises(PersonError, match="A holds 2 runs of 1 seeds"):
        compare.main([f"{a},{a}", str(few)])


def test_names_that_mean_nothing_are_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "."], check=True)
    a = publish(tmp_path / "a", skill=1.0)
    (tmp_path / "empty").mkdir()
    for other, words in (("empty", "holds no results of evaluate"), ("nowhere", "neither a folder nor a git revision or experiment")):
        with pytest.raises(PersonError, match=words):
            compare.main([str(a), other])
    with pytest.raises(PersonError, match="did you mean 'accuracy'"):
        compare.main([str(a), str(a), "--metric", "acuracy"])
    with pytest.raises(PersonError, match=r"received 0\.95 and 10"):
        compare.main([str(a), str(a), "--resamples", "10"])


def test_a_revision_and_an_experiment_are_read_from_the_cache(tmp_path, capsys, monkeypatch):
    """A commit's dvc.lock names evaluate's folder; nothing is checked out."""
    from pipeline.evaluation import runs

    root = tmp_path / "project"
    a = publish(tmp_path / "a", skill=0.3)
    md5 = root / "cache/files/md5"
    listed = []
    for path in sorted(a.iterdir()):
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        (md5 / digest[:2]).mkdir(parents=True, exist_ok=True)
        (md5 / digest[:2] / digest[2:]).write_bytes(path.read_bytes())
        listed.append({"md5": digest, "relpath": path.name})
    text = json.dumps(listed).encode()
    digest = f"{hashlib.md5(text).hexdigest()}.dir"
    (md5 / digest[:2]).mkdir(parents=True, exist_ok=True)
    (md5 / digest[:2] / digest[2:]).write_bytes(text)
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": {"outs": [{"path": "data/evaluate", "md5": digest}]}}}))
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "one"], ["update-ref", "refs/exps/ab/cdef/fast-run", "HEAD"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setattr(runs, "_dvc", lambda root, *words: str(root / "cache"))
    b = publish(tmp_path / "b", skill=1.2, noise=1)
    for name in ("HEAD", "fast-run"):
        assert f"{b} is better than {name}" in run(capsys, name, b, "--resamples", 200)
    (md5 / digest[:2] / digest[2:]).unlink()
    with pytest.raises(PersonError, match="not in DVC's cache here: fetch them"):
        compare.main(["HEAD", str(b)])
