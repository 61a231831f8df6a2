"""Other sets have the shape of the data, depend on their key alone, and are refused when they are the data itself."""

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.images.decode import sample_id
from pipeline.outlier import sets


@pytest.fixture
def known():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (18, 20, 1), dtype=np.uint8) for _ in range(10)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("source", [(8, 8, 1), (28, 30, 3), (40, 10, 1)])
def test_an_image_is_brought_to_the_shape_of_the_data(source, channels):
    image = np.random.default_rng(0).integers(0, 256, source, dtype=np.uint8)
    found = sets.shaped(image, (12, 14, channels))
    assert (found.shape, found.dtype) == ((12, 14, channels), np.uint8)


def test_generated_sets(known):
    noise, again = (sets.generated("noise", known, count=6, shape=(18, 20, 3), seed=3) for _ in range(2))
    assert [image.tobytes() for image in noise] == [image.tobytes() for image in again]
    assert len({image.tobytes() for image in noise}) == 6
    assert sets.generated("noise", known, count=1, shape=(18, 20, 3), seed=4)[0].tobytes() != noise[0].tobytes()
    assert 120 < np.mean(noise) < 136
    inverted = sets.generated("inverted", known, count=4, shape=(18, 20, 1), seed=3)
    assert all(np.array_equal(np.asarray(image, int) + other, np.full(image.shape, 255)) for image, other in zip(inverted, known, strict=False))
    assert len(inverted) == 4
    levels = [image.flat[0] for image in sets.generated("blank", known, count=5, shape=(18, 20, 1), seed=3)]
    assert levels == [0, 64, 128, 191, 255]


@pytest.mark.parametrize("kind", sets.MADE)
def test_made_outliers_differ_from_their_samples_and_depend_on_their_ids_alone(kind, known):
    ids = [str(number) for number in range(len(known))]
    found = sets.made(kind, known, ids, 0)
    assert len(found) == len(known)
    for image, other in zip(found, known, strict=True):
        assert (image.shape, image.dtype) == (other.shape, np.uint8)
        assert not np.array_equal(image, other)
    if kind != "mean":  # of two samples
        assert np.array_equal(sets.made(kind, known[::-1], ids[::-1], 0)[0], found[-1])
    if kind == "jigsaw":
        assert all(sorted(image.ravel()) == sorted(other.ravel()) for image, other in zip(found, known, strict=True))


def test_a_set_that_is_the_data_is_refused(known):
    ids = [sample_id(image) for image in known]
    with pytest.raises(PersonError, match=r"10 of 10 images of 'digits' are samples of the training data itself"):
        sets.unlike("digits", known, ids)
    with pytest.raises(PersonError, match="2 of 10"):
        sets.unlike("digits", known, ids[:2])


def test_single_equal_images_are_left_out(known):
    others = [255 - image for image in known] + known[:1]
    assert len(sets.unlike("inverted", others, [sample_id(image) for image in known])) == 10
