"""Planning a study of 200 cells (5 data sets x 8 networks x 5 seeds) over the whole DAG, against composing them alone.

    python -m benchmarks.planning            both planners, of a search and of a matrix study
    python -m benchmarks.planning jobs       a matrix of 10,000 jobs beside Snakemake's own dry-run of the same jobs

Planned means: composed, checked, every stage's code fingerprinted, digests worked out and deduplicated. The peer is Hydra's
`compose` in a loop and nothing else. Seconds are CPU seconds of this process; both are run in turn. The number of
jobs is also counted by another way, from the configurations' own texts, and must be equal. Snakemake's dry-run gets the jobs and
what they stand on as a file and one rule a stage, so it composes, checks and fingerprints nothing.
"""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATASETS = ("digits", "elpv", "fashion", "motor", "image_folder")
MODELS = ("resnet", "resnet_small", "mlp", "vit", "timm", "lite0", "alexnet", "squeezenet")
SEEDS = range(5)
ROUNDS = 2
MUST, TARGET = 2.0, 1.3
MANY, PAIRS = 560, 5  # seeds of the matrix of 10,000 jobs; rounds of it and of the dry-run, in turn
JOBS_MUST, JOBS_TARGET = 0.2, 0.05
# `.[dev]` brings a parser of addresses that jsonschema then imports for .7 CPU s; a person's installation has none, and neither side here.
PLAIN = "import sys; sys.modules['rfc3987_syntax'] = None; "
SNAKEFILE = """
import json
with open("jobs.json") as file:
    JOBS = json.load(file)

rule all:
    input: [f"done/{name}" for name in JOBS]

for stage in sorted({name.partition("-")[0] for name in JOBS}):
    rule:
        name: stage
        input: lambda wildcards, stage=stage: [f"done/{name}" for name in JOBS[f"{stage}-{wildcards.digest}"]]
        output: f"done/{stage}-{{digest}}"
        wildcard_constraints: digest="[0-9a-f]{24}"
        params: stage=stage, digest=lambda wildcards: wildcards.digest
        threads: 2
        resources: mem_mb=3000, runtime=30
        shell: "python -m pipeline {params.stage} {params.digest}"
"""


def main() -> int:
    """Print the table; 1 where a limit is missed, or the jobs are not the distinct digests."""
    if sys.argv[1:] == ["jobs"]:
        return _jobs()
    peer: list[float] = []
    times: dict[str, list[float]] = {"search": [], "matrix": []}
    wrong = False
    for number in range(ROUNDS):
        began = time.process_time()
        for data, model, seed in itertools.product(DATASETS, MODELS, SEEDS):
            _hydra([f"dataset={data}", f"model={model}", f"seed={seed}"])
        peer.append(time.process_time() - began)
        for name, plan in (("search", _search), ("matrix", _matrix)):
            seconds, said, right = plan()
            times[name].append(seconds)
            wrong |= not right
            if number == 0:
                print(f"{name}: {said}")
    cells = len(DATASETS) * len(MODELS) * len(SEEDS)
    print(f"composing alone: {', '.join(f'{value:.2f}' for value in peer)} CPU s")
    ratios = {name: statistics.median(found) / statistics.median(peer) for name, found in times.items()}
    for name, found in times.items():
        listed, each = ", ".join(f"{value:.2f}" for value in found), 1000 * statistics.median(found) / cells
        print(f"{name}: {listed} CPU s, {each:.1f} ms a cell; "
              f"ratio of medians {ratios[name]:.2f} (must {MUST}, target {TARGET})")  # fmt: skip
    return int(max(ratios.values()) > MUST or wrong)


def _search() -> tuple[float, str, bool]:
    """The planner of searches, repeats and folds: seconds, what it found, and whether that is right."""
    from pipeline.search.planning import Planner, jobs

    began = time.process_time()
    planner = Planner(ROOT, "digits", target="report", test=True)
    cells = itertools.product(DATASETS, MODELS, SEEDS)
    planned = [planner.cell([f"dataset={data}", f"model={model}"], {"seed": seed}) for data, model, seed in cells]
    found = len(jobs(planned))
    seconds = time.process_time() - began
    wanted = _distinct(planned, planner)
    places = f"{len(planned)} cells x {len(planner.stages)} stages = {len(planned) * len(planner.stages)} places"
    return seconds, f"{places}, {found} jobs; distinct by their texts: {wanted}", found == wanted


def _matrix() -> tuple[float, str, bool]:
    """The planner of matrix studies; compose is a stage of each cell there, and the report reads it."""
    from pipeline.search.planning import Planner
    from pipeline.study.matrix import Matrix
    from pipeline.study.plan import make_plan

    arms = {f"{data}_{model}": (f"dataset={data}", f"model={model}") for data, model in itertools.product(DATASETS, MODELS)}
    began = time.process_time()
    plan = make_plan(ROOT, Matrix("bench", ("digits",), arms, seeds=tuple(SEEDS)))
    seconds = time.process_time() - began
    planner = Planner(ROOT, "digits", target="report", test=True)
    planned = [planner.cell(cell.overrides[:2], {"seed": cell.seed}) for cell in plan.cells.values()]
    reports = sum(job.stage == "report" for job in plan.jobs.values())
    found = len(plan.jobs) - sum(job.stage == "compose" for job in plan.jobs.values()) - reports
    wanted = _distinct(planned, planner, without="report")
    places = f"{len(plan.cells)} cells x {len(plan.stages)} stages = {len(plan.cells) * len(plan.stages)} places"
    said = f"{places}, {len(plan.jobs)} jobs, {found} of them no compose and no report; distinct by their texts: {wanted}"
    return seconds, said, found == wanted and reports == len(planned)


def _jobs() -> int:
    """A matrix of 10,000 jobs, each time in a process of its own, in turn with Snakemake's dry-run of the same jobs."""
    own = (
        "import json; from pathlib import Path; from pipeline.study.matrix import Matrix; from pipeline.study.plan import "
        f"make_plan; plan = make_plan(Path.cwd(), Matrix('bench', ('digits',), {{'plain': ()}}, seeds=tuple(range({MANY})))); "
        "json.dump({name: job.needs for name, job in plan.jobs.items()}, open(sys.argv[1], 'w'))"
    )
    dry = "sys.argv[0] = 'snakemake'; from snakemake.cli import main; main()"
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = Path(folder) / "jobs.json"
        (Path(folder) / "Snakefile").write_text(SNAKEFILE)
        for number in range(PAIRS):
            ours = _seconds([sys.executable, "-c", PLAIN + own, str(jobs)], ROOT)
            theirs = _seconds([sys.executable, "-c", PLAIN + dry, "-n", "-c1"], Path(folder))
            ratios.append(ours / theirs)
            said = f"planned in {ours:.2f} CPU s, Snakemake's dry-run {theirs:.2f}"
            print(f"round {number + 1}: {said}: {ratios[-1]:.3f}", flush=True)
        count = len(json.loads(jobs.read_text()))
    ratio = statistics.median(ratios)
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{count} jobs of {MANY} cells: median {ratio:.3f}, {spread} (must {JOBS_MUST}, target {JOBS_TARGET})")
    return int(ratio > JOBS_MUST or count < 10000)


def _seconds(words: list[str], where: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=where, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _hydra(overrides: list[str]) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        OmegaConf.to_container(compose("config", overrides=["+experiment=digits", *overrides]), resolve=True)


def _distinct(cells: list, planner, *, without: str = "") -> int:
    """Count jobs without digests: a place is what its stage reads, written out with the places of the stages above it."""
    seen: dict[str, int] = {}
    for cell in cells:
        places: dict[str, int] = {}
        for name, stage in planner.stages.items():
            if name == without:
                continue
            read = {key: cell.config.get(key) for key in stage.keys if not key.startswith("code.")}
            above = [places[other] for other in stage.upstream(planner.stages) if other in places]
            text = json.dumps([name, read, cell.config["code"][name], above], sort_keys=True)
            places[name] = seen.setdefault(text, len(seen))
    return len(seen)


if __name__ == "__main__":
    sys.exit(main())
