"""Search over configurations: a study asks, trains, tells and stops what falls behind; a fan repeats one configuration.

`study` reads what a person wrote, `space` what may vary, `planning` what must run (a job for each distinct digest), `worker`
runs a stage in a forked process, `lane` a cell's stages, `halving` says what is worth continuing, `journal` keeps what is known
on disk, `sampling` proposes, `conduct` puts these together, `compare` holds the best against chance, `page` and `pictures` show
it. Knows no stage by its code: stages are run by `pipeline.core.runner`, as everywhere.
"""
