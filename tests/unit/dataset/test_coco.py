"""COCO annotations: boxes to samples by hand-made figures, and one line for each mistake."""

import json
from copy import deepcopy

import pytest

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry, Rejected
from pipeline.dataset.coco import Coco

PLAIN = {"file": "a.json", "val_file": None, "test_file": None, "images": "images", "objects": "crops", "categories": None,
         "background": None, "unlisted": "stop", "title": "t", "licence": "CC0", "citation": ""}  # fmt: skip
FOUND = {
    "images": [{"id": 1, "file_name": "x.jpg", "width": 100, "height": 50}, {"id": 2, "file_name": "deep/y.jpg"}],
    "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 20], "keypoints": [12, 22, 2, 0, 0, 0, 15.5, 23, 1]},
        {"id": 11, "image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20]},
        {"id": 12, "image_id": 1, "category_id": 3, "bbox": [50.5, 0, 20, 11]},
        {"id": 13, "image_id": 2, "category_id": 3, "bbox": [1, 1, 500, 500]},
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in ("x.jpg", "deep/y.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(name.encode())
    return tmp_path


def dataset(folder, found=FOUND, **changes):
    (folder / "a.json").write_text(found if isinstance(found, str) else json.dumps(found))
    return Coco(source=folder, **{**PLAIN, **changes})


def test_each_box_is_a_sample_of_its_photo_s_group(folder):
    found = dataset(folder)
    assert found.card()["classes"] == ["cat", "dog"]
    entries = list(found.entries())
    assert len(entries) == len(found) == 4
    assert [(entry.name, entry.label, entry.group, entry.crop, entry.boxes) for entry in entries] == [
        ("x.jpg#10", 1, "x.jpg", (10, 20, 40, 40), ()), ("x.jpg#11", 0, "x.jpg", (0, 0, 20, 20), ()),
        ("x.jpg#12", 0, "x.jpg", (50.5, 0, 70.5, 11), ()), ("deep/y.jpg#13", 0, "deep/y.jpg", (1, 1, 501, 501), ()),
    ]  # fmt: skip
    assert entries[0].keypoints == ((12, 22), (-1, -1), (15.5, 23))
    assert entries[3].read() == b"deep/y.jpg"
    assert {entry.given for entry in entries} == {""}


def test_a_whole_photo_has_the_label_of_the_largest_total_area(folder):
    entries = list(dataset(folder, objects="whole").entries())
    assert [(entry.name, entry.label, entry.group, entry.crop) for entry in entries] == [
        ("x.jpg", 0, "", None),
        ("deep/y.jpg", 0, "", None),
    ]
    assert entries[0].boxes == ((10, 20, 40, 40, 1), (0, 0, 20, 20, 0), (50.5, 0, 70.5, 11, 0))  # dog 600, cat 400 + 220
    assert entries[0].keypoints == ()  # those of the dog are not of the label
    found = deepcopy(FOUND)
    found["annotations"][2]["bbox"] = [50, 0, 20, 10]  # now 600 and 600: the first class
    assert [entry.label for entry in dataset(folder, found, objects="whole").entries()] == [0, 0]
    found["annotations"][2]["bbox"] = [50, 0, 20, 9]
    entry = next(dataset(folder, found, objects="whole").entries())
    assert (entry.label, entry.keypoints) == (1, ((12, 22), (-1, -1), (15.5, 23)))


def test_crowds_and_degenerate_boxes_are_rejected_with_a_reason(folder):
    found = deepcopy(FOUND)
    found["annotations"] += [
        {"id": 20, "image_id": 1, "category_id": 5, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 21, "image_id": 1, "category_id": 5, "bbox": [5, 5, 0.5, 9]},
        {"id": 22, "image_id": 1, "category_id": 5, "bbox": [5, 5, -3, 9]},
        {"id": 23, "image_id": 1, "category_id": 5, "bbox": [95, 5, 20, 9]},
        {"id": 24, "image_id": 1, "category_id": 5, "bbox": [-1, -0.5, 102, 51]},
        {"id": 25, "image_id": 2, "category_id": 5, "bbox": [-2, 0, 9, 9]},
    ]  # fmt: skip
    for objects, kept in (("crops", 5), ("whole", 2)):
        found_there = dataset(folder, found, objects=objects)
        entries = list(found_there.entries())
        assert len(entries) == len(found_there)
        assert sum(isinstance(entry, Entry) for entry in entries) == kept
        assert [entry for entry in entries if isinstance(entry, Rejected)] == [
            Rejected("x.jpg#20", "a crowd: one box around many objects"),
            Rejected("x.jpg#21", "the box (5, 5) to (5.5, 14) is thinner than a pixel"),
            Rejected("x.jpg#22", "the box (5, 5) to (2, 14) is thinner than a pixel"),
            Rejected("x.jpg#23", "the box (95, 5) to (115, 14) reaches outside the picture of 100 x 50 pixels"),
            Rejected("deep/y.jpg#25", "the box (-2, 0) to (7, 9) reaches outside the picture (a negative corner)"),
        ]
    assert next(entry.crop for entry in dataset(folder, found).entries() if entry.name == "x.jpg#24") == (0, 0, 100, 50)


def test_a_photo_without_a_box(folder):
    found = {**FOUND, "annotations": FOUND["annotations"][:3]}
    assert len(dataset(folder, found)) == 3
    assert list(dataset(folder, found, objects="whole").entries())[1] == Rejected("deep/y.jpg", "it has no box")
    there = dataset(folder, found, objects="whole", background="nothing")
    assert there.card()["classes"] == ["cat", "dog", "nothing"]
    assert [entry.label for entry in there.entries()] == [0, 2]
    crowd = {**FOUND, "annotations": [*FOUND["annotations"][:3], {**FOUND["annotations"][3], "iscrowd": 1}]}
    entries = list(dataset(folder, crowd, objects="whole", background="nothing").entries())
    assert entries[-1] == Rejected("deep/y.jpg", "none of its boxes can be used")  # there is something in it


def test_categories_can_be_chosen(folder):
    found = dataset(folder, categories=["dog"], objects="whole", background="none")
    assert found.card()["classes"] == ["dog", "none"]
    assert [entry.label for entry in found.entries()] == [0, 1]
    with pytest.raises(PersonError, match=r"dataset.categories names 'dgo', which no object has: did you mean 'dog'\?"):
        dataset(folder, categories=["dgo"]).card()


def test_files_of_splits_name_them(folder):
    first, second = ({**FOUND, "images": [FOUND["images"][place]],
                      "annotations": [a for a in FOUND["annotations"] if a["image_id"] == place + 1]} for place in (0, 1))  # fmt: skip
    (folder / "v.json").write_text(json.dumps(second))
    assert [entry.given for entry in dataset(folder, first, val_file="v.json").entries()] == ["train", "train", "train", "val"]
    assert [entry.given for entry in dataset(folder, first, test_file="v.json").entries()][-1] == "test"
    (folder / "v.json").write_text(json.dumps(first))
    with pytest.raises(PersonError, match=r"'x.jpg' is in a.json and in v.json: remove it from one of them"):
        dataset(folder, first, val_file="v.json", unlisted="ignore").card()


def test_unlisted_photos_stop_or_are_ignored(folder):
    found = {**FOUND, "images": FOUND["images"][:1], "annotations": FOUND["annotations"][:3]}
    with pytest.raises(PersonError, match=r"1 images in .*images are not named by a.json: deep/y.jpg; annotate them, or set"):
        dataset(folder, found).card()
    assert len(dataset(folder, found, unlisted="ignore")) == 3


def changed(path, value):
    """FOUND with one thing changed: a key path and its new value; `...` removes it."""
    found = deepcopy(FOUND)
    *way, last = path
    place = found
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return found


MANY = [{"id": 100 + n, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9, 9]} for n in range(12)]
MISTAKES = {
    "not json": ("{", "a.json is not JSON ("),
    "deep": ("[" * 100_000, "a.json is not JSON ("),
    "a list": ("[]", "a.json: expected COCO annotations, an object with the lists images, annotations, categories: received list"),
    "no list": (changed(["categories"], ...), "'categories' is missing or no list"),
    "no file name": (changed(["images", 0, "file_name"], ...), "a.json: images[0] must have id, file_name: received {'id': 1, "),
    "a name of numbers": (changed(["images", 0, "file_name"], 7), "a.json: the image 1 must have a file_name of text: received 7"),
    "leaves": (changed(["images", 0, "file_name"], "../x.jpg"), "a.json: the image 1: the path '../x.jpg' leaves the folder"),
    "missing photo": (changed(["images", 0, "file_name"], "z.jpg"), "1 of 2 images that a.json names are missing in {0}/images: z.jpg (a.json); "),
    "photo twice": (changed(["images", 1, "file_name"], "x.jpg"), "a.json lists 'x.jpg' twice, as the images 1 and 2: remove one"),
    "photo id twice": (changed(["images", 1, "id"], 1), "a.json: two images have the id 1: give each its own"),
    "annotation id twice": (changed(["annotations", 1, "id"], 10), "a.json: two annotations have the id 10: give each its own"),
    "a bool id": (changed(["images", 1, "id"], True), "a.json: images[1].id must be a whole number or a text: received True"),
    "unknown image": (changed(["annotations", 1, "image_id"], 7),
                      "1 of 4 annotations of a.json have an unknown image_id: 11 (image_id 7); add what is missing"),
    "many": ({**FOUND, "annotations": MANY}, "12 of 12 annotations of a.json have an unknown image_id: 100 (image_id 9), "),
    "unknown category": (changed(["annotations", 1, "category_id"], [3]), "1 of 4 annotations of a.json have an unknown category_id: "),
    "category twice": (changed(["categories", 1, "name"], "dog"), "a.json has two categories of one name: give each its own"),
    "category variants": (changed(["categories", 1, "name"], "Dog "), "the classes 'Dog ' and 'dog' differ only by case"),
    "half a character": (changed(["categories", 1, "name"], "\ud800"), "a.json: categories[1].name must be a text: received '\\ud800'"),
    "half a character in a path": (changed(["images", 0, "file_name"], "\ud800.jpg"), "a.json: the image 1 must have a file_name of text: "),
    "half a character in an id": (changed(["annotations", 0, "id"], "\ud800"), "a.json: annotations[0].id must be a whole number or a text"),
    "no category name": (changed(["categories", 1, "name"], " "), "a.json: categories[1].name must be a text: received ' '"),
    "box of three": (changed(["annotations", 0, "bbox"], [1, 2, 3]), "a.json: the annotation 10 must have bbox = [x, y, width, height]: "),
    "box of text": (changed(["annotations", 0, "bbox"], [1, 2, 3, "4"]), "a.json: the annotation 10 must have bbox"),
    "box of NaN": (json.dumps(FOUND).replace("30, 20]", "NaN, 20]"), "a.json: the annotation 10 must have bbox"),
    "box of infinity": (json.dumps(FOUND).replace("30, 20]", "1e999, 20]"), "a.json: the annotation 10 must have bbox"),
    "box of many digits": (json.dumps(FOUND).replace("30, 20]", "1" + "0" * 400 + ", 20]"), "a.json: the annotation 10 must have bbox"),
    "keypoints": (changed(["annotations", 0, "keypoints"], [1, 2]), "a.json: the annotation 10 must have keypoints = [x, y, visibility"),
    "no box at all": ({**FOUND, "annotations": []}, "no box of a.json can be used: expected `bbox`"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(folder, case):
    found, line = MISTAKES[case]
    with pytest.raises(PersonError) as caught:
        dataset(folder, found).card()
    assert line.replace("{0}", str(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_long_lists_are_counted_and_the_setup_is_named(folder):
    with pytest.raises(PersonError, match=r"and 2 more; add what is missing"):
        dataset(folder, {**FOUND, "annotations": MANY}).card()
    with pytest.raises(PersonError, match=r"the annotations .*b.json do not exist: set dataset.file"):
        Coco(source=folder, **{**PLAIN, "file": "b.json"}).card()
    with pytest.raises(PersonError, match=r"the folder of images .*photos does not exist: set dataset.images"):
        dataset(folder, images="photos").card()
    with pytest.raises(PersonError, match=r"dataset.objects must be crops .* or whole .*: received 'boxes'"):
        dataset(folder, objects="boxes")
    with pytest.raises(PersonError, match=r"dataset.unlisted must be stop or ignore: received 'x'"):
        dataset(folder, unlisted="x").card()
    with pytest.raises(PersonError, match=r"dataset.file: the path '../a.json' leaves the folder"):
        dataset(folder, file="../a.json").card()


JUNK = [None, -1, 0, 3.5, "x", "", [], {}, [1], True, 1e308, 10**400, "../a", "a\0b", "\ud800", "\u00e9" * 300, {"id": 1}]


def places(found, way=()):
    """Every key path of a JSON value."""
    keys = found.keys() if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ()
    for key in keys:
        yield [*way, key]
        yield from places(found[key], [*way, key])


@pytest.mark.parametrize("objects", ["crops", "whole"])
def test_junk_anywhere_is_read_or_refused_in_one_line(folder, objects):
    """Each value in turn is replaced by each kind of junk, and removed: no other error, and the length is right."""
    refused = 0
    for way in places(FOUND):
        for value in [..., *JUNK]:
            try:
                there = dataset(folder, changed(way, value), objects=objects)
                there.card()
                assert len(list(there.entries())) == len(there)
            except PersonError as error:
                refused += 1
                assert "\n" not in str(error)
                assert len(str(error)) < 700
    assert refused > 500
