"""Judging synthetic samples: how like they are to real ones, whether they are copies, whether they help. Knows arrays, no torch.

Used by the stage `synthesize`; what needs a network stands in `pipeline/training` (`gates`, `judge`, `trial`).
"""
