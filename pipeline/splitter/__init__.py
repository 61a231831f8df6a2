"""Which samples are train, validation and test: one file a splitter, one option of the same name in conf/splitter.

Contract: `pipeline.core.contracts.Splitter`. `assign(strata, groups, order, seed)` names a split for each sample. Laws: every
sample has exactly one; the same seed gives the same splits; the order in which the samples are handed over does not matter;
`keeps_groups` says whether a group never stands on both sides, and the stage then holds the splitter to it.

To add one: a class with flat keyword-only arguments and conf/splitter/<file>.yaml. No torch here.
"""
