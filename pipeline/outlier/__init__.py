"""Unknown inputs: what a detector may look at, the sets that it is measured against, its threshold, and how it travels.

A floor below the rooms, so that detectors stand on it: `view` (what a network makes of inputs), `axes` (principal axes of
features), `library` (pytorch-ood), `sets` (other data, and outliers made of validation samples), `measure` (threshold, AUROC,
FPR95), `watch` (the chosen detector beside the network, as the export carries it), `page` (its part of the report).
"""
