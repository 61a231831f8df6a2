"""Schedule the stages that dvc.yaml declares. DVC alone decides which must run; there is no second cache here."""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pipeline.cache.locks import mend
from pipeline.cluster import place, resources
from pipeline.core.dag import read_stages
from pipeline.core.errors import PersonError

ASKED = ".snakemake/asked"  # one marker a stage, valid for one invocation only
KEPT = ".snakemake/markers"  # where a profile without a shared working folder keeps them
# A pod begins in a folder of its own: `workspace` of the profile says where the repository is mounted.
ROOT = Path.cwd() if workflow.is_main_process else Path(config.get("workspace", Path.cwd()))
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
    shutil.rmtree(KEPT, ignore_errors=True)
    if config.get("cluster") == "slurm" and not workflow.dryrun:
        try:
            place.offer(ROOT)
        except PersonError as error:
            raise WorkflowError(f"error: {error}") from None
else:  # what a cluster sends before it takes the machine away is the stage's affair; programs started here inherit this
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)

# `python` in dvc.yaml and `dvc` below are those of the environment that Snakemake runs in, whether or not it is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
STAGES = read_stages(ROOT)
# In a job of Slurm the same DVC command runs inside `python -m pipeline job`, which knows what to do when the job is cut short.
IN_JOB = "SLURM_JOB_ID" in os.environ
REPRO = "exec python -m pipeline job {params.words}" if IN_JOB else "dvc --wait-for-lock repro --quiet --single-item {params.stage}"
WANTED = [f"{ASKED}/{name}" for name in STAGES]
if config.get("study"):  # `snakemake --config study=NAME`: a matrix of conf/study instead of this workspace

    include: "pipeline/study/rules.smk"


rule all:
    default_target: True
    input:
        WANTED,


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
            words=resources.words(stage, config, threads=stage.resources.get("threads", 1)),
            root=ROOT,
        threads: stage.resources.get("threads", 1)
        resources:
            **resources.asked(stage, config),
        shell:
            "cd {params.root:q}; " + REPRO
