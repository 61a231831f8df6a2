"""Pretrained networks that several rooms stand on: a room without options in conf.

Holds functions that build a network and load its verified weights, and that read features out of it. The rooms `embedder`
and `model` may import `pipeline.backbone`; it imports only `pipeline.core`. To add a network, add one file with
`load_<name>(sha256)` and `pooled_features(net, x_BCHW, ...)`, and name the hash of its weights in the conf files that use it.
"""
