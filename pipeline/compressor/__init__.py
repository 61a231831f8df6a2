"""Ways to a smaller model.

Contract (`pipeline.core.delivery.Compressor`): `__call__(source, batches, directory) -> path` makes a smaller file of an
exported model (`source`, with pre- and post-processing inside), calibrated on batches of uint8 images (B, H, W, C) of the
validation split; the exporter that wrote the source loads the result. `bits` says what a weight takes. Laws: the original is
untouched, a network of some size becomes bits / 32 as large (and at most .08 of the original more), the same bytes in whatever
folder, no path of the machine in the file. What the source computes for its further outputs (the score and flag of a detector of
unknown inputs) is kept in floating point, under the same names; `pipeline.runtime.further` takes it out and puts it back.

One that trains the network before (quantisation-aware) has more members: `simulate(network, x_BCHW)` puts its rounding into the
forward pass, the stage trains that for `steps` at `lr` on the train split, and `settled(simulated, network)` gives a plain
network of what was learned. Laws: the network is untouched, every weight gets a gradient, and the plain one has its shape.

To add one: one file here and one option of the same name in conf/compressor. The contract suite tests it.
"""
