import pytest

from pipeline.core.errors import PersonError
from pipeline.labelling.annotation import Answer
from pipeline.labelling.new_version import Item, counts, join, read_base, reviewed


def put(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_png", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return folder


def test_a_class_folder_and_a_table_are_both_a_base(tmp_path):
    folder = put(tmp_path / "classes", cat__1_png="a", dog__2_png="b", dog__deep__3_png="c")
    assert [(item.path, item.label) for item in read_base(folder)] == [
        ("cat/1.png", "cat"), ("dog/2.png", "dog"), ("dog/deep/3.png", "dog")]  # fmt: skip
    (folder / "labels.csv").write_text("path,label,group,reviewer,extra\ncat/1.png,dog,g7,ann,1\n")
    assert [item.row() for item in read_base(folder)] == [("cat/1.png", "dog", "g7", "ann", "base")]


def test_a_path_of_the_base_that_looks_like_a_formula_gets_a_folder(tmp_path):
    folder = put(tmp_path, **{"-1_png": "a"})
    (folder / "labels.csv").write_text("path,label\n-1.png,cat\n")
    assert read_base(folder)[0].path == "base/-1.png"


def test_a_review_overrules_the_base_and_equal_content_counts_once(tmp_path):
    base = [Item(put(tmp_path, **{f"b__{name}_png": name}) / f"b/{name}.png", f"{name}.png", "cat", group="g1") for name in "xyz"]
    folder = put(tmp_path / "new", x_png="x", w_png="w", v_png="w")
    new = reviewed(folder, [Answer("v.png", "dog", "ann"), Answer("w.png", "dog", "ann"), Answer("x.png", "dog", "bob")], name="v2")
    items, changed = join(base, new)
    assert changed == 1
    assert [item.row() for item in items] == [
        ("v2/v.png", "dog", "", "ann", "reviewed"), ("x.png", "dog", "g1", "bob", "reviewed"),
        ("y.png", "cat", "g1", "", "base"), ("z.png", "cat", "g1", "", "base")]  # fmt: skip
    assert counts(items) == "cat 2, dog 2"


def test_one_picture_with_two_labels_stops(tmp_path):
    folder = put(tmp_path, x_png="same", y_png="same")
    with pytest.raises(PersonError, match="one picture with the labels"):
        join([], reviewed(folder, [Answer("x.png", "a"), Answer("y.png", "b")], name="v2"))


def test_paths_that_collide_stop(tmp_path):
    folder = put(tmp_path, x_png="1", v2__x_png="2")
    with pytest.raises(PersonError, match="choose another --name"):
        join([Item(folder / "v2/x.png", "v2/x.png", "a")], reviewed(folder, [Answer("x.png", "a")], name="v2"))


@pytest.mark.parametrize(("table", "said"), [
    ("path,label\n../x.png,a\n", "leaves the folder"), ("path,label\nnone.png,a\n", "no such file"), ("path,class\nx.png,a\n", "no column"),
])  # fmt: skip
def test_a_base_table_is_a_stranger_s_too(tmp_path, table, said):
    folder = put(tmp_path / "base", x_png="1")
    (tmp_path / "x.png").write_bytes(b"secret")
    (folder / "labels.csv").write_text(table)
    with pytest.raises(PersonError, match=said):
        read_base(folder)


def test_a_folder_without_images_is_no_base(tmp_path):
    with pytest.raises(PersonError, match=r"neither labels\.csv nor"):
        read_base(tmp_path)
    with pytest.raises(PersonError, match="is no folder"):
        read_base(tmp_path / "nowhere")
