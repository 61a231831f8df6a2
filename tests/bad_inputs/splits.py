"""Row M and F5: what leaks between splits. Ingest runs, then the split that the case asks for."""

from pathlib import Path
from typing import Any

from tests.bad_inputs.case import REPAIR, Build, Case, Result, encoded, only, picture, pixels, put

PARTS = ("train", "train", "train", "val", "test")


def parted(*more: str, parts: tuple[str, ...] = PARTS, header: str = "path,label,part,who") -> Build:
    """Thirty pictures in a table that names a split, of ten people with three pictures each; and these rows more."""

    def build(folder: Path) -> None:
        lines = [header]
        for number in range(30):
            put(folder, f"img/{number:02d}.png", picture(800 + number))
            person = number // 6 * 2 + number % 2
            lines.append(f"img/{number:02d}.png,{'ab'[number % 2]},{parts[number // 6 % len(parts)]},p{person}")
        put(folder, "img/copy.png", encoded(pixels(800)))
        put(folder, "img/other.png", picture(900))
        put(folder, "img/copy.bmp", encoded(pixels(801), "BMP"))
        put(folder, "labels.csv", "\n".join([*lines, *more]) + "\n")

    return build


def case(identity: str, build: Build, expect: str = "", *, splitter: str = "given", **more: Any) -> Case:
    options = {"split": "part", "unlisted": "ignore", **more.pop("options", {})}
    return Case(identity, build, expect, dataset="image_table", options=options, splitter=splitter, **more)


def left_out(count: int) -> Any:
    def check(result: Result) -> None:
        assert len(result.split["left_out"]) == count
        sides = [set(result.split[name]) for name in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides))

    return check


def class_of(name: str, count: int) -> Build:
    return lambda folder: [put(folder, f"{name}/{n}.png", picture(1000 * len(name) + n)) for n in range(count)]


def in_test(result: Result) -> None:
    """The picture that was named for both stands in the test alone."""
    identity = result.samples.ids[result.named("img/00.png")]
    assert identity in result.split["test"]
    assert identity not in result.split["train"]


def later_is_later(result: Result) -> None:
    """No training sample was taken after one of the test."""
    places = {name: result.samples.positions(result.split[name]) for name in ("train", "val", "test")}
    assert places["train"].max() < places["val"].min() <= places["val"].max() < places["test"].min()


def timed(folder: Path) -> None:
    """Rows in a random order, with the day of each."""
    parted(header="path,label,part,day")(folder)
    rows = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    days = [f"{row.rsplit(',', 1)[0]},2024-01-{1 + number * 7 % 30:02d}" for number, row in enumerate(rows[1:])]
    put(folder, "labels.csv", "\n".join([rows[0], *days]) + "\n")


TWIN = "img/copy.png,a,test,p0"  # the pixels of img/00.png, which is in train
NEAR = (("img/00.png", "img/28.png"),)
CASES = [
    Case("F5 a class of two in three splits", only(class_of("cat", 20), class_of("goose", 20), class_of("duck", 2)),
         r"the class 'duck' is missing in the (val|test|train) split \(.*\): add samples of it", splitter="stratified"),
    Case("F5 fewer images than splits", only(class_of("cat", 2), class_of("goose", 2)),
         r"the (val|test) split is empty: 4 samples are too few|the class '(cat|goose)' is missing in the", splitter="stratified"),
    case("F5 a given split without a test", parted(parts=("train", "val")), r"the test split is empty: 30 samples are too few"),
    case("M1 one picture in train and test", parted(TWIN), r"one image stands in two splits: img/00\.png \(train\) and img/copy\.png \(test\)"),
    case("M1 the same pixels in another format", parted("img/copy.bmp,b,val,p1"), r"img/01\.png \(train\) and img/copy\.bmp \(val\)"),
    case("M1 left to the test on request", parted(TWIN), kind=REPAIR, then=in_test, splitting={"on_leak": "leave_out"}),
    case("M2 a near duplicate in train and test", parted(), r"overlaps: 1 samples .*img/00\.png \(train\) and img/28\.png \(test\)", clusters=NEAR),
    case("M2 left out on request", parted(), kind=REPAIR, then=left_out(1), clusters=NEAR, splitting={"on_leak": "leave_out"}),
    case("M2 kept without a reason", parted(), r"split\.on_leak=keep leaves a leak in the figures: say why in\s+split\.reason", clusters=NEAR,
         splitting={"on_leak": "keep"}),
    case("M3 a person in train and test", parted("img/other.png,a,test,p0"), r"overlaps: 3 samples belong together .*p0", options={"group": "who"}),
    case("M7 a file in two splits", parted("img/00.png,a,test,p0"), r"labels\.csv names 'img/00\.png' twice, in lines 2 and 32: remove one"),
    case("M7 a split of another name", parted("img/other.png,a,holdout,p0"), r"labels\.csv line 32: part must be train, val, test or empty: received 'holdout'"),
    case("M7 a row without a split, where each must have one", parted("img/other.png,a,,p0"), r"1 of 31 samples have no split, for example .*: name it, or set",
         parting={"rest": "error"}),
    case("M7 no split named at all", parted(), r"splitter=given needs the split of each sample .* \(dataset\.split\)", options={"split": None}),
    case("M8 rows out of order are ordered by their time", timed, kind=REPAIR, then=later_is_later, splitter="time_ordered",
         options={"split": None, "time": "day"}),
]  # fmt: skip
