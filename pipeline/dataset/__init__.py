"""Where samples come from: one file a dataset, one option of the same name in conf/dataset.

Contract: `pipeline.core.contracts.Dataset`. `card()` says what only the source knows, `samples()` yields `Sample` or
`Rejected` in the order of the source, `len()` says how many. Laws: two passes are equal; ids come from
`pipeline.core.decode.sample_id`; labels are indices into the card's classes; a file that cannot be used is `Rejected` with
one line, and a mistake in the structure of the whole set is a PersonError.

To add one: a class with keyword-only arguments, two of which the stage hands in: `source` (the folder `source` of
params.yaml) and `decode` (bytes of an image file -> uint8 HWC, raising BadSampleError); and conf/dataset/<file>.yaml with
`_target_` and every other argument. No torch here.
"""
