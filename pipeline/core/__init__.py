"""Floor 0: what every stage stands on, and nothing that knows a model. Imports no torch.

dag.py          reads dvc.yaml: stages, their declared keys, inputs and outputs
config.py       composes conf/ with Hydra and says in one line what a person mistyped
parts.py        builds one part from `_target_` and flat arguments, inside the allow-list
fingerprint.py  hashes the code that a stage really uses
artifact.py     publishes a directory whole, with its manifest, or not at all
runner.py       runs one stage with the keys and directories it declared, and no others
launch.py       seed, threads, rank and environment of a stage process
keyed.py        random draws that depend on a key alone
store.py        samples in Arrow shards that any Arrow reader opens
record.py       the record of a sample, and of a file of which ingest makes one
contracts.py    what a dataset, a transform, a task, ... must offer; delivery.py: what a compressor, a shrinker, a target
progress.py     a progress bar for whatever takes more than five seconds
ledger.py       how often the test split was opened
intervals.py    bootstrap intervals over groups; scores.py: the metrics; charts.py, pictures.py, figures.py: how they look
section.py      what a stage tells the report and the tracker
errors.py       mistakes of a person, said in one line with the remedy
"""
