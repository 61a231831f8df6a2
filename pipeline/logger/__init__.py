"""Trackers: a copy of a run for people to look at. The artifacts (`history.csv`, `metrics.json`, ...) are the truth.

Contract: `open(run_id, name, config, facts)`, `log(step, values)`, `picture(key, path, caption, step)`,
`table(key, columns, rows)`, `summary(values)`, `finish()` and `finish_report(directories, run_id)`. None of them ever raises
for a fault of the tracker, waits (but for `finish`, which is bounded) or hands on a secret. `none` is an option without a class.
To add one: one file here, one option of the same name in conf/logger. The contract suite tests it.
"""
