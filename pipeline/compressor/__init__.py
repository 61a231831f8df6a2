"""Ways to a smaller model.

Contract (`pipeline.core.delivery.Compressor`): `__call__(source, batches, directory) -> path` makes a smaller file of an
exported model (`source`, with pre- and post-processing inside), calibrated on batches of uint8 images (B, H, W, C) of the
validation split; the exporter that wrote the source loads the result. Laws: the original is untouched, a network of some size
becomes at least three times smaller, the same bytes in whatever folder, no path of the machine in the file.

To add one: one file here and one option of the same name in conf/compressor. The contract suite tests it.
"""
