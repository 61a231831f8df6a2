"""Numbers that are made of two, or chosen among several, are the ones that a person would work out."""

import pytest

from pipeline.assurance import measures
from pipeline.assurance.checks import named_bytes, sandwich
from pipeline.assurance.evidence import Shelf
from tests.unit.assurance.test_evidence import publish

HEADLINE = {"metric": "auroc", "label": "AUROC", "higher_is_better": True, "group_metric": "accuracy"}


def entry(value, low=None, high=None):
    return {"value": value, "low": value - 0.1 if low is None else low, "high": value + 0.1 if high is None else high}


def point(eps, attacked, certified):
    return {"eps": eps, "attacked": entry(attacked), "certified": entry(certified)}


def certificate(directory, *, curve=((0.01, 0.6, 0.5), (0.02, 0.4, 0.1)), declared=None, clean=0.8):
    export = publish(directory, "export", model={"weights": 1})
    sha256 = Shelf({"export": export}).source("export", "model.json").sha256
    made = {"exported": {"sha256": {"export/model.json": declared or sha256}, "clean": entry(clean), "curve": [point(*row) for row in curve]}}
    return Shelf({"export": export, "certify": publish(directory, "certify", certificates={"artifacts": made})})


@pytest.mark.parametrize(("higher", "ours", "rivals", "value", "low", "high", "best"), [
    (True, entry(0.9, 0.8, 0.95), {"svm": entry(0.7, 0.6, 0.75), "linear": entry(0.8, 0.7, 0.85)}, 0.1, -0.05, 0.25, "linear"),
    (False, entry(0.2, 0.15, 0.3), {"svm": entry(0.5, 0.4, 0.6), "linear": entry(0.7, 0.5, 0.9)}, 0.3, 0.1, 0.45, "svm"),
])  # fmt: skip
def test_the_lead_is_over_the_best_baseline_and_its_ends_are_the_cautious_ones(tmp_path, higher, ours, rivals, value, low, high, best):
    evaluate = publish(tmp_path, headline={**HEADLINE, "higher_is_better": higher}, metrics={"auroc": ours})
    shelf = Shelf({"evaluate": evaluate, "baseline": publish(tmp_path, "baseline", metrics={name: {"auroc": one} for name, one in rivals.items()})})
    found = measures.gain(shelf, {})
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high))
    assert found.words == f"over {best}"
    assert [source.place for source in found.sources] == ["evaluate/metrics.json", "evaluate/headline.json", "baseline/metrics.json"]
    assert measures.gain(Shelf({"evaluate": evaluate}), {}) is None


@pytest.mark.parametrize(("higher", "expected"), [(True, (0.02, -0.01, 0.05)), (False, (-0.02, -0.05, 0.01))])
def test_what_compression_takes_is_positive_where_the_headline_got_worse(tmp_path, higher, expected):
    evaluate = publish(tmp_path, headline={**HEADLINE, "higher_is_better": higher}, metrics={})
    shelf = Shelf({"evaluate": evaluate, "compress": publish(tmp_path, "compress", metrics={"change": {"auroc": entry(-0.02, -0.05, 0.01)}})})
    found = measures.compression_loss(shelf, {})
    assert (found.value, found.low, found.high) == pytest.approx(expected)


def test_the_worst_group_is_named_with_its_samples(tmp_path):
    groups = {"worst": {"by": "class", "name": "cracked", "samples": 12, **entry(0.5)}}
    found = measures.worst_group(Shelf({"evaluate": publish(tmp_path, headline=HEADLINE, groups=groups)}), {})
    assert (found.value, found.words) == (0.5, "accuracy of class cracked, 12 samples")
    assert measures.worst_group(Shelf({"evaluate": publish(tmp_path, headline=HEADLINE, groups={"worst": None})}), {}) is None


@pytest.mark.parametrize(("metric", "more"), [("accuracy", True), ("mean absolute error", False)])
def test_groups_of_values_are_scored_by_an_error(tmp_path, metric, more):
    shelf = Shelf({"evaluate": publish(tmp_path, headline={**HEADLINE, "group_metric": metric})})
    assert measures.more_is_better_of_groups(shelf) is more


@pytest.mark.parametrize(("eps", "attacked", "certified"), [(None, 0.4, 0.1), (0.01, 0.6, 0.5), (0.0100001, 0.6, 0.5), (0.015, None, None)])
def test_the_certificate_is_read_at_the_radius_that_was_asked_for(tmp_path, eps, attacked, certified):
    shelf = certificate(tmp_path)
    found = [measures.attacked(shelf, {"eps": eps}), measures.certified(shelf, {"eps": eps})]
    assert [one and one.value for one in found] == [attacked, certified]
    if attacked:
        assert found[1].words == f"exported model at eps {eps or 0.02:.4g}"
        assert found[1].key == f"artifacts.exported.curve.{1 if eps is None else 0}.certified"


def test_without_a_verifier_nothing_is_certified(tmp_path):
    assert measures.certified(Shelf({"certify": publish(tmp_path, "certify", certificates={})}), {"eps": None}) is None


def test_sound_certificates_break_no_law(tmp_path):
    shelf = certificate(tmp_path)
    assert (sandwich(shelf).verdict, named_bytes(shelf).verdict) == ("holds", "holds")
    assert named_bytes(shelf).rests == ("certify/certificates.json", "export/model.json")


@pytest.mark.parametrize(("curve", "fault"), [
    (((0.01, 0.5, 0.6),), "exported model at eps 0.01: certified 0.6, attacked 0.5, clean 0.8"),
    (((0.01, 0.9, 0.6),), "exported model at eps 0.01: certified 0.6, attacked 0.9, clean 0.8"),
    (((0.01, 0.5, 0.2), (0.02, 0.5, 0.3)), "exported model: accuracy rises with eps"),
])  # fmt: skip
def test_planted_fault_a_sandwich_that_does_not_hold(tmp_path, curve, fault):
    assert sandwich(certificate(tmp_path, curve=curve)).faults == (fault,)


def test_planted_fault_a_certificate_of_other_bytes(tmp_path):
    assert named_bytes(certificate(tmp_path, declared="e" * 64)).faults == ("the certificate of the exported model speaks of another export/model.json (eeeeeeeeeeee)",)
    shelf = certificate(tmp_path / "gone")
    (shelf.directories["export"] / "model.json").unlink()
    assert named_bytes(Shelf(shelf.directories)).faults == ("the certificate of the exported model speaks of export/model.json, which is not there",)
