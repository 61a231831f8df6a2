# A matrix study: `snakemake --config study=NAME`. One job a distinct digest of a stage, and one a cell that keeps it as a DVC
# experiment. What is done already is no job at all; in each job DVC decides whether anything runs.
from snakemake.exceptions import WorkflowError

from pipeline.cluster.begin import is_dry
from pipeline.core.errors import PersonError
from pipeline.study.open import open_study

try:
    STUDIED = open_study(Path.cwd(), str(config["study"]), main=workflow.is_main_process, dry=is_dry())
except PersonError as error:
    raise WorkflowError(f"error: {error}") from None
BOOK, PLANNED = STUDIED.book, STUDIED.plan
WANTED = STUDIED.wanted()


onstart:
    workflow.scheduler.keepgoing = True  # a failed cell does not stop the rest, whatever the profile says


onsuccess:
    shell("python -m pipeline study show {config[study]:q} --no-browser")


onerror:
    shell("python -m pipeline study show {config[study]:q} --no-browser || true")


localrules:
    finish_cell,


rule finish_cell:
    input:
        lambda wildcards: STUDIED.before_cell(wildcards.cell),
    output:
        STUDIED.path(BOOK.finished("{cell}")),
    params:
        study=BOOK.study,
    shell:
        "python -m pipeline study finish {params.study:q} {wildcards.cell:q}"


for name, stage in read_stages(Path.cwd()).items():

    rule:
        name:
            f"study_{name}"
        input:
            lambda wildcards, stage=name: STUDIED.before_job(stage, wildcards.digest),
        output:
            STUDIED.path(BOOK.done(f"{name}-{{digest}}")),
        wildcard_constraints:
            digest="[0-9a-f]{24}",
        params:
            study=BOOK.study,
            stage=name,
            cell=lambda wildcards, stage=name: PLANNED.jobs[f"{stage}-{wildcards.digest}"].cell,
            words=resources.words(stage, config, threads=stage.resources.get("threads", 1)),
        threads: stage.resources.get("threads", 1)
        resources:
            **resources.asked(stage, config),
        shell:
            "exec python -m pipeline job {params.words} --study {params.study:q} --cell {params.cell:q}"
            if IN_JOB
            else "python -m pipeline study job {params.study:q} {params.cell:q} {params.stage}"
