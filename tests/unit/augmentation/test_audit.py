"""The audit of augmentation: green for ours in real DataLoaders, red for albumentations 2.0.8 as it comes and for each planted fault."""

import random

import albumentations
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.augmentation.audit import Epoch, audit, equal_neighbours
from pipeline.core.epoch import drawing, order
from pipeline.images.decode import sample_id
from pipeline.transform.policy import Policy

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
COUNT, BATCH, EPOCHS = 96, 8, 2
LABELS = {str(number): number // (COUNT // 4) for number in range(COUNT)}  # sorted by class, as folders are
LOADERS = [(0, False), (1, False), (2, False), (2, True), (4, False)]


def transforms():
    return [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.VerticalFlip(p=0.5),
        albumentations.Affine(rotate=(-45, 45), p=1.0),
    ]


class Draws(Dataset):
    """Augments one image again and again: ours keyed by (epoch, id), or as albumentations' documents say."""

    def __init__(self, *, stock):
        self.stock = albumentations.Compose(transforms(), seed=7) if stock else None
        self.policy = Policy(transforms=transforms())

    def __getitem__(self, key):
        epoch, index = key
        if self.stock is not None:
            image = self.stock(image=IMAGE)["image"]
            steps = [
                {"applied": float(bool(one.params)), "rotate": float(one.params.get("rotate", 0.0))}
                for one in self.stock.transforms
            ]
            return sample_id(image), steps
        image = self.policy(IMAGE, drawing(0, epoch, str(index)))
        return sample_id(image), self.policy.applied()

    def __len__(self):
        return COUNT


class Order:
    def __init__(self, shuffled=True):
        self.epoch, self.shuffled = 0, shuffled

    def __iter__(self):
        places = order(COUNT, seed=0, epoch=self.epoch) if self.shuffled else range(COUNT)
        return iter([(self.epoch, int(place)) for place in places])

    def __len__(self):
        return COUNT


def passes(*, stock, loaders=LOADERS, shuffled=True):
    """Two epochs of each of these loaders, with real worker processes."""
    found = []
    for workers, persistent in loaders:
        sampler = Order(shuffled)
        loader = DataLoader(
            Draws(stock=stock), BATCH, sampler=sampler, num_workers=workers, persistent_workers=persistent, collate_fn=list
        )  # fmt: skip
        for sampler.epoch in range(EPOCHS):
            ids = [str(index) for _, index in sampler]
            draws, steps = zip(*[item for batch in loader for item in batch], strict=True)
            kind = "persistent" if persistent else ""
            labels = [LABELS[identity] for identity in ids]
            found.append(Epoch(workers, sampler.epoch, ids, draws, BATCH, labels=labels, steps=steps, kind=kind))
    return found


def verdicts(epochs):
    return {one.name.split(" (")[0]: one.passed for one in audit(epochs)}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_ours_is_green_for_0_1_2_and_4_workers_persistent_or_not():
    torch.manual_seed(0)
    epochs = passes(stock=False)
    findings = audit(epochs)
    assert all(one.passed for one in findings), findings
    assert {one.name.split(" (")[0] for one in findings} == {
        "distinct images", "draws that change with the number of workers", "repeats from worker to worker",
        "repeats from epoch to epoch", "correlation between steps of the policy", "order of the labels",
    }  # fmt: skip
    assert findings[0].found == "192 of 192 draws"
    assert "(0, 1, 2, 2 persistent, 4)" in findings[1].name


def test_stock_albumentations_is_red_on_all_that_concerns_its_draws():
    """When a line of this fails, upstream has mended it (2.0.8 is the last release) or the audit has gone blind."""
    torch.manual_seed(0)
    found = verdicts(passes(stock=True, loaders=[(0, False), (2, False), (2, True)]))
    assert found == {
        "distinct images": True,
        "draws that change with the number of workers": False,
        "repeats from worker to worker": False,
        "repeats from epoch to epoch": False,
        "correlation between steps of the policy": False,
        "order of the labels": True,
    }


def made(draw, *, epochs=2, workers=2, count=COUNT, labels=None):
    """Passes without processes; `draw(epoch, place, identity)` names the image."""
    found = []
    for epoch in range(epochs):
        ids = [str(place) for place in order(count, seed=0, epoch=epoch)]
        draws = [draw(epoch, place, identity) for place, identity in enumerate(ids)]
        found.append(Epoch(workers, epoch, ids, draws, BATCH, labels=labels(ids) if labels else ()))
    return found


def worker_and_place(place, workers=2):
    return place // BATCH % workers, place // BATCH // workers * BATCH + place % BATCH


@pytest.mark.parametrize(("draw", "red"), [
    (lambda epoch, place, identity: f"{epoch} {identity}", []),
    (lambda epoch, place, identity: "the same", ["distinct images"]),
    (lambda epoch, place, identity: f"{epoch} {worker_and_place(place)[1]}", ["repeats from worker to worker"]),
    (lambda epoch, place, identity: f"{place}", ["repeats from epoch to epoch"]),
    (lambda epoch, place, identity: f"{identity}", ["repeats from epoch to epoch"]),
    (lambda epoch, place, identity: f"{random.Random(f'{epoch} {identity}').randrange(2)}", []),
    (lambda epoch, place, identity: f"{random.Random(f'{identity}').randrange(2)}", ["repeats from epoch to epoch"]),
    (lambda epoch, place, identity: f"{random.Random(f'{epoch} {worker_and_place(place)[1]}').randrange(2)}", ["repeats from worker to worker"]),
])  # fmt: skip
def test_each_fault_turns_its_line_red_and_no_other(draw, red):
    """Also for a policy of two outcomes, where half of all pairs agree by chance."""
    assert [name for name, passed in verdicts(made(draw)).items() if not passed] == red


def test_a_sound_policy_of_few_outcomes_is_hardly_ever_called_faulty():
    red = 0
    for seed in range(200):
        epochs = made(lambda epoch, place, identity, seed=seed: random.Random(f"{seed} {epoch} {identity}").randrange(8))
        red += not all(verdicts(epochs).values())
    assert red <= 1


def test_one_changed_draw_in_one_loader_is_seen():
    one, other = (
        made(lambda epoch, place, identity: f"{epoch} {identity}", workers=0),
        made(lambda e, p, i: f"{e} {i}", workers=2),
    )
    assert all(verdicts(one + other).values())
    other[1] = Epoch(2, 1, other[1].ids, ["other", *other[1].draws[1:]], BATCH)
    assert not verdicts(one + other)["draws that change with the number of workers"]


@pytest.mark.parametrize(("tie", "passed"), [(0.0, True), (0.7, False), (1.0, False)])
def test_steps_that_draw_together_are_seen(tie, passed):
    rng = np.random.default_rng(0)
    own, other = rng.random((2, COUNT))
    steps = [[{"applied": 1.0, "angle": a}, {"strength": tie * a + (1 - tie) * b}] for a, b in zip(own, other, strict=True)]
    epoch = Epoch(0, 0, [str(place) for place in range(COUNT)], [f"{place}" for place in range(COUNT)], BATCH, steps=steps)
    assert verdicts([epoch])["correlation between steps of the policy"] == passed


def test_labels_in_the_order_of_folders_and_epochs_in_one_order_are_seen():
    shuffled = made(lambda epoch, place, identity: f"{epoch} {identity}", labels=lambda ids: [LABELS[one] for one in ids])
    assert verdicts(shuffled)["order of the labels"]
    ids = [str(place) for place in range(COUNT)]
    labels = [LABELS[one] for one in ids]
    sorted_ = [Epoch(0, epoch, ids, [f"{epoch} {one}" for one in ids], BATCH, labels=labels) for epoch in range(2)]
    assert not verdicts(sorted_)["order of the labels"]
    again = [shuffled[0], Epoch(2, 1, shuffled[0].ids, shuffled[1].draws, BATCH, labels=shuffled[0].labels)]
    assert not verdicts(again)["order of the labels"]


@pytest.mark.parametrize("counts", [[7, 5], [1, 2, 3, 4], [50, 3], [20, 20, 20], [9]])
def test_neighbours_of_equal_label_are_those_of_many_shuffles(counts):
    labels, rng = np.repeat(np.arange(len(counts)), counts), np.random.default_rng(0)
    drawn = [float((mixed[1:] == mixed[:-1]).mean()) for mixed in (rng.permutation(labels) for _ in range(20_000))]
    mean, spread = equal_neighbours(np.asarray(counts))
    assert mean == pytest.approx(np.mean(drawn), abs=0.004)
    assert spread == pytest.approx(np.std(drawn), rel=0.03, abs=1e-6)


def test_neighbours_of_three_samples_by_hand():
    """Of a, a, b there are three orders; the a stand side by side in two: shares 1/2, 1/2, 0."""
    assert equal_neighbours(np.asarray([2, 1])) == pytest.approx((1 / 3, np.std([0.5, 0.5, 0.0])))
