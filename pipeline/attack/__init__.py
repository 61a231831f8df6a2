"""Adversaries: perturbations inside an L-infinity ball that raise the loss.

Contract (`pipeline.core.contracts.Attack`): the attributes `eps` (pixels in [0, 1]) and `radii` (multiples of eps at which the
stage robustness draws its curve), and `__call__(loss_of, x_BCHW, rng) -> x_adv_BCHW`. `loss_of(x)` is the loss of each sample,
(B,): one file serves every task. Laws: within eps, within [0, 1], no sample's loss falls, x untouched, seeded by rng, the
gradients of the model's parameters untouched.

To add one: one file here and one option of the same name in conf/attack, which starts with `# @package attack.<option>`.
The contract suite tests it.
"""
