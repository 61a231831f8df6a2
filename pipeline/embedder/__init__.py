"""Frozen networks whose features are computed once: one file an embedder, one option of the same name in conf/embedder.

Contract: `pipeline.core.contracts.Embedder`. `features(pixels_BHWC)` maps uint8 images to float32 (B, D), the same for an
image whatever else is in the batch (up to the rounding of the library); `describe()` says which weights. To add one: a class
with flat keyword-only arguments and conf/embedder/<file>.yaml. Embedders may import `pipeline.backbone`.
"""
