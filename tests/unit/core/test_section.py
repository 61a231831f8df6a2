import pytest

from pipeline.core.section import Picture, Section, Table, metric_rows, read_section, write_section


def test_a_section_comes_back_as_it_was_written(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    section = Section("T", "one sentence", ["more"], ["careful"], [Table("t", ["a"], [[1], [None], [2.5]])], [Picture("a.png", "c")])
    assert write_section(tmp_path, section) == "one sentence"
    assert read_section(tmp_path) == section


def test_a_picture_that_was_not_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_section(tmp_path, Section("T", "s", pictures=[Picture("a.png", "c")]))
    assert not (tmp_path / "section.json").exists()


def test_metrics_are_shown_with_their_interval_and_a_missing_one_as_nothing():
    results = {"ours": {"auroc": {"value": 0.8, "low": 0.75, "high": 0.85}}}
    assert metric_rows(results, ["auroc", "f1"]) == [["ours", "0.800 [0.750, 0.850]", None]]
