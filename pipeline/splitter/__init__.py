"""Which samples are train, validation and test: one file a splitter, one option of the same name in conf/splitter.

Contract: `pipeline.core.contracts.Splitter`. `assign(strata, groups, order, given, ids, seed)` names a split for each sample.
Laws: every sample has exactly one, or "" where it is left out on purpose; the same seed gives the same splits; the order in
which the samples are handed over does not matter; `keeps_groups` says whether a group never stands on both sides, and the stage
then holds the splitter to it. A splitter that keeps groups is handed a person's groups joined with the near duplicates.
Two further attributes are optional: `keeps_order` (no sample of a later split comes before one of an earlier; the stage holds it
to that) and `from_person` (a person named the split: an overlap stops the run).

To add one: a class with flat keyword-only arguments and conf/splitter/<file>.yaml. No torch here.
"""
