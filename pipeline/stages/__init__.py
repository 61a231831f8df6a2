"""Floor 3: one file a stage, each with one function `run(cfg, out, **inputs)` that dvc.yaml calls by `python -m pipeline STAGE`.

`cfg` holds exactly the keys that dvc.yaml lists for the stage, the inputs are the directories it lists, and `out` is an empty
directory that becomes visible only when the function returns. To add a stage: one file here and one block in dvc.yaml.
"""
