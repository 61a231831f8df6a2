"""Floor 0: what every stage stands on, and nothing that knows a model. Imports no torch.

dag.py          reads dvc.yaml: stages, their declared keys, inputs and outputs
config.py       composes conf/ with Hydra and says in one line what a person mistyped
parts.py        builds one part from `_target_` and flat arguments, inside the allow-list
fingerprint.py  hashes the code that a stage really uses
artifact.py     publishes a directory whole, with its manifest, or not at all
runner.py       runs one stage with the keys and directories it declared, and no others
launch.py       seed, threads, rank and environment of a stage process
store.py        samples in Arrow shards that any Arrow reader opens
contracts.py    what a dataset, a transform, a task, ... must offer
progress.py     a progress bar for whatever takes more than five seconds
errors.py       mistakes of a person, said in one line with the remedy
"""
