import pytest

from pipeline.core.errors import BadSampleError, MissingPackageError, PersonError, near_match


def test_a_near_name_is_named_and_a_far_one_is_not():
    assert near_match("modle", ["model", "train"]) == "did you mean 'model'? (options: model, train)"
    assert near_match("zzz", ["model", "train"]) == "options: model, train"


def test_long_lists_are_cut():
    assert near_match("x", [f"n{i:03d}" for i in range(50)]).endswith("n019, ...")


def test_a_missing_package_is_answered_with_its_command():
    with pytest.raises(PersonError, match=r"pip install openvino  \(or: pip install -e '\.\[targets\]'\)"):
        raise MissingPackageError("openvino", "the exporter openvino", extra="targets")


def test_mistakes_of_people_are_value_errors():
    assert issubclass(PersonError, ValueError)
    assert issubclass(BadSampleError, PersonError)
