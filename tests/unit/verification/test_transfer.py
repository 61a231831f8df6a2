"""Attacked images on other forms of the model: what is shown to whom, and which balls a wrong answer breaks."""

import numpy as np
import torch

from pipeline.core.parts import build
from pipeline.verification.certificates import Artifact
from pipeline.verification.statement import Statement
from pipeline.verification.transfer import Raid, carry_over, least_seen, read_raids, violations
from tests import toy

TASK = build(toy.option("task", "classification"), card={"classes": ["dark", "bright"], "name": "toy"})
IDS = ("p", "q", "r")


def artifact(name, limit, *, whole):
    """It says bright from a mean level on."""
    def answer(x_NCHW):
        odds = 20 * (x_NCHW.mean((1, 2, 3)) - limit)
        return torch.stack([-odds, odds], 1).softmax(1).numpy()

    return Artifact(name, {}, answer, None, "", whole)


def raid(name, eps, levels, *, norm="linf", exact=None):
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Raid(name, norm, eps, IDS[: len(levels)], images, exact)


def looks(raids):
    artifacts = [artifact("trained", 0.5, whole=False), artifact("exported", 0.3, whole=True)]
    return carry_over(raids, artifacts, lambda ids: Statement(TASK, np.ones(len(ids), dtype=np.int64), tolerance=0.1))


def test_each_form_answers_for_itself_and_only_the_trained_one_is_shown_exact_images():
    found = looks([raid("a", 0.1, [200, 100, 50], exact=torch.full((3, 1, 2, 2), 0.45))])
    assert [(look.artifact, look.exact, look.right_N.tolist()) for look in found] == [
        ("trained", False, [True, False, False]), ("trained", True, [False] * 3), ("exported", False, [True, True, False]),
    ]  # fmt: skip
    assert (found[0].margin_N > 0).tolist() == found[0].right_N.tolist()


def test_a_wrong_answer_breaks_the_balls_that_hold_the_image_and_no_others():
    found = looks([raid("a", 0.1, [100, 200]), raid("b", 0.3, [200, 50, 200]), raid("c", 0.01, [0, 0, 0], norm="l2")])
    radii = [0.05, 0.1, 0.2, 0.3]
    assert violations(found, "trained", IDS, radii).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert violations(found, "exported", IDS, radii).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    seen = least_seen(found, "trained", ("q", "r"), radii)
    assert np.isinf(seen[:, 0]).all()
    np.testing.assert_allclose(seen[0, 1:], 40 * (np.asarray([200, 200, 50]) / 255 - 0.5), rtol=1e-4)


def test_what_robustness_published_is_read_back(tmp_path):
    assert read_raids(tmp_path / "adversarial.npz") == ((), [])
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5, 1)
    np.savez(tmp_path / "adversarial.npz", ids=np.asarray(IDS), attack=np.asarray(["a", "b"]), norm=np.asarray(["linf", "l2"]),
             eps=np.asarray([0.02, 0.5]), images=images)  # fmt: skip
    ids, raids = read_raids(tmp_path / "adversarial.npz")
    assert ids == IDS
    assert [(one.name, one.norm, one.eps, one.radius) for one in raids] == [("a", "linf", 0.02, "5.1/255"), ("b", "l2", 0.5, "0.5 (l2)")]
    np.testing.assert_array_equal(raids[1].levels_NCHW.numpy()[:, 0], images[1, ..., 0])
