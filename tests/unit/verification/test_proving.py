"""What is tried: rising radii, the cheap verifier first, nothing that cannot be proven any more."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.verification.graph import Graph, Node, Unboundable
from pipeline.verification.proving import check_radii, footprint, prove
from pipeline.verification.statement import Statement
from tests import toy

TASK = build(toy.option("task", "classification"), card={"classes": ["a", "b"], "name": "toy"})
GRAPH = Graph((
    Node("x", "input"), Node("conv", "conv", ("x",), {"weight": torch.ones(3, 1, 2, 2)},
                             {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}),
    Node("mean", "mean", ("conv",), options={"dims": (2, 3), "keep": False}),
    Node("out", "linear", ("mean",), {"weight": torch.ones(2, 3)}),
))  # fmt: skip
X = torch.full((4, 1, 5, 4), 0.5)


class Scripted:
    """A verifier whose bounds are `reach` minus the radius; it notes what it was asked."""

    def __init__(self, reach):
        self.reach, self.asked = torch.as_tensor(reach, dtype=torch.float64), []

    def lower(self, graph, box, weights_BSK):
        assert next(iter(graph.nodes[1].constants.values())).dtype == torch.float64
        eps = float(box.radius.max())
        self.asked.append((round(eps, 3), len(weights_BSK)))
        return (self.reach - eps).expand(len(weights_BSK), 1)


def run(verifiers, radii, open_NR=None):
    claim = Statement(TASK, np.zeros(4, dtype=np.int64), tolerance=0.1)
    return prove(verifiers, GRAPH, claim, X, radii=radii, open_NR=np.ones((4, len(radii)), bool) if open_NR is None else open_NR)


def test_the_dear_verifier_sees_what_the_cheap_one_could_not_prove_and_no_larger_radius_is_tried_then():
    cheap, dear = Scripted(0.15), Scripted(0.25)
    proof = run({"cheap": cheap, "dear": dear}, [0.1, 0.2, 0.3, 0.4])
    assert cheap.asked == [(0.1, 4), (0.2, 4), (0.3, 4)]
    assert dear.asked == [(0.2, 4), (0.3, 4)]
    assert proof.method_NR[0].tolist() == ["cheap", "dear", "dear", ""]
    np.testing.assert_allclose(proof.least_NR[2, :3], [0.05, 0.05, -0.05])
    assert np.isnan(proof.least_NR[:, 3]).all()


def test_what_is_broken_is_not_bounded():
    verifier = Scripted(1.0)
    proof = run({"v": verifier}, [0.1, 0.2], np.asarray([[1, 1], [0, 0], [1, 0], [0, 0]], dtype=bool))
    assert verifier.asked == [(0.1, 2), (0.2, 1)]
    assert np.isnan(proof.least_NR).tolist() == [[False, False], [True, True], [False, True], [True, True]]


def test_a_verifier_that_cannot_bound_a_layer_leaves_the_others_and_says_so_when_it_is_the_last():
    class Refusing:
        def lower(self, graph, box, weights_BSK):
            raise Unboundable("the layer", "Erf")

    assert run({"no": Refusing(), "yes": Scripted(1.0)}, [0.1]).reason == ""
    proof = run({"no": Refusing()}, [0.1, 0.2])
    assert "'the layer' (Erf)" in proof.reason
    assert np.isnan(proof.least_NR).all()


def test_a_bound_that_is_no_number_proves_nothing():
    proof = run({"v": Scripted(float("nan"))}, [0.1])
    assert (proof.least_NR == -np.inf).all()


def test_the_footprint_counts_every_layer_once_for_one_image():
    assert footprint(GRAPH, X) == 20 + 3 * 4 * 3 + 3 + 2


def test_radii_are_sorted_and_held_to_the_range_of_the_pixels():
    assert check_radii([0.2, 0.1, 0.2]) == [0.1, 0.2]
    for radii in ([], [0.0, 0.1], [1.01]):
        with pytest.raises(PersonError, match="the range of the pixels"):
            check_radii(radii)
