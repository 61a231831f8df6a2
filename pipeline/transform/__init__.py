"""Augmentation policies: how an image may change without changing what it shows.

Contract (`pipeline.core.contracts.Transform`): `transform(pixels_HWC, rng)` returns a new uint8 image of the same shape. The
input is not mutated, and the same state of `rng` gives the same bytes in any worker, epoch or process.

`whole(sample, rng)` moves mask, boxes and keypoints by the same draw; `alone()` and `applied()` let the stage show and audit it.

To add a policy of albumentations, write only `conf/transform/<name>.yaml`. To add another kind, write one file with one class
here and its yaml. The contract suite tests every yaml of the folder.
"""
