"""What a person may write into a matrix study, and what is said where it cannot be."""

import re

import pytest
import yaml

from pipeline.core.errors import PersonError
from pipeline.search.study import read_study
from pipeline.study.matrix import Matrix, matrices, read_matrix
from tests import searching


@pytest.fixture(scope="module")
def toy(tmp_path_factory, project):
    return searching.project(tmp_path_factory.mktemp("matrix") / "toy", project)


def written(toy, **facts):
    (toy / "conf/study/m.yaml").write_text(yaml.safe_dump({"matrix": {"experiments": ["toy"]}, "target": "train", **facts}))
    return read_matrix(toy, "m")


def test_the_cells_are_the_cross_product_in_the_order_of_the_file(toy):
    study = written(toy, matrix={"experiments": ["toy"], "overrides": {"a": [], "b": ["train.lr=1"]}, "seeds": [3, 1], "folds": 3},
                    overrides=["threads=1"])  # fmt: skip
    points = study.points()
    assert len(points) == 2 * 2 * 3
    assert points[0].name == "toy-a-s3-f0"
    assert points[-1].name == "toy-b-s1-f2"
    assert len({point.name for point in points}) == 12
    assert points[-1].overrides == ("threads=1", "train.lr=1", "splitter=kfold", "splitter.folds=3")
    assert study.reference == "a"


def test_without_lists_there_is_one_cell_an_experiment(toy):
    assert [point.name for point in written(toy).points()] == ["toy-plain"]


@pytest.mark.parametrize(("facts", "said"), [
    ({"matrix": {"experiments": ["tyo"]}}, "unknown experiment 'tyo': did you mean 'toy'?"),
    ({"matrix": {"experiments": []}}, "matrix.experiments"),
    ({"matrix": {"experiments": ["toy"], "seed": [1]}}, "unknown key matrix.seed: did you mean 'seeds'?"),
    ({"matrix": {"experiments": ["toy"], "seeds": [1, 1]}}, "non-unique"),
    ({"matrix": {"experiments": ["toy"], "seeds": [-1]}}, "minimum of 0"),
    ({"matrix": {"experiments": ["toy"], "folds": 2}}, "minimum of 3"),
    ({"matrix": {"experiments": ["toy"], "overrides": {"../x": []}}}, "does not match"),
    ({"target": "trian"}, "unknown stage 'trian': did you mean 'train'?"),
    ({"target": "compose"}, "target must be"),
    ({"reference": "plan"}, "reference 'plan' is none of matrix.overrides: did you mean 'plain'?"),
    ({"name": "../../x"}, "does not match"),
    ({"coverage": 1.0}, "coverage"),
])  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(toy, facts, said):
    with pytest.raises(PersonError) as error:
        written(toy, **facts)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stem", ["x; touch pwned", "my study", "-x", "a.b", "$(id)"])
def test_the_name_of_a_file_is_held_against_the_same_rule_as_a_name(toy, tmp_path, stem):
    path = tmp_path / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({"matrix": {"experiments": ["toy"]}, "target": "train"}))
    with pytest.raises(PersonError, match=r"does not match .*: rename the file, or give it `name:`$"):
        read_matrix(toy, str(path))
    path.write_text(yaml.safe_dump({"matrix": {"experiments": ["toy"]}, "target": "train", "name": "good"}))
    assert read_matrix(toy, str(path)).name == "good"


def test_names_of_a_study_and_its_cells_are_quoted_where_a_shell_reads_them(project):
    rules = (project / "pipeline/study/rules.smk").read_text()
    assert len(re.findall(r"\{(?:params\.study|params\.cell|wildcards\.cell):q\}", rules)) == 6
    assert not re.findall(r"\{(?:params\.study|params\.cell|wildcards\.cell)\}", rules)


def test_the_two_kinds_of_study_point_to_each_other(toy):
    searching.study(toy, "search")
    with pytest.raises(PersonError, match="python -m pipeline tune search"):
        read_matrix(toy, "search")
    written(toy)
    with pytest.raises(PersonError, match="python -m pipeline study run m"):
        read_study(toy, "m")
    assert matrices(toy) == ["m"]
    with pytest.raises(PersonError, match="unknown study 'serach': did you mean 'search'"):
        read_matrix(toy, "serach")


def test_the_studies_of_this_project_can_be_read(project):
    assert all(isinstance(read_matrix(project, name), Matrix) for name in matrices(project))
    assert "digits_matrix" in matrices(project)
