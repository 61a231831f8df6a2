"""Studies: a matrix of experiments, overrides, seeds and folds, run by Snakemake and DVC on one shared cache.

`matrix` reads what a person wrote, `plan` says what must run (a job for each distinct digest), `worktree` gives each cell a DVC
workspace, `book` keeps on disk what is done and what failed, `work` is what one job does, `results` says what a cell came to,
`contest` compares configurations, `page` and `pictures` show them. `rules.smk` is what Snakemake reads. DVC alone decides whether
a stage of a cell runs, and Snakemake when and where.
"""
