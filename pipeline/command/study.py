"""Run a matrix of experiments, overrides, seeds and folds as one study, each stage once for all cells that share it.

Each cell is a workspace of its own on DVC's shared cache; Snakemake schedules, DVC decides what runs, and results come back as
DVC experiments, one W&B group and one page.
"""

import argparse
import os
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import PersonError

CORES = ("-c", "--cores", "-j", "--jobs", "--executor", "--profile", "--workflow-profile")  # words that say where jobs go
EXAMPLES = """examples:
  python -m pipeline study plan digits_matrix          cells, and the jobs that are left; nothing runs
  python -m pipeline study run digits_matrix -j 2      run what is missing, two cores
  snakemake -c2 --config study=digits_matrix           the same, in Snakemake's own words
  snakemake --profile profiles/slurm --config study=digits_matrix     on Slurm; the profiles of pods do not see its cells
  python -m pipeline study show digits_matrix          what there is so far, and the page
  python -m pipeline study clean digits_matrix         remove its workspaces; cache, experiments and page stay
afterwards:
  dvc exp show                                         the finished cells beside each other
"""


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline study`; 0 where all of what was asked for is there.

    Raises:
        PersonError: a study that cannot be run as it is written.
    """
    options, rest = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    if options.what == "job":
        from pipeline.study.work import run_stage

        return run_stage(root, options.study, options.cell, options.stage)
    if options.what == "finish":
        from pipeline.study.work import finish

        return finish(root, options.study, options.cell)
    if options.what == "run":
        return _run(options.study, options.jobs, options.config, rest)
    if options.what == "plan":
        return _plan(root, options.study)
    if options.what == "clean":
        return _clean(root, options.study)
    return _show(root, options.study, browser=not options.no_browser)


def _run(study: str, jobs: int, config: Sequence[str], rest: Sequence[str]) -> int:
    """Hand the study to Snakemake, in this environment."""
    from pipeline.study.matrix import read_matrix

    read_matrix(Path.cwd(), study)
    cores = [] if any(word.startswith(CORES) for word in rest) else ["-c", str(jobs)]
    words = [sys.executable, "-m", "snakemake", "--config", *config, f"study={study}", *cores, *rest]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return min(1, subprocess.run(words, env={**os.environ, "PATH": path}, check=False).returncode)


def _plan(root: Path, word: str) -> int:
    from pipeline.study.open import open_study

    opened = open_study(root, word, main=True, dry=True)
    plan = opened.plan
    cells = len(plan.cells)
    print(f"{cells} cells, {len(opened.unfinished)} of them to do; {len(plan.jobs)} jobs, {len(opened.missing)} of them to run")
    for stage in plan.stages:
        own = [name for name, job in plan.jobs.items() if job.stage == stage]
        print(f"  {stage:<12}{len(own):>5} for {cells} cells, {len(opened.missing.intersection(own))} to run")
    return 0


def _show(root: Path, word: str, *, browser: bool) -> int:
    from pipeline.command.review import has_display
    from pipeline.study.page import tell, write_page
    from pipeline.study.standing import stand

    standing = stand(root, word)
    shown = write_page(standing, standing.book.folder / "report.html")
    for line in tell(standing):
        print(line)
    print(f"the page: {shown.relative_to(root)}")
    if browser and has_display() and sys.stdout.isatty():
        webbrowser.open(shown.resolve().as_uri())
    return 0


def _clean(root: Path, word: str) -> int:
    from pipeline.search.alone import alone
    from pipeline.study.book import STATE, Book
    from pipeline.study.matrix import read_matrix
    from pipeline.study.worktree import remove

    book = Book(root, read_matrix(root, word).name)
    with alone(book.folder):
        cells = [path.name for path in book.folder.iterdir() if path.is_dir() and path.name != STATE]
        for name in cells:
            remove(book, name)
    print(f"removed the workspaces of {len(cells)} cells; what they made is in DVC's cache, and the same study restores it")
    return 0


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline study", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    words = parser.add_subparsers(dest="what", required=True, metavar="plan | run | show | clean")
    for name, said in (("plan", "say what would run"), ("run", "run what is missing"), ("show", "tell and write the page"),
                       ("clean", "remove the workspaces"), ("job", "one stage of one cell: what Snakemake calls"),
                       ("finish", "keep one cell as a DVC experiment: what Snakemake calls")):  # fmt: skip
        one = words.add_parser(name, help=said, description=said)
        one.add_argument("study", help="a name of conf/study, or the path of a YAML file")
        if name == "run":
            one.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="cores (1)")
            one.add_argument("-C", "--config", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                             help="of Snakemake, which hears only the last --config: the study goes into the same")  # fmt: skip
        if name in {"job", "finish"}:
            one.add_argument("cell")
        if name == "job":
            one.add_argument("stage")
        if name == "show":
            one.add_argument("--no-browser", action="store_true", help="do not open the page")
    options, rest = parser.parse_known_args(list(argv))
    if rest and options.what != "run":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options, [word for word in rest if word != "--"]
