"""ELPV: defects of solar cells in electroluminescence photographs (PyPI elpv-dataset; not redistributed here).

Source: Deitsch et al. 2019, Solar Energy 185, arXiv 1807.02894; Buerhop-Lutz et al. 2018 (the benchmark).
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import MissingPackageError, PersonError
from pipeline.core.record import Entry

PACKAGE = "elpv_dataset"
CITATION = (
    "S. Deitsch et al., Automatic classification of defective photovoltaic module cells in electroluminescence images, "
    "Solar Energy 185 (2019) 455-468; C. Buerhop-Lutz et al., A benchmark for visual identification of defective solar cells "
    "in electroluminescence imagery, EU PVSEC 2018; S. Deitsch et al., Segmentation of photovoltaic module cells in "
    "uncalibrated electroluminescence images, Machine Vision and Applications 32 (2021) 84"
)


class Elpv:
    """2,624 grey photographs of 300 x 300 pixels with a defect probability of 0, 1/3, 2/3 or 1.

    The cells come from 44 modules and stand in the order of their modules, but where one module ends is not published. A
    group is therefore a run of `module_cells` neighbours of one type (mono or poly): an approximation that keeps most
    neighbours together.

    Args:
        source: not used; the package brings the data.
        positive_above: a cell whose probability is larger is `defective`.
        uncertain_weight: weight of cells whose probability is strictly between 0 and 1, in (0, 1].
        module_cells: cells of one group.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(self, *, source: Path, positive_above: float, uncertain_weight: float, module_cells: int) -> None:
        if not 0 <= positive_above < 1 or not 0 < uncertain_weight <= 1 or module_cells < 1:
            raise ValueError(
                f"positive_above must be in [0, 1), uncertain_weight in (0, 1], module_cells at least 1: "
                f"received {positive_above}, {uncertain_weight}, {module_cells}"
            )
        self.positive_above, self.uncertain_weight, self.module_cells = positive_above, uncertain_weight, module_cells

    def card(self) -> dict[str, Any]:
        """Name, licence, citation, the two classes and the probability as a target."""
        return {
            "name": "ELPV solar cells",
            "source": "https://github.com/zae-bayern/elpv-dataset, PyPI package elpv-dataset",
            "license": "CC-BY-NC-SA-4.0 (no commercial use)",
            "citation": CITATION,
            "classes": ["functional", "defective"],
            "target": {"name": "defect probability", "unit": "", "low": 0.0, "high": 1.0},
        }

    def __len__(self) -> int:
        return len(_rows())

    def entries(self) -> Iterator[Entry]:
        """Every cell in the order of the package's table."""
        rows = _rows()
        groups = runs([kind for _, _, kind in rows], self.module_cells)
        for (path, probability, _), group in zip(rows, groups, strict=True):
            yield Entry(
                path.name,
                path.read_bytes,
                label=int(probability > self.positive_above),
                target=probability,
                weight=self.uncertain_weight if 0 < probability < 1 else 1.0,
                group=group,
            )


def runs(kinds: list[str], length: int) -> list[str]:
    """Name a group for each position: at most `length` neighbours of one kind.

    >>> runs(["mono", "mono", "mono", "poly"], 2)
    ['mono-000', 'mono-000', 'mono-001', 'poly-002']
    """
    names: list[str] = []
    number, filled = -1, length
    for position, kind in enumerate(kinds):
        if filled == length or kind != kinds[position - 1]:
            number, filled = number + 1, 0
        names.append(f"{kind}-{number:03d}")
        filled += 1
    return names


def _rows() -> list[tuple[Path, float, str]]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingPackageError("elpv-dataset", "the dataset elpv", "datasets")
    folder = Path(spec.origin).parent / "data"
    table = folder / "labels.csv"
    if not table.is_file():
        raise PersonError("the package elpv-dataset holds no data/labels.csv: run  pip install --force-reinstall elpv-dataset")
    words = [line.split() for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(folder / name, float(probability), kind) for name, probability, kind in words]
