"""Detectors of unknown inputs: how unlike the training data an input is, by what the network makes of it.

Contract (`pipeline.core.contracts.Detector`): `needs`, of "classes" (logits of a classifier), "features" (what enters the last
linear layer) and "gradients" (a network that can be differentiated, and the images themselves); `fit(known)` returns a
`pipeline.outlier.view.Fitted`, whose `score(seen)` is larger for what is more unlike and comes from pytorch-ood, and whose
`state` is tensors alone; `graph(state)` is the same score as a module `(logits_BK, features_BD) -> (B,)`, which travels with the
export, or None where it cannot. Laws: finite, deterministic, an input's score does not depend on the rest of the batch, the graph
equals the library, planted outliers stand out.

To add one: one file here and one option of the same name in conf/detector, which starts with `# @package detector.<option>`.
The contract suite tests it.
"""
