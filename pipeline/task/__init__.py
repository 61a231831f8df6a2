"""Tasks: what is predicted. A task owns everything that depends on it, so no stage asks for a task's name.

Contract (N samples, B batch, K outputs): built with `card=` of ingest.
Attributes: `name`, `headline`, `higher_is_better`, `meanings` (metric -> label and explanation), `categories` (number of
classes, 0 for a real value), `columns` (names of a decoded prediction's columns), `hub_task` (Hugging Face's name, or None).
Methods: `check()`, `outputs()`, `truth(columns)`, `losses(output_BK, truth_B)`, `score(output_BK)`, `decode(output_BK)`,
`bound(prediction)`, `metrics(prediction, truth, weight)`, `errors(prediction, truth)`, `text(row)`, `truth_text(truth)`,
`bins(prediction, truth)`, `pictures(prediction, truth, directory, dpi)`, `toy(count, rng)`.
Laws: the loss is finite and falls on eight toy samples; a perfect prediction scores perfectly.

To add one: `pipeline/task/<name>.py` with one class, `conf/task/<name>.yaml` with its arguments. `tests/contract` tests it.
"""
