"""Where samples come from: one file a dataset, one option of the same name in conf/dataset.

Contract: `pipeline.core.contracts.Dataset`. `card()` says what only the source knows, `entries()` yields `Entry` or `Rejected`
in the order of the source, `len()` says how many. Laws: two passes are equal; names are unique; nothing is decoded, and no
image is read before `Entry.read` is called; labels are indices into the card's classes; a file that has no place in the set
is `Rejected` with one line, and a mistake in the structure of the whole set is a PersonError.

To add one: a class with keyword-only arguments, one of which the stage hands in: `source` (the folder `source` of
params.yaml); and conf/dataset/<file>.yaml with `_target_` and every other argument. No torch here.
"""
