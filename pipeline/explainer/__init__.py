"""Maps of what a score depends on. Several are chosen at once: `explainer=[gradcam,occlusion]`.

Contract (`pipeline.core.contracts.Explainer`): `__call__(score_of, x_BCHW) -> map_BHW`, finite, of the image's height and width;
higher means that the place speaks for the score. `score_of(x)` is the score of each sample, (B,), such as the logit of one
class, held while the image changes, or the predicted value; the network behind it is `score_of.model`, for explainers that look
into layers. Laws: finite, deterministic, x, the gradients of the parameters and the global random state untouched, a map does not
depend on the batch, it localises a planted cue, it is faithful (deletion and insertion), and another network gives another map.

To add one: one file here and one option of the same name in conf/explainer, which starts with `# @package explainer.<name>`.
The contract suite tests it.
"""
