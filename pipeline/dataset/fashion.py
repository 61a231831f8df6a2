"""Fashion-MNIST: 70,000 grey photographs of clothes, 28 x 28 pixels (Debian dataset-fashion-mnist; not redistributed here).

Source: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; https://github.com/zalandoresearch/fashion-mnist.
"""

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry
from pipeline.source.idx import IdxFile, balanced, held_out, labelled

INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # where the Debian package puts the official files
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28
LARGEST = 100_000_000  # bytes of a file, unpacked; the largest has 47 million
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
CITATION = (
    "H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, "
    "arXiv 1708.07747 (2017)"
)


class Fashion:
    """Ten classes of clothes. The official test split stays the test split; a fixed part of the 60,000 is for validation.

    Args:
        source: a folder with the four official files, packed or not; without them, the Debian package's are read.
        limit: images of the official 60,000 to use, equally many of each class, the first of them; 0 uses all.
        test_limit: the same of the official 10,000.
        train_fraction: share of each class for training, the first of them; the rest is for validation. In (0, 1).

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(self, *, source: Path, limit: int, test_limit: int, train_fraction: float) -> None:
        if min(limit, test_limit) < 0 or not 0 < train_fraction < 1:
            raise ValueError(
                f"limit and test_limit must be 0 (all) or a number of images, train_fraction in (0, 1): "
                f"received {limit}, {test_limit}, {train_fraction}"
            )
        self.source, self.limit, self.test_limit, self.train_fraction = source, limit, test_limit, train_fraction

    def card(self) -> dict[str, Any]:
        """Name, licence, citation and the ten classes."""
        used = f"; a subset of {len(self):,} of 70,000 images" if self.limit or self.test_limit else ""
        return {
            "name": "Fashion-MNIST",
            "source": f"https://github.com/zalandoresearch/fashion-mnist, Debian package dataset-fashion-mnist{used}",
            "license": "MIT",
            "citation": CITATION,
            "classes": CLASSES,
            "target": None,
        }

    def __len__(self) -> int:
        return len(self._found)

    def entries(self) -> Iterator[Entry]:
        """The images in the order of the official files, those of the test split last."""
        for file, number, label, given in self._found:
            kind = "test" if given == "test" else "train"
            yield Entry(f"{kind}-{number:05d}", partial(file.row, number), label=label, given=given)

    @cached_property
    def _found(self) -> list[tuple[IdxFile, int, int, str]]:
        """File, position, label and split of each image."""
        found: list[tuple[IdxFile, int, int, str]] = []
        paths = self._paths()
        for (images, labels), limit, official in zip(
            (paths[:2], paths[2:]), (self.limit, self.test_limit), ("train", "test"), strict=True
        ):
            file = IdxFile(images, axes=(3,), max_bytes=LARGEST)
            truth = labelled(file, IdxFile(labels, axes=(1,), max_bytes=LARGEST))
            if file.shape[1:] != (SIDE, SIDE) or truth.max() >= len(CLASSES):
                raise PersonError(
                    f"{images.name} holds images of {file.shape[1]} x {file.shape[2]} pixels with labels up to {truth.max()}: "
                    f"expected {SIDE} x {SIDE} and 9, as in Fashion-MNIST; for other data use dataset=idx"
                )
            positions = balanced(truth, limit)
            val = held_out(truth, positions, 1 - self.train_fraction) if official == "train" else set()
            found += [(file, place, int(truth[place]), "val" if place in val else official) for place in positions.tolist()]
        return found

    def _paths(self) -> list[Path]:
        """Images and labels of the two official splits."""
        for folder in (self.source, INSTALLED):
            paths = [folder / f"{name}{ending}" for name in FILES for ending in ("", ".gz")]
            there = [path for path in paths if path.is_file()]
            lost = [name for name in FILES if not any(path.name.startswith(name) for path in there)]
            if not lost:
                return [next(path for path in there if path.name.startswith(name)) for name in FILES]
            if there:
                raise PersonError(f"{folder} holds {there[0].name} and lacks {', '.join(lost)} (.gz): add the official files")
        raise PersonError(
            f"Fashion-MNIST is not installed: run  apt-get install dataset-fashion-mnist  or put the four official files "
            f"({FILES[0]}.gz, ...; https://github.com/zalandoresearch/fashion-mnist) into the folder `source` of params.yaml"
        )
