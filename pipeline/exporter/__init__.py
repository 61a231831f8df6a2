"""Runtimes that a trained network is written for.

Contract (`pipeline.core.contracts.Exporter`): `save(model, example_BHWC, directory, metadata, further=names) -> path` writes one
self-contained file (`model` maps uint8 images (B, H, W, C) to decoded predictions, so pre- and post-processing are inside; with
`further` it gives more outputs, such as the score and flag of a detector of unknown inputs), and `load(path)` runs it in the
runtime itself: called, it gives predictions, and its `answers(pixels)` every output by name. `suffix` is the file's ending.
Laws: equal to torch within the tolerance at every batch size, the same bytes for the same network in whatever folder, no path of
the machine in the file.

To add one: one file here and one option of the same name in conf/exporter. The contract suite tests it.
"""
