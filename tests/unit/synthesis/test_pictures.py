"""Pictures of synthetic samples: real PNG files, the same bytes for the same numbers, and a mosaic that keeps its order."""

import numpy as np
from PIL import Image

from pipeline.synthesis import pictures as synthetic_pictures
from pipeline.synthesis.usefulness import Arm


def test_a_mosaic_holds_every_image_in_order():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 3, 1), np.uint8)
    whole = synthetic_pictures.mosaic(images, columns=2)
    assert whole.shape == (9, 8, 1)
    assert [int(whole[3 * row, 4 * column, 0]) for row in range(3) for column in range(2)] == [0, 1, 2, 3, 4, 255]


def test_snapshots_gains_losses_and_neighbours_are_drawn(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    arms = [Arm("real", 0.8, 0, 0, 0, (0.0,) * 6), Arm("real + synthetic", 0.9, 0.1, 0.05, 0.15, (0.1,) * 6)]
    columns = ("loss_discriminator", "loss_generator", "score_real", "score_synthetic", "variety")
    rows = [{"step": step, **dict.fromkeys(columns, 1.0)} for step in (1, 2)]
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        assert synthetic_pictures.grids(folder, {20: images, 10: images}, each=8) == [
            ("grids/step_000010.png", 10), ("grids/step_000020.png", 20),
        ]  # fmt: skip
        synthetic_pictures.gains(folder / "gains.png", arms, "auroc", coverage=0.95)
        synthetic_pictures.losses(folder / "losses.png", rows)
        synthetic_pictures.neighbours(folder / "near.png", [(images[0], images[1], 0.9)])
        found.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")})
    assert found[0] == found[1]
    assert len(found[0]) == 5
    for path in found[0]:
        with Image.open(tmp_path / "a" / path) as image:
            assert min(image.size) > 100


def test_nothing_to_show_is_said(tmp_path):
    synthetic_pictures.gains(tmp_path / "gains.png", [], "", coverage=0.0)
    synthetic_pictures.neighbours(tmp_path / "near.png", [])
    assert (tmp_path / "gains.png").is_file()
    assert (tmp_path / "near.png").is_file()
