"""Schedule the stages that dvc.yaml declares. DVC alone decides which must run; there is no second cache here."""

import os

from snakemake.exceptions import WorkflowError

from pipeline.cluster import resources
from pipeline.cluster.begin import ASKED, begin
from pipeline.core.dag import read_stages
from pipeline.core.errors import PersonError

try:
    ROOT = begin(config, main=workflow.is_main_process)
except PersonError as error:
    raise WorkflowError(f"error: {error}") from None
STAGES = read_stages(ROOT)
# In a job of Slurm the same DVC command runs inside `python -m pipeline job`, which knows what to do when the job is cut short.
IN_JOB = "SLURM_JOB_ID" in os.environ
REPRO = (
    "exec python -m pipeline job {params.words}" if IN_JOB else "dvc --wait-for-lock repro --single-item {params.stage}"
)
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
        threads: stage.resources.get("threads", 1)
        resources:
            **resources.asked(stage, config),
        params:
            stage=name,
            words=resources.words(stage, config, threads=stage.resources.get("threads", 1)),
            root=ROOT,
        shell:
            "cd {params.root:q}; " + REPRO
