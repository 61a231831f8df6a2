"""Photos with masks: labels by counted pixels, numbering, and one line for each mistake."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import PersonError
from pipeline.core.record import Rejected
from pipeline.dataset.masks_folder import MasksFolder

PLAIN = {"images": "images", "masks": "masks", "names": ["ground", "crack", "hole"], "values": None, "max_pixels": 10_000, "title": "t",
         "licence": "CC0", "citation": ""}  # fmt: skip


def save(folder, name, pixels, **facts):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / name, **facts)


def mask(*counts, height=10, width=12, levels=(0, 1, 2, 255)):
    """A mask of so many pixels of each level, the rest of the first."""
    flat = np.full(height * width, levels[0], dtype=np.uint8)
    start = 0
    for level, count in zip(levels[1:], counts, strict=False):
        flat[start : start + count] = level
        start += count
    return flat.reshape(height, width)


@pytest.fixture
def folder(tmp_path):
    for name, counts in {"a": (5, 3), "b": (0, 0), "deep/c": (2, 4), "d": (3, 3)}.items():
        save(tmp_path, f"images/{name}.jpg", np.zeros((10, 12, 3), dtype=np.uint8))
        save(tmp_path, f"masks/{name}.png", mask(*counts))
    return tmp_path


def dataset(folder, **changes):
    return MasksFolder(source=folder, **{**PLAIN, **changes})


def test_the_label_is_the_largest_class_and_the_background_only_of_empty_masks(folder):
    found = dataset(folder)
    entries = list(found.entries())
    assert [(entry.name, found.card()["classes"][entry.label]) for entry in entries] == [
        ("a.jpg", "crack"), ("b.jpg", "ground"), ("d.jpg", "crack"), ("deep/c.jpg", "hole")]  # fmt: skip
    assert found.card()["mask_classes"] == ["ground", "crack", "hole"]
    assert len(found) == 4
    assert [entry.read_mask() for entry in entries] == [
        (folder / f"masks/{name}.png").read_bytes() for name in ("a", "b", "d", "deep/c")
    ]
    assert entries[3].read() == (folder / "images/deep/c.jpg").read_bytes()


def test_classes_are_those_that_occur_as_a_label(folder):
    (folder / "masks/b.png").unlink()
    (folder / "images/b.jpg").unlink()
    found = dataset(folder)
    assert found.card()["classes"] == ["crack", "hole"]
    assert [entry.label for entry in found.entries()] == [0, 0, 1]


def test_ignored_pixels_count_for_no_class(folder):
    save(folder, "masks/a.png", mask(0, 2, 100))
    save(folder, "masks/b.png", mask(0, 0, 120))
    entries = list(dataset(folder).entries())
    assert entries[0].label == dataset(folder).card()["classes"].index("hole")
    assert entries[1] == Rejected("b.jpg", "its mask b.png: every pixel is 255 (ignore)")


@pytest.mark.parametrize("form", ["1", "P", "bmp"])
def test_palettes_black_and_white_and_bmp_are_read_by_number(folder, form):
    (folder / "masks/a.png").unlink()
    image = Image.fromarray(mask(30))
    if form == "1":
        image = Image.fromarray(mask(30).astype(bool))
    elif form == "P":
        image.putpalette([200, 10, 10, 0, 0, 0] + [7] * 762)
    save(folder, "masks/a.bmp" if form == "bmp" else "masks/a.png", image)
    assert next(dataset(folder).entries()).label == dataset(folder).card()["classes"].index("crack")


def test_grey_levels_are_renumbered(folder):
    for name, count in {"a": 9, "b": 0, "d": 1, "deep/c": 2}.items():
        save(folder, f"masks/{name}.png", mask(count, levels=(0, 255)))
    found = dataset(folder, names=["ground", "crack"], values=[0, 255])
    entries = list(found.entries())
    assert [entry.label for entry in entries] == [1, 0, 1, 1]
    numbers = np.asarray(Image.open(BytesIO(entries[0].read_mask())))
    assert np.array_equal(numbers, mask(9, levels=(0, 1)))
    assert entries[0].read_mask() == entries[0].read_mask()


REFUSED = {
    "unknown class": (mask(5, 1, levels=(0, 1, 9)), {}, "it holds 9, expected 0, 1, 2 (dataset.names, dataset.values) or 255 (ignore)"),
    "colour": (np.zeros((10, 12, 3), dtype=np.uint8), {}, "colour mode RGB: expected one number of 8 bit a pixel (grey or palette)"),
    "16 bit": (np.zeros((10, 12), dtype=np.uint16), {}, "colour mode I;16: expected one number of 8 bit a pixel (grey or palette)"),
    "jpeg": (mask(5), {"format": "JPEG"}, "a JPEG file: expected PNG or BMP"),
    "tiff": (mask(5), {"format": "TIFF"}, "a TIFF file: expected PNG or BMP"),
    "large": (np.zeros((200, 200), dtype=np.uint8), {}, "oversized: 40000 pixels, max_pixels = 10000"),
    "empty": (b"", {}, "empty file (0 bytes)"),
    "text": (b"hello", {}, "not an image but text (accepted: PNG, JPEG, BMP, TIFF, WEBP, GIF)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mask_that_cannot_be_used_is_rejected_with_the_reason(folder, case):
    content, facts, reason = REFUSED[case]
    if isinstance(content, bytes):
        (folder / "masks/a.png").write_bytes(content)
    else:
        save(folder, "masks/a.png", content, **facts)
    entries = list(dataset(folder).entries())
    assert entries[0] == Rejected("a.jpg", f"its mask a.png: {reason}")
    assert len(entries) == len(dataset(folder)) == 4


def test_a_truncated_mask_is_rejected(folder):
    whole = (folder / "masks/a.png").read_bytes()
    (folder / "masks/a.png").write_bytes(whole[:45])
    assert "its mask a.png: " in next(dataset(folder).entries()).reason


def test_photos_and_masks_must_agree_both_ways(folder):
    save(folder, "images/e.jpg", mask())
    with pytest.raises(
        PersonError, match=r"1 of 5 images have no mask of the same name but for the ending: e.jpg; add the masks, or remove"
    ):
        dataset(folder).card()
    (folder / "images/e.jpg").unlink()
    for number in range(12):
        save(folder, f"masks/x{number:02d}.png", mask())
    with pytest.raises(PersonError, match=r"12 of 16 masks have no image .*: x00.png, .* and 2 more; add the images, or remove"):
        dataset(folder).card()
    save(folder, "masks/a.bmp", mask())
    with pytest.raises(
        PersonError, match=r"files in .*masks have one name but for the ending: a.bmp, a.png; rename or remove one"
    ):
        dataset(folder).card()


MISTAKES = [
    ({"names": ["a"]}, "dataset.names must be 2 to 255 different classes, the background first: received"),
    ({"names": ["a", "a"]}, "dataset.names must be"), ({"names": ["a", "A"]}, "the classes 'A' and 'a' differ only by case"),
    ({"values": [0, 1]}, "dataset.values must be 3 different grey levels"), ({"values": [0, 1, 1]}, "dataset.values must be 3"),
    ({"values": [0, 1, 256]}, "dataset.values must be 3 different grey levels, 0 to 255, one for each of names: received"),
    ({"masks": "nowhere"}, "the folder .*nowhere does not exist: set dataset.masks"), ({"images": "../x"}, "leaves the folder"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), MISTAKES)
def test_the_set_up_is_named(folder, change, line):
    with pytest.raises(PersonError, match=line):
        dataset(folder, **change).card()
