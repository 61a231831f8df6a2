"""What labelling tools get and give back: formats, settled answers, and files that a stranger made."""

import json
import os
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import pytest

from pipeline.core.errors import PersonError
from pipeline.labelling import cvat, label_studio
from pipeline.labelling.annotation import Answer, Proposal, check_answers, check_classes, inside, settle
from pipeline.labelling.label_queue import read_review
from pipeline.source.safe_xml import read_xml

CLASSES = ["cat & \"dog\"", "<bird>", "fish"]
PROPOSALS = [
    Proposal("a/1 ü.png", CLASSES[0], {CLASSES[0]: 0.5, CLASSES[1]: 0.3, CLASSES[2]: 0.2}, 0.9, 10, 20, ("a/2.png",)),
    Proposal("b&c<d>.png", CLASSES[1], {CLASSES[0]: 0.1, CLASSES[1]: 0.8, CLASSES[2]: 0.1}, 0.4, 30, 40),
]


def annotate(tasks, labels, *, people=(1,), cancelled=False):
    """What Label Studio exports once people have chosen these labels."""
    done = []
    for number, (task, label) in enumerate(zip(tasks, labels, strict=True), start=1):
        chosen = [] if label is None else [{
            "id": 10 * number + person, "completed_by": person, "was_cancelled": cancelled, "lead_time": 1.5,
            "result": [{"id": "x", "from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": [label]},
                        "origin": "manual"}],
        } for person in people]  # fmt: skip
        done.append({"id": number, "data": task["data"], "annotations": chosen, "predictions": [], "drafts": []})
    return json.dumps(done).encode()


def tasks():
    return json.loads(label_studio.tasks(PROPOSALS, url="/data/local-files/?d=photos/", model="m1"))


def test_tasks_hold_the_image_and_the_model_s_proposal():
    first = tasks()[0]
    assert unquote(first["data"]["image"]) == "/data/local-files/?d=photos/a/1 ü.png"
    assert first["data"]["stands_for"] == ["a/2.png"]
    prediction = first["predictions"][0]
    assert (prediction["model_version"], prediction["score"]) == ("m1", 0.5)
    assert prediction["result"][0]["value"] == {"choices": [CLASSES[0]]}
    assert {key: prediction["result"][0][key] for key in ("from_name", "to_name", "type")} == {
        "from_name": "class", "to_name": "image", "type": "choices"}  # fmt: skip


def test_the_labelling_interface_names_what_the_tasks_use():
    view = ET.fromstring(label_studio.configuration(CLASSES))
    assert view.find("Image").attrib["value"] == "$image"
    choices = view.find("Choices")
    assert (choices.attrib["name"], choices.attrib["toName"]) == ("class", view.find("Image").attrib["name"])
    assert [choice.attrib["value"] for choice in choices] == CLASSES


def test_the_json_export_is_read_back_and_skipped_tasks_wait():
    review = label_studio.read(annotate(tasks(), [CLASSES[2], None], people=(7,)), what="x.json")
    assert review.answers == [Answer("a/1 ü.png", CLASSES[2], "7")]
    assert review.unanswered == 1
    cancelled = label_studio.read(annotate(tasks(), CLASSES[:2], cancelled=True), what="x.json")
    assert (cancelled.answers, cancelled.unanswered) == ([], 2)


def test_a_prediction_alone_is_no_label():
    """What we wrote, read back without a person: nothing counts."""
    raw = label_studio.tasks(PROPOSALS, url="", model="m").encode()
    assert label_studio.read(raw, what="x").answers == []
    raw = cvat.annotations(PROPOSALS, CLASSES).encode()
    review = cvat.read(raw, what="x")
    assert (review.answers, review.unanswered) == ([], 2)


def test_json_min_is_read_back():
    short = [{**task["data"], "id": 5, "class": label, "annotator": 3} for task, label in zip(tasks(), CLASSES[:2], strict=True)]
    short.append({**tasks()[0]["data"], "id": 6})
    review = label_studio.read(json.dumps(short).encode(), what="x.json")
    assert review.answers == [Answer("a/1 ü.png", CLASSES[0], "3"), Answer("b&c<d>.png", CLASSES[1], "3")]
    assert review.unanswered == 1


def test_a_task_without_our_path_is_found_by_its_address():
    task = {"id": 1, "image": "/data/local-files/?d=photos/a/1%20%C3%BC.png", "class": "fish"}
    assert label_studio.read(json.dumps([task]).encode(), what="x").answers[0].path == "a/1 ü.png"


def test_cvat_tags_that_a_person_set_or_confirmed_are_answers():
    text = cvat.annotations(PROPOSALS, CLASSES)
    confirmed = text.replace(">false</attribute>\n    </tag>", ">true</attribute>\n    </tag>", 1)
    assert cvat.read(confirmed.encode(), what="x").answers == [Answer("a/1 ü.png", CLASSES[0])]
    changed = text.replace('<tag label="&lt;bird&gt;" source="auto">', '<tag label="fish" source="manual">')
    assert cvat.read(changed.encode(), what="x").answers == [Answer("b&c<d>.png", "fish")]


@pytest.mark.parametrize(("tag", "answers"), [
    ('<tag label="fish" source="file"><attribute name="reviewed">false</attribute></tag>', 0),
    ('<tag label="fish" source="auto"><attribute name="reviewed">false</attribute></tag>', 0),
    ('<tag label="fish"><attribute name="reviewed">false</attribute></tag>', 0),
    ('<tag label="fish" source="file"/>', 0),
    ('<tag label="fish" source="file"><attribute name="reviewed">true</attribute></tag>', 1),
    ('<tag label="fish" source="semi-auto"><attribute name="reviewed">false</attribute></tag>', 1),
    ('<tag label="fish" source="manual"><attribute name="reviewed">false</attribute></tag>', 1),
    ('<tag label="fish"/>', 1),
])  # fmt: skip
def test_what_cvat_says_of_a_tag_decides_whether_a_person_saw_it(tag, answers):
    review = cvat.read(CVAT.format(f'<image name="x.png">{tag}</image>').encode(), what="x")
    assert (len(review.answers), review.unanswered) == (answers, 1 - answers)


def test_the_csv_export_of_label_studio_is_read_back(tmp_path):
    (tmp_path / "x.csv").write_text('"annotator","class","id","path"\n"ann","fish",1,"a, b.png"\n"ann","",2,"c.png"\n')
    review = read_review(tmp_path / "x.csv")
    assert (review.answers, review.unanswered) == ([Answer("a, b.png", "fish", "ann")], 1)


def test_cvat_labels_and_annotations_are_well_formed():
    root = ET.fromstring(cvat.annotations(PROPOSALS, CLASSES))
    assert [image.attrib["name"] for image in root.iter("image")] == ["a/1 ü.png", "b&c<d>.png"]
    assert [(image.attrib["width"], image.attrib["height"]) for image in root.iter("image")] == [("20", "10"), ("40", "30")]
    assert [label.find("name").text for label in root.iter("label")] == CLASSES
    assert [label["name"] for label in json.loads(cvat.labels(CLASSES))] == CLASSES


def test_people_who_agree_are_joined_and_people_who_differ_stop_or_are_left_out():
    answers = [Answer("a", "x", "1"), Answer("b", "x", "1"), Answer("a", "x", "2"), Answer("b", "y", "2")]
    with pytest.raises(PersonError, match=r"people differ about 1 images: b \(x / y\)"):
        settle(answers, stop=True)
    assert settle(answers, stop=False) == ([Answer("a", "x", "1; 2")], ["b"])


def test_unknown_labels_name_the_near_match():
    with pytest.raises(PersonError, match=r"'fsh' is not a class.*did you mean 'fish'.*and 1 more"):
        check_answers([Answer("a", "fsh"), Answer("b", "bear")], CLASSES)


@pytest.mark.parametrize("name", ["", " x", "x ", "=1+1", "@x", "-x", "+x", "a\nb", "a\0b"])
def test_class_names_that_would_be_changed_on_the_way_are_refused(name):
    with pytest.raises(PersonError, match="would not survive"):
        check_classes(["ok", name])


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    (folder / "a/1.png").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"s")
    (folder / "link.png").symlink_to(tmp_path / "secret")
    (folder / "away").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("name", [
    "../secret", "a/../../secret", "/etc/passwd", "a\\..\\secret", "", "C:/x.png", "link.png", "away/secret", "a", "a/2.png",
    "a/1.png\0", "x" * 2000, "file:///etc/passwd", "./../secret",
])  # fmt: skip
def test_no_path_leaves_the_folder(images, name):
    with pytest.raises(PersonError, match="the review names"):
        inside(images, name)


def test_a_plain_path_is_found(images):
    assert inside(images, "a/1.png").read_bytes() == b"x"
    assert inside(images, "./a//1.png").read_bytes() == b"x"


BILLION = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]><annotations>&lol2;</annotations>'
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations><version>&x;</version></annotations>'
REMOTE = b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><annotations/>'
CVAT = "<annotations><version>1.1</version>{}</annotations>"
TAG = '<tag label="fish" source="manual"/>'
HOSTILE = {
    "entities that grow": (BILLION, "has a DOCTYPE"),
    "a file from outside": (OUTSIDE, "has a DOCTYPE"),
    "a document type elsewhere": (REMOTE, "has a DOCTYPE"),
    "too deep": (b"<a>" * 500, "nests more than 50 elements"),
    "not closed": (b"<annotations><version>1.1</version>", "is not XML"),
    "an unknown entity": (b"<annotations>&nope;</annotations>", "is not XML"),
    "a strange encoding": (b'<?xml version="1.0" encoding="utf-7"?><annotations/>', "is not XML"),
    "a web page": (b"<html><body>Log in</body></html>", "not CVAT for images 1.1"),
    "another version": (CVAT.replace("1.1", "1.0").format("").encode(), "not CVAT for images 1.1"),
    "two answers": (CVAT.format(f'<image name="x">{TAG}{TAG}</image>').encode(), "2 reviewed tags"),
    "no name": (CVAT.format(f"<image>{TAG}</image>").encode(), "without a name"),
    "not JSON": (b"[{]", "not JSON that can be read"),
    "deep JSON": (b"[" * 200_000, "not JSON that can be read"),
    "an object": (b'{"a": 1}', "expected a list of tasks"),
    "a list of numbers": (b"[1, 2]", "expected a list of tasks"),
    "no data": (b'[{"id": 4, "annotations": []}]', "task 4 has neither a path nor an image"),
    "data is a list": (b'[{"data": [1], "annotations": []}]', "neither a path"),
    "two choices": (json.dumps([{"path": "x", "class": {"choices": ["a", "b"]}}]).encode(), "expected one class"),
    "a number": (b'[{"path": "x", "class": 3}]', "expected one class"),
    "annotations is a text": (b'[{"data": {"path": "x"}, "annotations": "yes"}]', "expected a list of objects"),
    "not UTF-8": (b'["\xff"]', "not UTF-8"),
    "NUL": (b'["\0"]', "NUL"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "none of"),
    "nothing": (b"", "none of"),
    "a CSV without a label": (b"path,klass\nx,y\n", "no column 'label'"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_that_no_tool_writes_are_refused_in_one_line(tmp_path, kind):
    data, said = HOSTILE[kind]
    (tmp_path / "review").write_bytes(data)
    with pytest.raises(PersonError, match=said) as caught:
        read_review(tmp_path / "review")
    assert len(str(caught.value)) < 500


def test_a_review_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "review").open("wb") as file:
        file.seek(300 << 20)
        file.write(b"x")
    with pytest.raises(PersonError, match="300 MB"):
        read_review(tmp_path / "review")
    with pytest.raises(PersonError, match="is no file"):
        read_review(tmp_path)


def test_random_damage_never_brings_more_than_one_line(tmp_path):
    """A thousand damaged exports: each is read, or refused by PersonError; nothing else comes out."""
    import numpy as np

    rng = np.random.default_rng(0)
    whole = [annotate(tasks(), CLASSES[:2]), cvat.annotations(PROPOSALS, CLASSES).encode(), b"path,label\n" + b"a/1.png,fish\n" * 20]
    refused = 0
    for turn in range(1000):
        data = bytearray(whole[turn % 3])
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(max(1, len(data) - 20)))
            if rng.random() < 0.5:
                data[place] = int(rng.integers(256))
            else:
                del data[place : place + int(rng.integers(1, 20))]
        (tmp_path / "review").write_bytes(bytes(data))
        try:
            review = read_review(tmp_path / "review")
        except PersonError:
            refused += 1
        else:
            assert all(isinstance(answer.label, str) for answer in review.answers)
    assert 100 < refused < 1000


def test_xml_is_read_with_its_text_lines_and_attributes():
    root = read_xml("<a>\n<b k='1'>ü &amp; <c/>y</b>\n</a>".encode(), what="x")
    assert [(child.name, child.attributes, child.line, child.text) for child in root.children] == [("b", {"k": "1"}, 2, "ü & y")]
    assert [child.name for child in root.children[0].all("c")] == ["c"]


def test_the_folder_itself_may_be_reached_through_a_link(images, tmp_path):
    (tmp_path / "door").symlink_to(images)
    assert inside(tmp_path / "door", "a/1.png").read_bytes() == b"x"
    assert os.path.islink(tmp_path / "door")
