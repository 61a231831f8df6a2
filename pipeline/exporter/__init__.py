"""Runtimes that a trained network is written for.

Contract (`pipeline.core.contracts.Exporter`): `save(model, example_BHWC, directory, metadata) -> path` writes one self-contained
file (`model` maps uint8 images (B, H, W, C) to decoded predictions, so pre- and post-processing are inside), and
`load(path) -> callable` runs it in the runtime itself. `suffix` is the file's ending. Laws: equal to torch within the tolerance
at every batch size, the same bytes for the same network in whatever folder, no path of the machine in the file.

To add one: one file here and one option of the same name in conf/exporter. The contract suite tests it.
"""
