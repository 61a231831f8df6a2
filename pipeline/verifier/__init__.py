"""Verifiers: what a network's outputs cannot be, whatever an adversary does to the pixels within a radius.

Contract (`pipeline.core.contracts.Verifier`): `lower(graph, box, weights_BSK) -> bound_BS`, lower bounds of linear functions of
the raw outputs for every image in a box; `pipeline.verification.margins` makes bounds of outputs and of margins from it. Laws: no
image of the box gives less (sampled, and on small networks found exactly), a method of a larger `tightness` is never looser, a
layer that it cannot bound is named by `Unboundable`, and the network is untouched.

To add one: one file here and one option of the same name in conf/verifier, which starts with `# @package verifier.<option>`.
The contract suite tests it.
"""
