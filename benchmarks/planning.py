"""Planning a study of 200 cells (5 data sets x 8 networks x 5 seeds) over the whole DAG, against composing them alone.

    python -m benchmarks.planning

Planned means: composed, checked, every stage's code fingerprinted, digests worked out and deduplicated. The peer is Hydra's
`compose` in a loop and nothing else. Seconds are CPU seconds of this process; both are run in turn. The number of
jobs is also counted by another way, from the configurations' own texts, and must be equal.
"""

import itertools
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATASETS = ("digits", "elpv", "fashion", "motor", "image_folder")
MODELS = ("resnet", "resnet_small", "mlp", "vit", "timm", "lite0", "alexnet", "squeezenet")
SEEDS = range(5)
ROUNDS = 2
MUST, TARGET = 2.0, 1.3


def main() -> int:
    """Print the table; 1 where planning costs more than twice the composing, or the jobs are not the distinct digests."""
    from pipeline.search.planning import Planner, jobs

    cells = [(data, model, seed) for data, model, seed in itertools.product(DATASETS, MODELS, SEEDS)]
    ours, peer, counted, wanted, stages = [], [], 0, 0, 0
    for _ in range(ROUNDS):
        began = time.process_time()
        for data, model, seed in cells:
            _hydra([f"dataset={data}", f"model={model}", f"seed={seed}"])
        peer.append(time.process_time() - began)
        began = time.process_time()
        planner = Planner(ROOT, "digits", target="report", test=True)
        planned = [planner.cell([f"dataset={data}", f"model={model}"], {"seed": seed}) for data, model, seed in cells]
        found = jobs(planned)
        ours.append(time.process_time() - began)
        counted, wanted, stages = len(found), _distinct(planned, planner), len(planner.stages)
    ratio = statistics.median(ours) / statistics.median(peer)
    places = f"{len(cells)} cells x {stages} stages = {len(cells) * stages} places"
    print(f"{places}, {counted} jobs; distinct by their texts: {wanted}")
    print(f"composing alone: {', '.join(f'{value:.2f}' for value in peer)} CPU s")
    print(f"planned:         {', '.join(f'{value:.2f}' for value in ours)} CPU s")
    each = 1000 * statistics.median(ours) / len(cells)
    print(f"ratio of medians {ratio:.2f} (must {MUST}, target {TARGET}); {each:.1f} ms a cell")
    return int(ratio > MUST or counted != wanted)


def _hydra(overrides: list[str]) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        OmegaConf.to_container(compose("config", overrides=["+experiment=digits", *overrides]), resolve=True)


def _distinct(cells: list, planner) -> int:
    """Count jobs without digests: a place is what its stage reads, written out with the places of the stages above it."""
    seen: dict[str, int] = {}
    for cell in cells:
        places: dict[str, int] = {}
        for name, stage in planner.stages.items():
            read = {key: cell.config.get(key) for key in stage.keys if not key.startswith("code.")}
            above = [places[other] for other in stage.upstream(planner.stages) if other in places]
            text = json.dumps([name, read, cell.config["code"][name], above], sort_keys=True)
            places[name] = seen.setdefault(text, len(seen))
    return len(seen)


if __name__ == "__main__":
    sys.exit(main())
