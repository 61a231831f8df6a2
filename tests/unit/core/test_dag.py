import pytest

from pipeline.core.dag import read_params, read_stage, read_stages
from pipeline.core.errors import PersonError

DVC = """
stages:
  compose:
    desc: composes
    cmd: python -m pipeline compose
    deps: [conf, pipeline]
    params: [experiment, overrides]
    outs: [data/compose]
  ingest:
    cmd: python -m pipeline ingest
    deps: ["${source}"]
    params:
      - data/compose/config.yaml: [dataset, code.ingest]
    outs: [data/ingest]
    meta: {threads: 3, resources: {mem_mb: 7}}
  split:
    cmd: python -m pipeline split
    deps: [data/ingest]
    params:
      - data/compose/config.yaml: [splitter, code.split]
    outs: [data/split]
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("experiment: a\noverrides: []\nsource: /somewhere/my photos\n")
    return tmp_path


def test_stages_are_read_in_the_order_of_the_file(root):
    stages = read_stages(root)
    assert list(stages) == ["compose", "ingest", "split"]
    assert stages["compose"].params == ("experiment", "overrides")
    assert stages["compose"].inputs == {"conf": "conf", "pipeline": "pipeline"}
    assert stages["split"].keys == ("splitter", "code.split")
    assert stages["split"].inputs == {"ingest": "data/ingest"}


def test_the_template_is_resolved_from_params_and_becomes_the_keyword(root):
    assert read_stage(root, "ingest").inputs == {"source": "/somewhere/my photos"}


def test_upstream_counts_the_composed_configuration(root):
    stages = read_stages(root)
    assert stages["compose"].upstream(stages) == []
    assert stages["ingest"].upstream(stages) == ["compose"]
    assert stages["split"].upstream(stages) == ["compose", "ingest"]


def test_resources_are_those_of_meta(root):
    assert read_stage(root, "ingest").resources == {"threads": 3, "resources": {"mem_mb": 7}}
    assert read_stage(root, "split").resources == {}


def test_an_unknown_stage_names_the_nearest(root):
    with pytest.raises(PersonError, match="did you mean 'split'"):
        read_stage(root, "splitt")


def test_params_read_exponents_as_numbers(root):
    (root / "params.yaml").write_text("experiment: a\nlr: 1e-4\n")
    assert read_params(root)["lr"] == 1e-4
    (root / "params.yaml").write_text("- 1\n")
    with pytest.raises(PersonError, match="must be a mapping"):
        read_params(root)
