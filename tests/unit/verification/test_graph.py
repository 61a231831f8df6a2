"""The graph refuses what is no graph; what its operations compute is held against torch in test_tracing."""

import pytest
import torch

from pipeline.verification.graph import Graph, Node, Unboundable


def test_an_unknown_operation_is_named():
    with pytest.raises(Unboundable, match=r"layer 'norm' \(layer_norm\)") as caught:
        Graph((Node("x", "input"), Node("norm", "layer_norm", ("x",))))
    assert (caught.value.layer, caught.value.operation) == ("norm", "layer_norm")


@pytest.mark.parametrize("nodes", [
    (), (Node("x", "relu"),), (Node("x", "input"), Node("x", "relu", ("x",))), (Node("x", "input"), Node("y", "relu", ("z",))),
])  # fmt: skip
def test_what_is_no_graph_is_refused(nodes):
    with pytest.raises(ValueError, match="expected"):
        Graph(nodes)


def test_rounding_is_half_to_even_and_clips():
    constants = {"step": torch.tensor(0.5), "zero": torch.tensor(1.0)}
    graph = Graph((Node("x", "input"), Node("y", "quantise", ("x",), constants, {"low": -2, "high": 3})))
    x = torch.tensor([[-9.0, -0.75, -0.25, 0.25, 0.26, 0.75, 9.0]])
    assert graph.run(x).tolist() == [[-1.5, -1.0, 0.0, 0.0, 0.5, 1.0, 1.0]]
