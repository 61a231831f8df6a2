"""A generator that repeats its training images is caught, in every disguise; one that does not is left alone."""

import numpy as np
import pytest

from pipeline.core.record import Sample
from pipeline.core.store import open_samples, write_shards
from pipeline.images.decode import sample_id
from pipeline.synthesis.memorisation import (
    check_held_out,
    check_synthetic,
    feature_distance,
    nearest_places,
    pixel_distance,
    remember,
    symmetries,
)

RNG = np.random.default_rng(0)


def faces(count, rng):
    """Smooth random images: neighbours exist, but no two are alike."""
    coarse = rng.normal(size=(count, 4, 4))
    rows = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)
    return np.clip(128 + 40 * rows, 0, 255).astype(np.uint8)[..., None]


TRAIN, HELD, FRESH = faces(200, RNG), faces(50, RNG), faces(40, RNG)


def judged(made, copy_ratio=0.5):
    train, held = ({"pixels": pixel_distance(made, images)} for images in (TRAIN, HELD))
    return remember(train, held, sizes=(len(TRAIN), len(HELD)), copy_ratio=copy_ratio)


def disguised(images, kind):
    noise = np.random.default_rng(1).normal(0, 4, images.shape)
    return {
        "as they are": images,
        "mirrored": images[:, :, ::-1],
        "turned": np.rot90(images, axes=(1, 2)),
        "turned and mirrored": np.rot90(images, 3, axes=(1, 2))[:, ::-1],
        "with noise": np.clip(images + noise, 0, 255).astype(np.uint8),
        "brighter": np.clip(images.astype(int) + 6, 0, 255).astype(np.uint8),
    }[kind]


def test_there_are_eight_different_symmetries():
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)
    assert len({seen.tobytes() for seen in symmetries(image)}) == 8


@pytest.mark.parametrize("kind", ["as they are", "mirrored", "turned", "turned and mirrored", "with noise", "brighter"])
def test_copies_of_training_images_are_caught_in_disguise(kind):
    memory = judged(np.ascontiguousarray(disguised(TRAIN[:40], kind)))
    assert memory.copies == 40
    assert memory.nearer["pixels"] == 1.0
    assert memory.chance["pixels"] < 0.01


def test_new_images_are_no_copies_and_lie_as_near_to_train_as_chance_has_it():
    memory = judged(FRESH)
    assert memory.copies == 0
    assert memory.expected == 0.8
    assert abs(memory.nearer["pixels"] - 0.8) < 0.2
    assert memory.chance["pixels"] > 0.01


def test_copies_of_validation_images_are_not_taken_for_memory():
    """The generator cannot know them: near to validation is far from memorised."""
    assert judged(HELD[:40]).copies == 0


def test_a_few_copies_among_new_images_are_named_one_by_one():
    made = np.concatenate([FRESH[:10], TRAIN[3:5], FRESH[10:20]])
    assert np.flatnonzero(judged(made).copy_S).tolist() == [10, 11]


def test_without_the_symmetries_a_turned_copy_would_pass(monkeypatch):
    """Planted fault."""
    from pipeline.synthesis import memorisation

    monkeypatch.setattr(memorisation, "symmetries", lambda images: [images])
    assert judged(np.ascontiguousarray(np.rot90(TRAIN[:40], axes=(1, 2)))).copies < 5


def test_a_copy_in_the_embedding_alone_is_a_copy_too():
    near = {"pixels": np.asarray([5.0, 5.0]), "embedding": np.asarray([0.1, 3.0])}
    far = {"pixels": np.asarray([5.0, 5.0]), "embedding": np.asarray([3.0, 3.0])}
    memory = remember(near, far, sizes=(10, 10), copy_ratio=0.5)
    assert memory.copy_S.tolist() == [True, False]


def test_no_distance_at_all_is_a_copy_wherever_else_it_lies():
    memory = remember({"pixels": np.zeros(1)}, {"pixels": np.zeros(1)}, sizes=(1, 1), copy_ratio=0.5)
    assert memory.copies == 1


def test_distances_equal_plain_loops():
    expected = [
        min(np.sqrt(np.mean((a.astype(float) - seen) ** 2)) for b in TRAIN for seen in [s[0] for s in symmetries(b[None])])
        for a in FRESH[:3]
    ]
    np.testing.assert_allclose(pixel_distance(FRESH[:3], TRAIN), expected)
    x, y = RNG.normal(size=(5, 3)), RNG.normal(size=(9, 3))
    np.testing.assert_allclose(feature_distance(x, y), [min(np.linalg.norm(a - b) for b in y) for a in x])
    turned = np.ascontiguousarray(np.rot90(TRAIN[[7, 2]], axes=(1, 2)))
    assert nearest_places(turned, TRAIN).tolist() == [7, 2]


# -------------------------------------------------------------------------------------------------------------- provenance
def stored(folder, **facts):
    samples = [
        Sample(id=sample_id(image), pixels_HWC=image, name=str(number), **{"origin": "synthetic", "parent": "digest", **facts})
        for number, image in enumerate(FRESH[:4])
    ]
    write_shards(folder, samples)
    return open_samples(folder)


def test_synthetic_samples_with_their_provenance_pass(tmp_path):
    check_synthetic(stored(tmp_path), parent="digest", taken={"other"})


@pytest.mark.parametrize(("facts", "said"), [
    ({"origin": "real"}, "origin 'real'"), ({"parent": ""}, "parent ''"), ({"parent": "another"}, "parent 'another'"),
])  # fmt: skip
def test_a_synthetic_sample_without_provenance_is_refused(tmp_path, facts, said):
    with pytest.raises(AssertionError, match=said):
        check_synthetic(stored(tmp_path, **facts), parent="digest", taken=set())


def test_a_synthetic_sample_that_is_a_real_image_is_refused(tmp_path):
    made = stored(tmp_path)
    with pytest.raises(AssertionError, match=f"synthetic sample {made.ids[2]} has the pixels of a real one"):
        check_synthetic(made, parent="digest", taken={made.ids[2]})


@pytest.mark.parametrize("origin", ["synthetic", "augmented"])
def test_validation_and_test_hold_real_samples_alone(tmp_path, origin):
    made = stored(tmp_path, origin=origin)
    with pytest.raises(AssertionError, match=r"1 samples of val are not real"):
        check_held_out(made, made.ids[1:2], "val")
    check_held_out(stored(tmp_path / "real", origin="real"), made.ids, "val")
