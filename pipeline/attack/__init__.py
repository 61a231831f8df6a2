"""Adversaries: perturbations inside a ball that raise the loss.

Contract (`pipeline.core.contracts.Attack`): the attributes `eps` (pixels in [0, 1]), `norm` (linf or l2) and `radii` (multiples
of eps at which the stage robustness draws its curve), and `__call__(loss_of, x_BCHW, rng) -> x_adv_BCHW`. `loss_of(x)` is the
loss of each sample, (B,): one file serves every task. A stage hands over a `pipeline.adversarial.victim.Victim`, which has the
raw outputs and truths too; an attack of class margins uses them where there are classes, and the loss alone elsewhere. Laws:
within eps, within [0, 1], no sample better off (a lower loss without a new mistake, or a mistake set right), x untouched, seeded
by rng, the gradients of the parameters untouched. Two attributes may be left out: `gradients`, false of a black box (it is
set against the attacks that see gradients), and `targeted`, true where an attack has a goal (its success is reported).

To add one: one file here and one option of the same name in conf/attack, which starts with `# @package attack.<option>`.
The contract suite tests it.
"""
