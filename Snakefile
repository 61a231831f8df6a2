"""Schedule the stages that dvc.yaml declares. DVC alone decides which must run; there is no second cache here."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

from pipeline.cache.locks import mend
from pipeline.core.dag import read_stages

ASKED = ".snakemake/asked"  # one marker a stage, valid for one invocation only
if workflow.is_main_process:
    # Snakemake's own lock outlives a kill -9 and wants `--unlock` (profiles/default turns it off); the kernel drops this one.
    Path(".snakemake").mkdir(exist_ok=True)
    ALONE = Path(".snakemake/alone").open("w")
    try:
        fcntl.flock(ALONE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("error: another snakemake runs in this folder: wait for it, or work in a second clone with the same cache")
    mend(Path.cwd())
    shutil.rmtree(ASKED, ignore_errors=True)

# `python` in dvc.yaml and `dvc` below are those of the environment that Snakemake runs in, whether or not it is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
STAGES = read_stages(Path.cwd())


rule all:
    default_target: True
    input:
        [f"{ASKED}/{name}" for name in STAGES],


for name, stage in STAGES.items():

    rule:
        name:
            name
        input:
            [f"{ASKED}/{before}" for before in stage.upstream(STAGES)],
        output:
            touch(f"{ASKED}/{name}"),
        params:
            stage=name,
        threads: stage.resources.get("threads", 1)
        resources:
            **stage.resources.get("resources", {}),
        shell:
            "dvc --wait-for-lock repro --quiet --single-item {params.stage}"
