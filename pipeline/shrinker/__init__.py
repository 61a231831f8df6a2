"""Ways to a smaller network, before it becomes a file: channels or directions that carry little are taken away.

Contract (`pipeline.core.delivery.Shrinker`): `shrink(network, batches) -> network` gives a smaller network of the same inputs
and outputs; what is left is trained on afterwards by the stage compress. Laws: the original is untouched, fewer weights, the same
result for the same input; `order` says which comes first when several are chosen.

To add one: one file here and one option of the same name in conf/shrinker. The contract suite tests it.
"""
