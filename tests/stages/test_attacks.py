"""A campaign of attacks against closed forms; what it publishes; a planted attack ends it."""

import csv

import numpy as np
import pytest
import torch

from pipeline.adversarial import campaign as module
from pipeline.adversarial.campaign import Prey, run_attacks
from pipeline.adversarial.pages import flat_metrics, pages, publish
from pipeline.adversarial.promises import Seen
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from tests import toy
from tests.victims import COUNT, linear, reach

FILES = {"attacks.csv", "attacks.png", "adversarial.png", "adversarial.npz"}


def prey_of(classes=2):
    victim, x = linear(classes)
    x = (255 * x).round() / 255
    with torch.no_grad():
        truth_N = victim.model(x).argmax(1)
    truth_N[:4] = (truth_N[:4] + 1) % classes  # four are wrong from the start
    ids = [f"id{row:02d}" for row in range(COUNT)]
    return Prey(victim.task, victim.model, 0, x, truth_N, np.ones(COUNT), ids), reach(victim, x, 1)


@pytest.fixture(scope="module")
def ran():
    prey, away_N = prey_of()
    eps = float(torch.round(255 * away_N.median())) / 255
    nodes = {
        "none": {"_target_": None},
        "fgsm": toy.option("attack", "fgsm", eps=eps, radii=[2, 1]),
        "pgd": toy.option("attack", "pgd", eps=eps, radii=[1]),
        "pgd_l2": toy.option("attack", "pgd_l2", eps=0.3, radii=[1]),
        "pgd_targeted": toy.option("attack", "pgd_targeted", eps=eps, radii=[2]),
        "square": toy.option("attack", "square", eps=eps, queries=30),
    }
    return run_attacks(nodes, prey), eps, away_N


def one_of(campaign, name, index=0):
    return [one for one in campaign.assaults if one.name == name][index]


def test_radii_rise_and_names_keep_the_order_of_conf(ran):
    campaign, eps, _ = ran
    found = [(one.name, round(one.eps / eps, 6)) for one in campaign.assaults if one.norm == "linf"]
    assert found == [("fgsm", 1.0), ("fgsm", 2.0), ("pgd", 1.0), ("pgd_targeted", 2.0), ("square", 1.0)]


def test_the_share_that_is_fooled_is_the_closed_form(ran):
    campaign, eps, away_N = ran
    right_N = ~campaign.clean.wrong_N
    assert int(right_N.sum()) == COUNT - 4
    exact = float((away_N[right_N] < eps).float().mean())
    assert one_of(campaign, "pgd").fooled == pytest.approx(exact, abs=1.5 / COUNT)
    assert not bool(campaign.standing("linf", eps)[:4].any())
    assert float(campaign.standing("linf", eps).float().mean()) <= float(right_N.float().mean())
    assert int(campaign.standing("linf", 2 * eps).sum()) <= int(campaign.standing("linf", eps).sum())


def test_a_targeted_attack_says_what_it_reached(ran):
    campaign, _, _ = ran
    reached = one_of(campaign, "pgd_targeted").reached
    assert 0 <= reached <= 1
    assert one_of(campaign, "pgd").reached is None


def test_passes_are_counted_for_each_sample(ran):
    campaign, _, _ = ran
    assert one_of(campaign, "fgsm").passes == 2 + 2  # the gradient, the clean loss and the loss at the end
    assert one_of(campaign, "pgd").passes == 2 * 10 + 2
    assert one_of(campaign, "pgd_targeted").passes == 2 * 20 + 3  # and the logits that name the goal


def test_it_publishes_everything_and_the_images_stay_in_their_balls(ran, tmp_path):
    campaign, _, _ = ran
    publish(campaign, tmp_path, interval_of=lambda prediction: (0.1, 0.9))
    assert {path.name for path in tmp_path.iterdir()} == FILES
    with (tmp_path / "attacks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows] == ["clean", *(one.name for one in campaign.assaults)]
    assert float(rows[3]["fooled"]) == pytest.approx(one_of(campaign, "pgd").fooled)
    with np.load(tmp_path / "adversarial.npz") as held:
        assert held["attack"].tolist() == ["fgsm", "pgd", "pgd_l2", "pgd_targeted", "square"]
        assert held["images"].dtype == np.uint8
        assert held["images"].shape == (5, COUNT, 5, 5, 1)
        assert held["ids"].tolist() == list(campaign.prey.ids)
        for norm, eps, images in zip(held["norm"], held["eps"], held["images"], strict=True):
            change = (images.astype(float) - held["clean"]).reshape(COUNT, -1) / 255
            away = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
            assert away.max() <= eps + 1e-6
        first = torch.from_numpy(held["images"][1]).permute(0, 3, 1, 2).float() / 255
        assert np.array_equal(held["wrong_rounded"][1], campaign.prey.see(first).wrong_N.numpy())


def test_two_runs_publish_the_same_bytes(ran, tmp_path):
    prey, _ = prey_of()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        nodes = {"pgd": toy.option("attack", "pgd", eps=0.02), "square": toy.option("attack", "square", eps=0.02, queries=5)}
        publish(run_attacks(nodes, prey), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_its_pages_hold_the_numbers(ran):
    campaign, eps, _ = ran
    shown = pages(campaign, interval_of=lambda prediction: (0.25, 0.75))
    assert "[0.250, 0.750]" in shown.tables[0].rows[1][2]
    assert shown.tables[0].columns == ["attack", "radius", "AUROC", "fooled", "reached", "mean loss", "passes"]
    standing = {row[0]: row[1:] for row in shown.tables[1].rows}
    assert standing["clean"][0] == pytest.approx(1 - 4 / COUNT)
    assert standing[f"{255 * eps:.3g}/255"][0] == pytest.approx(float(campaign.standing("linf", eps).float().mean()))
    named = pages(campaign, share_of=lambda right: (right.mean() - 0.1, 1.0)).tables[1].rows[0][1]
    assert named == "0.900 [0.800, 1.000]"
    numbers = flat_metrics(campaign)
    assert numbers[f"robust_accuracy_{255 * eps:.3g}"] == pytest.approx(float(campaign.standing("linf", eps).float().mean()))
    assert f"pgd_{255 * eps:.3g}_auroc" in numbers
    assert "pgd_l2_l2_0.3_auroc" in numbers


def test_nothing_attacked_publishes_the_same_files(tmp_path):
    prey, _ = prey_of()
    for nodes in (None, {}, {"none": {"_target_": None}}):
        campaign = run_attacks(nodes, prey)
        publish(campaign, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == FILES
        assert pages(campaign).pictures == []
        assert flat_metrics(campaign) == {}


def test_a_value_is_attacked_alike(tmp_path):
    card = {"target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "classes": [], "name": "toy"}
    task = build(toy.option("task", "regression"), card=card)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(25, 1)).eval()
    x = torch.randint(0, 256, (9, 1, 5, 5), generator=torch.Generator().manual_seed(0)).float() / 255
    prey = Prey(task, model, 0, x, torch.linspace(0, 1, 9), np.ones(9), [str(row) for row in range(9)])
    names = ("pgd", "pgd_targeted", "ensemble", "square")
    campaign = run_attacks({name: toy.option("attack", name, eps=0.1, radii=[1]) for name in names}, prey)
    publish(campaign, tmp_path)
    assert all(one.metrics["mae"] > campaign.metrics["mae"] for one in campaign.assaults)
    assert all(one.fooled is None for one in campaign.assaults)
    assert len(pages(campaign).tables) == 1


def test_a_radius_outside_the_input_range_is_named_before_anything_is_attacked(monkeypatch):
    prey, _ = prey_of()
    monkeypatch.setattr(module, "_assault", lambda *_, **__: pytest.fail("attacked"))
    nodes = {"pgd": toy.option("attack", "pgd"), "fgsm": toy.option("attack", "fgsm", eps=0.5, radii=[1, 4])}
    with pytest.raises(PersonError, match=r"at every multiple in radii: received 2"):
        run_attacks(nodes, prey)


def test_gradients_that_mislead_are_said(ran):
    campaign, eps, _ = ran
    assert pages(campaign).warnings == []
    right_N = torch.zeros(COUNT, dtype=torch.bool)

    def assault(name, wrong_N, *, gradients):
        seen = Seen(campaign.prey.x_NCHW, campaign.clean.prediction_NK, campaign.clean.loss_N, wrong_N)
        return module.Assault(name, "linf", eps, 1.0, seen, campaign.metrics, 0.0, None, 1.0, gradients)

    masked = module.Campaign(
        campaign.prey, campaign.clean, campaign.metrics,
        [assault("pgd", right_N, gradients=True), assault("square", ~right_N, gradients=False)], [],
    )  # fmt: skip
    assert "36 of 40 samples are fooled without gradients" in pages(masked).warnings[0]


@pytest.mark.parametrize(("fault", "said"), [("far", "moved an image"), ("right", "right|lowered")])
def test_a_planted_attack_ends_the_campaign(monkeypatch, fault, said):
    prey, _ = prey_of()

    class Planted:
        eps, norm, radii = 0.01, "linf", (1.0,)

        def __call__(self, victim, x_BCHW, rng):
            if fault == "far":
                return (x_BCHW + 0.05).clamp(0, 1)
            pixels = x_BCHW.clone().requires_grad_()
            return (x_BCHW - 0.01 * torch.autograd.grad(victim(pixels).sum(), pixels)[0].sign()).clamp(0, 1)

    monkeypatch.setattr(module, "build", lambda node: Planted())
    with pytest.raises(RuntimeError, match=said):
        run_attacks({"planted": {"_target_": "x", "eps": 0.01}}, prey)
