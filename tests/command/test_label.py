"""From a trained model and unlabelled photos to a queue, a review by code, and new data that the dataset lists."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.command import label
from pipeline.core import artifact
from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.labelling.label_queue import Waiting
from tests import toy

CLASSES = ["bar", "disc"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """data/ of a workspace after training, without an export."""
    from pipeline.stages import embed

    data = tmp_path_factory.mktemp("trained") / "data"
    data.mkdir()
    ingest = toy.ingest(data, classes=CLASSES)
    toy.split(data, ingest)
    cfg = {
        "task": toy.option("task", "classification"), "embedder": toy.option("embedder", "pixels"), "embed": {"batch_size": 64},
        "exporter": toy.option("exporter", "onnx"), "threads": 1,
        "ingest": {"height": 16, "width": 16, "channels": 1, "fit": "stretch", "min_side": 4, "max_aspect": 20.0,
                   "max_pixels": 10**6, "sixteen_bit": "reject", "background": 255, "max_bad_fraction": 0.02, "conflicts": "stop"},
    }  # fmt: skip
    embed.run(cfg, artifact.begin(data / "embed"), ingest=ingest)
    toy.publish(data, "embed", {"ingest": ingest})
    toy.train(data, ingest, data / "split", task=cfg["task"])
    (data / "compose").mkdir()
    (data / "compose/config.yaml").write_text(yaml.safe_dump(cfg))
    return data


@pytest.fixture
def root(tmp_path, project, trained, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(project / "conf", root / "conf")
    shutil.copytree(project / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in (".gitignore", ".dvcignore", "dvc.yaml", "params.yaml"):
        shutil.copy(project / name, root / name)
    shutil.copytree(trained, root / "data")
    (root / "data/raw").mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def photos(tmp_path):
    """Thirty new pictures in two folders, one of them twice, one nearly twice, and two that are none."""
    folder = tmp_path / "new photos"
    rng = np.random.default_rng(7)
    for number in range(30):
        path = folder / f"{'ab'[number % 2]}/{number:02d} ü.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toy.image(number % 2, 0.8, rng, side=16)[..., 0]).save(path)
    shutil.copy(folder / "a/00 ü.png", folder / "a/98 copy.png")
    near = np.asarray(Image.open(folder / "b/01 ü.png")).copy()
    near[0, 0] ^= 3
    Image.fromarray(near).save(folder / "b/99 near.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    (folder / "notes.txt").write_text("not an image")
    return folder


def truth(path):
    """The class that a person would see: the first number of the name is even for bars."""
    return CLASSES[int(Path(path).name[:2]) % 2]


def queue(photos, *words):
    assert label.main(["queue", str(photos), *words]) == 0


def listed(root, name):
    """What the dataset image_table lists of a version."""
    part = compose(root / "conf", experiment=name, overrides=[])["dataset"]
    dataset = build(part, source=root / "data/raw" / name)
    classes = dataset.card()["classes"]
    return {entry.name: classes[entry.label] for entry in dataset.entries()}


def test_queue_writes_tasks_a_table_and_a_page(root, photos, capsys):
    queue(photos, "--count", "12")
    out = root / "data/label/new photos"
    assert sorted(path.name for path in out.iterdir()) == ["labels.xml", "queue.csv", "sheet.html", "tasks.json"]
    tasks = json.loads((out / "tasks.json").read_text())
    assert len(tasks) == 12
    assert all((photos / task["data"]["path"]).is_file() for task in tasks)
    assert all(task["predictions"][0]["model_version"].startswith("data/train ") for task in tasks)
    with (out / "queue.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [task["data"]["path"] for task in tasks]
    page = (out / "sheet.html").read_text()
    assert page.count("<figure>") == 12
    assert page.count("data:image/jpeg;base64,") == 12
    said = capsys.readouterr().out
    assert "12 of 31 new images wait" in said
    assert "1 repeat another one" in said
    assert "broken.png: " in said


def test_the_queue_asks_about_the_doubtful_and_once_about_twins(root, photos):
    queue(photos, "--count", "100", "--diversity", "0", "--format", "csv")
    with (root / "data/label/new photos/queue.csv").open() as file:
        rows = list(csv.DictReader(file))
    doubt = [float(row["doubt"]) for row in rows]
    assert doubt == sorted(doubt, reverse=True)
    assert len(rows) == 30
    twin = [row for row in rows if row["stands_for"]]
    assert len(twin) == 1
    assert {twin[0]["path"], twin[0]["stands_for"]} == {"b/01 ü.png", "b/99 near.png"}


def test_equal_input_gives_equal_bytes(root, photos):
    for form in ("labelstudio", "cvat", "csv"):
        for name in ("one", "two"):
            queue(photos, "--format", form, "--out", str(root / name / form))
        for path in (root / "one" / form).iterdir():
            assert path.read_bytes() == (root / "two" / form / path.name).read_bytes()


def test_the_exported_model_is_taken_where_there_is_one(root, photos, trained):
    from pipeline.training.deploy import deploy
    from pipeline.training.prelabel import judge, open_labeller
    from pipeline.training.saved_model import load_model

    card, cfg = artifact.read_json(trained / "ingest/card.json"), yaml.safe_load((trained / "compose/config.yaml").read_text())
    task = build(cfg["task"], card=card)
    out = artifact.begin(root / "data/export")
    deploy(load_model(trained / "train"), task, card, exporter=build(cfg["exporter"]), directory=out)
    toy.publish(root / "data", "export")
    found = {}
    for name, place in (("export", root), ("train", trained.parent)):
        labeller = open_labeller(place, space="features")
        assert labeller.model.startswith(f"data/{name} ")
        found[name] = judge(labeller, (sample.pixels_HWC for sample in toy.samples(40, 2, seed=3))).probability_NK
    np.testing.assert_allclose(found["export"], found["train"], atol=1e-5)


def reviewed(root, photos, form, count=20):
    """Make a queue and review all but the last two by code; return the file that a tool would export."""
    queue(photos, "--count", str(count), "--format", form)
    out = root / "data/label/new photos"
    if form == "labelstudio":
        tasks = json.loads((out / "tasks.json").read_text())
        for number, task in enumerate(tasks):
            answer = {
                "from_name": "class",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [truth(task["data"]["path"])]},
            }
            task["annotations"] = (
                [{"completed_by": {"email": "ann@example.org"}, "result": [answer]}] if number < count - 2 else []
            )
        (root / "export.json").write_text(json.dumps(tasks))
        return root / "export.json"
    if form == "cvat":
        import xml.etree.ElementTree as ET

        tree = ET.parse(out / "annotations.xml")
        for image in list(tree.getroot().iter("image"))[: count - 2]:
            tag = image.find("tag")
            if tag.attrib["label"] == truth(image.attrib["name"]):
                tag.find("attribute").text = "true"
            else:
                tag.attrib.update(label=truth(image.attrib["name"]), source="manual")
        tree.write(root / "export.xml", encoding="utf-8", xml_declaration=True)
        return root / "export.xml"
    with (out / "queue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[: count - 2]:
        row["label"], row["reviewer"] = truth(row["path"]), "ann"
    with (root / "export.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root / "export.csv"


@pytest.mark.parametrize("form", ["labelstudio", "cvat", "csv"])
def test_round_trip_queue_review_read_and_the_dataset_lists_the_same_labels(root, photos, form, capsys):
    export = reviewed(root, photos, form)
    assert label.main(["read", str(export), "--images", str(photos), "--name", "parts2"]) == 0
    said = capsys.readouterr().out
    assert "18 reviewed labels are read; 2 images still wait" in said
    found = listed(root, "parts2")
    assert len(found) == 18
    assert all(path.startswith("parts2/") and truth(path) == name for path, name in found.items())
    for path in found:
        assert (root / "data/raw/parts2" / path).read_bytes() == (photos / path.removeprefix("parts2/")).read_bytes()
    assert yaml.safe_load((root / "data/raw/parts2.dvc").read_text())["outs"][0]["nfiles"] == 19
    assert (root / "data/raw/parts2/labels.csv").read_text().splitlines()[0] == "path,label,group,reviewer,origin"


def test_a_new_version_continues_its_base(root, photos):
    base = root / "data/raw/parts"
    for name in ("bar/x.png", "disc/y.png"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 3 * len(name), np.uint8)).save(base / name)
    shutil.copy(photos / "a/00 ü.png", base / "disc/wrong.png")  # a bar that the base calls a disc
    (root / "conf/experiment/parts.yaml").write_text("# @package _global_\ndefaults:\n  - own_images\nseed: 77\n")
    export = reviewed(root, photos, "labelstudio", count=31)
    assert label.main(["read", str(export), "--images", str(photos), "--name", "parts2", "--base", "data/raw/parts"]) == 0
    found = listed(root, "parts2")
    assert found["bar/x.png"] == "bar"
    assert found["disc/wrong.png"] == "bar"
    assert "parts2/a/00 ü.png" not in found
    assert compose(root / "conf", experiment="parts2", overrides=[])["seed"] == 77


def untouched(root):
    return not list((root / "data/raw").iterdir()) and not (root / "conf/experiment/parts2.yaml").exists()


@pytest.mark.parametrize(("path", "name", "said"), [
    ("../project/params.yaml", "bar", "leaves the folder"), ("/etc/passwd", "bar", "leaves the folder"),
    ("a/none.png", "bar", "no such file"), ("a/00 ü.png", "baar", "did you mean 'bar'"),
])  # fmt: skip
def test_a_review_that_cannot_be_trusted_leaves_everything_as_it_was(root, photos, path, name, said):
    (root / "export.json").write_text(json.dumps([{"path": "b/01 ü.png", "class": "disc"}, {"path": path, "class": name}]))
    with pytest.raises(PersonError, match=said):
        label.main(["read", str(root / "export.json"), "--images", str(photos), "--name", "parts2"])
    assert untouched(root)


def test_classes_can_be_named_and_nothing_reviewed_is_an_error(root, photos):
    (root / "export.json").write_text(json.dumps([{"path": "b/01 ü.png", "class": "ring"}]))
    words = ["read", str(root / "export.json"), "--images", str(photos), "--name", "parts2"]
    with pytest.raises(PersonError, match="'ring' is not a class"):
        label.main(words)
    (root / "export.json").write_text(json.dumps([{"path": "b/01 ü.png"}]))
    with pytest.raises(PersonError, match="no reviewed label"):
        label.main(words)
    (root / "export.json").write_text(
        json.dumps([{"path": "b/01 ü.png", "class": "ring"}, {"path": "b/03 ü.png", "class": "bar"}])
    )
    assert label.main([*words, "--classes", "bar,disc,ring"]) == 0
    assert set(listed(root, "parts2").values()) == {"bar", "ring"}


def test_people_who_differ_stop_or_are_left_out(root, photos):
    answers = [{"path": "b/01 ü.png", "class": name, "annotator": who} for who, name in enumerate(CLASSES)]
    (root / "export.json").write_text(json.dumps([*answers, {"path": "a/00 ü.png", "class": "bar"}]))
    words = ["read", str(root / "export.json"), "--images", str(photos), "--name", "parts2"]
    with pytest.raises(PersonError, match="people differ about 1 images"):
        label.main(words)
    assert untouched(root)
    assert label.main([*words, "--disagreement", "drop"]) == 0
    assert list(listed(root, "parts2")) == ["parts2/a/00 ü.png"]


def test_a_workspace_without_a_model_says_what_to_run(root, photos):
    shutil.rmtree(root / "data/train")
    with pytest.raises(PersonError, match="dvc repro"):
        queue(photos)
    assert not (root / "data/label").exists()


def test_a_task_that_chooses_no_class_is_refused(root, photos):
    path = root / "data/compose/config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "task": toy.option("task", "regression")}))
    with pytest.raises(PersonError, match="task is regression"):
        queue(photos)


@pytest.mark.parametrize(("words", "said"), [
    (["--count", "0"], "--count"), (["--diversity", "1.5"], "--diversity"), (["--near", "-1"], "--near"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(root, photos, words, said):
    with pytest.raises(PersonError, match=said):
        queue(photos, *words)


def test_an_existing_queue_is_not_overwritten_and_an_empty_folder_is_said(root, photos, tmp_path):
    queue(photos, "--count", "3")
    with pytest.raises(PersonError, match="exists already"):
        queue(photos, "--count", "3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PersonError, match="holds no image"):
        queue(tmp_path / "empty")
    with pytest.raises(PersonError, match="is not a folder"):
        queue(tmp_path / "nowhere")


def test_what_has_a_label_already_is_left_out(tmp_path):
    from pipeline.images.decode import Decoder, sample_id
    from pipeline.source.folder import files_below

    decoder = Decoder(
        height=8, width=8, channels=1, fit="stretch", min_side=4, max_pixels=10**6, sixteen_bit="reject", background=255
    )
    for number in range(4):
        Image.fromarray(np.full((8, 12), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    known = sample_id(decoder.decode((tmp_path / "2.png").read_bytes()))
    waiting = Waiting(tmp_path, decoder.decode, frozenset([known]))
    assert len(list(waiting.images(files_below(tmp_path)))) == 3
    assert (waiting.names, waiting.labelled, waiting.sizes[0]) == (["0.png", "1.png", "3.png"], 1, (8, 12))


def test_a_hostile_file_name_stays_text_on_the_page_and_in_the_formats(root, photos, tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    name = "<img src=x onerror=alert(1)> & 'q'.png"
    shutil.copy(photos / "a/00 ü.png", folder / name)
    shutil.copy(photos / "b/01 ü.png", folder / "=cmd.png")
    for form in ("labelstudio", "cvat", "csv"):
        queue(folder, "--format", form, "--out", str(tmp_path / form))
        assert "<img src=x" not in (tmp_path / form / "sheet.html").read_text()
    with (tmp_path / "csv/queue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = "bar"
    with (root / "export.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert label.main(["read", str(root / "export.csv"), "--images", str(folder), "--name", "parts2"]) == 0
    assert sorted(listed(root, "parts2")) == sorted([f"parts2/{name}", "parts2/=cmd.png"])


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        label.main(["--help"])
    assert ended.value.code == 0
    assert "python -m pipeline label queue ~/new_photos" in capsys.readouterr().out
