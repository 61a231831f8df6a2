"""Maps of what a score depends on.

Contract (`pipeline.core.contracts.Explainer`): `__call__(score_of, x_BCHW) -> map_BHW`, finite, of the image's height and width.
`score_of(x)` is the score of each sample, (B,), such as the logit of the predicted class or the predicted value; the network
behind it is `score_of.model`. Laws: finite, deterministic, x and the gradients of the parameters untouched, localises a planted
cue, and another network gives another map.

To add one: one file here and one option of the same name in conf/explainer. The contract suite tests it.
"""
