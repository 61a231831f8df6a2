"""What the probe measures equals what autograd, numpy and the optimiser's own formula say; planted faults are found."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.training.diagnosis import diagnose
from pipeline.training.health import (
    COLUMNS,
    FiniteCheckpoints,
    HealthProbe,
    measured_steps,
    not_finite,
    read_measures,
    write_measures,
)


def trained(model, folder, *, steps=120, count=4, lr=0.1, batch=64, side=16, outputs=4, learn=True):
    """A plain loop that calls the probe as Lightning does; returns the rows."""
    torch.manual_seed(1)
    probe = HealthProbe(folder / "health.jsonl", start_step=0, max_steps=steps, count=count)
    trainer, module = SimpleNamespace(global_step=0, global_rank=0), SimpleNamespace(model=model)
    x, truth = torch.randn(batch, side), torch.randint(0, outputs, (batch,))
    optimiser = torch.optim.SGD(model.parameters(), lr)
    for step in range(steps):
        if step + 1 not in probe.steps and not learn:
            trainer.global_step += 1
            continue
        probe.on_train_batch_start(trainer, module)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), truth).backward()
        probe.on_before_optimizer_step(trainer, module, optimiser)
        optimiser.step()
        trainer.global_step += 1
        probe.on_train_batch_end(trainer, module)
    return read_measures(folder / "health.jsonl")


def kinds(rows):
    return {finding.kind for finding in diagnose([], rows)}


def deep(layers, activation, *, gain=1.0, width=16, residual=False):
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(width) if residual else nn.Identity()
            self.linear, self.activation = nn.Linear(width, width), activation()

        def forward(self, x):
            return x * residual + self.activation(self.linear(self.norm(x)))

    net = nn.Sequential(*(Block() for _ in range(layers)), nn.Linear(width, 4))
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=gain)
    return net


def test_measured_steps_hold_both_ends_and_are_far_apart():
    assert measured_steps(60, 12) == [1, 30, 60]
    assert measured_steps(400, 12)[::7] == [1, 400]
    assert len(measured_steps(400, 12)) == 8
    assert len(measured_steps(10**6, 12)) == 12
    assert measured_steps(60, 0) == []
    assert measured_steps(1, 12) == [1]


def test_the_numbers_are_those_of_autograd_and_numpy(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    net[0].weight.data[:2], net[0].bias.data[:2] = 0, -1  # two of eight units never fire
    import copy

    twin = copy.deepcopy(net)
    rows = trained(net, tmp_path, steps=1, count=1)
    torch.manual_seed(1)
    x, truth = torch.randn(64, 16), torch.randint(0, 4, (64,))
    hidden = twin[0](x)
    active = twin[1](hidden)
    output = twin[2](active)
    for tensor in (hidden, output):
        tensor.retain_grad()
    nn.functional.cross_entropy(output, truth).backward()
    first, last = rows
    assert (first["layer"], last["layer"], first["depth"], last["depth"]) == ("0", "2", 0, 1)
    assert first["signal"] == pytest.approx(np.linalg.norm(hidden.grad.numpy()), rel=1e-5)
    assert last["signal"] == pytest.approx(np.linalg.norm(output.grad.numpy()), rel=1e-5)
    assert first["gradient"] == pytest.approx(np.linalg.norm(twin[0].weight.grad.numpy()), rel=1e-5)
    assert last["weight"] == pytest.approx(np.linalg.norm(twin[2].weight.detach().numpy()), rel=1e-5)
    assert last["update"] == pytest.approx(0.1 * last["gradient"] / last["weight"], rel=1e-4)  # plain gradient descent
    seen = active.detach().numpy()[:32]
    assert last["mean"] == pytest.approx(seen.mean(), rel=1e-5)
    assert last["std"] == pytest.approx(seen.std(), rel=1e-5)
    assert last["zeros"] == pytest.approx((seen == 0).mean(), rel=1e-5)
    assert last["dead"] == pytest.approx(2 / 8)
    assert first["dead"] is None  # its input is data
    assert last["saturated"] is None


def test_maps_are_read_by_channel(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 12 * 12, 4))
    net[0].weight.data[1], net[0].bias.data[1] = 0, -1

    class Square(nn.Module):
        def forward(self, x):
            return x.view(len(x), 1, 4, 4).repeat(1, 1, 4, 4)

    rows = trained(nn.Sequential(Square(), net), tmp_path, steps=1, count=1)
    assert [row["layer"] for row in rows] == ["1.0", "1.2", "1.4"]
    assert rows[1]["dead"] == pytest.approx(1 / 3)


def test_hooks_are_gone_and_a_frozen_layer_is_not_measured(tmp_path):
    net = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    net[0].requires_grad_(False)
    rows = trained(net, tmp_path, steps=3, count=3)
    assert {row["layer"] for row in rows} == {"2"}
    assert not any(module._forward_hooks for module in net.modules())


def test_forty_sigmoid_layers_vanish_and_a_residual_net_of_that_depth_does_not(tmp_path):
    for name in ("plain", "residual"):
        (tmp_path / name).mkdir()
    rows = trained(deep(40, nn.Sigmoid), tmp_path / "plain", learn=False, lr=0.0)
    assert "vanishing" in kinds(rows)
    assert rows[0]["signal"] < 1e-10 * rows[40]["signal"]
    text = next(finding.text for finding in diagnose([], rows) if finding.kind == "vanishing")
    assert "0.linear" in text
    assert "residual connections" in text
    assert kinds(trained(deep(40, nn.ReLU, residual=True), tmp_path / "residual", learn=False, lr=0.01)) == set()


def test_thirty_layers_that_halve_the_variance_are_flagged_and_ten_are_not(tmp_path):
    for name in ("thirty", "ten"):
        (tmp_path / name).mkdir()
    assert "vanishing" in kinds(trained(deep(30, nn.ReLU, width=64), tmp_path / "thirty", learn=False, lr=0.0, side=64))
    assert "vanishing" not in kinds(trained(deep(10, nn.ReLU, width=64), tmp_path / "ten", learn=False, lr=0.0, side=64))


def test_a_net_that_amplifies_explodes(tmp_path):
    assert kinds(trained(deep(20, nn.Identity, gain=2.5), tmp_path, learn=False, lr=0.0)) == {"exploding"}


def test_dead_and_saturated_units_are_found(tmp_path):
    for name in ("dead", "saturated", "well"):
        (tmp_path / name).mkdir()
    dead = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    dead[0].bias.data[:20] = -50
    assert kinds(trained(dead, tmp_path / "dead")) == {"dead"}
    saturated = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    saturated[0].weight.data *= 300
    assert kinds(trained(saturated, tmp_path / "saturated", learn=False)) == {"saturated"}
    assert kinds(trained(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), tmp_path / "well")) == set()


def test_rows_past_the_start_are_dropped_and_a_cut_line_too(tmp_path):
    path = tmp_path / "health.jsonl"
    path.write_text('{"step": 1, "layer": "a"}\n{"step": 9, "layer": "a"}\n{"step": 1')
    HealthProbe(path, start_step=5, max_steps=10, count=3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1]


def test_the_table_has_empty_cells_for_what_is_unknown(tmp_path):
    write_measures([{"step": 1, "depth": 0, "layer": "a", "signal": 1.5, "dead": None}], tmp_path / "health.csv")
    assert (tmp_path / "health.csv").read_text() == ",".join(COLUMNS) + "\n1,0,a,1.5,,,,,,,,\n"


def test_a_state_that_is_not_finite_is_not_saved():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.full((2,), -torch.inf))
    guard, moments = FiniteCheckpoints(), [{"state": {0: {"exp_avg_sq": torch.ones(2)}}}]
    guard.on_train_start(None, model)

    def saved():
        guard.on_save_checkpoint(None, model, {"state_dict": model.state_dict(), "optimizer_states": moments, "global_step": 7})

    saved()
    moments[0]["state"][0]["exp_avg_sq"][1] = torch.inf
    with pytest.raises(PersonError, match=r"after step 7 optimiser.0.state.0.exp_avg_sq is not finite.*last finite checkpoint"):
        saved()
    moments[0]["state"][0]["exp_avg_sq"][1] = 1
    model[1].running_var[0] = torch.nan
    with pytest.raises(PersonError, match=r"1.running_var is not finite"):
        saved()
    assert not_finite({"a": torch.tensor([1, 2]), "b": [torch.ones(1), {"c": torch.tensor(torch.nan)}]}) == ["b.1.c"]
