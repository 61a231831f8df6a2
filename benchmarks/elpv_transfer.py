"""Solar cells by blocks of modules: transfer, fine-tuning, training from scratch and classifiers on features, in one table.

    python -m benchmarks.elpv_transfer               # five seeds; half an hour to an hour of one core (an estimate)
    python -m benchmarks.elpv_transfer --only scratch --seeds 1

Seed s trains with block s as the test split, so that five seeds see every block once, and all methods the same five splits.
Beside each method stands the mean of its paired differences to the default with Student's 95 % interval over the five pairs.
Five pairs cannot name a winner (six are the least that could); the interval says how large a difference is compatible with them.
Settings of the two slow methods were not searched on these test blocks: they are the ones of the recipes named below.
"""

import argparse
import sys
import time
from typing import Any

from benchmarks.elpv_run import measure, prepare, stored, table

DEFAULT = "head on frozen Lite0, 300 px (default)"
SEEDS = range(5)
OWN = ["train.synthetic_share=0", "threads=1"]  # real samples alone
METHODS: dict[str, tuple[int, list[str]]] = {
    "finetune": (224, ["train=finetune", "model.trainable_blocks=2", "train.max_steps=120", "train.validate_every=60", *OWN]),
    "scratch": (64, ["model=resnet", "model.stages=4", "train=fast", "train.max_steps=300", "train.validate_every=100", *OWN]),
}  # fmt: skip
NAMES = {
    "finetune": "last two blocks of Lite0 fine-tuned, 224 px",
    "scratch": "residual network from scratch, 64 px, recipe fast",
}


def paired(ours: list[float], other: list[float]) -> tuple[float, float, float]:
    """Mean difference of paired values and Student's 95 % interval."""
    import numpy as np
    from scipy import stats

    difference = np.subtract(other, ours)
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(difference.mean() - half), float(difference.mean() + half)


def main() -> int:
    """Print the table; 1 where a method is ahead of the default by more than the interval of the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*METHODS], action="append", help="slow methods to run; all of them unless told")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds, each with its own block")
    asked = parser.parse_args()
    base = prepare()
    found: dict[str, list[float]] = {DEFAULT: [], "linear": [], "svm": []}
    seconds: dict[str, float] = {}
    slow = {name: METHODS[name] for name in asked.only or METHODS}
    settings: dict[str, tuple[dict[str, Any], Any]] = {}
    for name, (side, overrides) in slow.items():
        cfg = prepare(*overrides)
        settings[name] = cfg, stored(cfg, side)
        found[NAMES[name]] = []
    for seed in range(asked.seeds):
        splitter = {**base["splitter"], "test_fold": seed % base["splitter"]["folds"]}
        metrics, _ = measure(base, splitter=splitter, seed=seed)
        for name, key in ((DEFAULT, "ours"), ("linear", "linear"), ("svm", "svm")):
            found[name].append(metrics[key]["auroc"]["value"])
        for name, (cfg, ingest) in settings.items():
            began = time.process_time()
            metrics, _ = measure(cfg, splitter=splitter, seed=seed, ingest=ingest, baselines=False)
            found[NAMES[name]].append(metrics["ours"]["auroc"]["value"])
            seconds[NAMES[name]] = seconds.get(NAMES[name], 0.0) + time.process_time() - began
            print(f"seed and block {seed}, {NAMES[name]}: AUROC {found[NAMES[name]][-1]:.3f}", flush=True)
    means = {name: sum(values) / len(values) for name, values in found.items()}
    with table(
        "ELPV: test AUROC, seed s on block s", ["method", *map(str, range(asked.seeds)), "mean", "minus default [95 %]", "CPU-s"]
    ) as add:
        for name, values in found.items():
            alone = name == DEFAULT or len(values) == 1
            beside = "" if alone else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*paired(found[DEFAULT], values))
            cost = f"{seconds[name] / len(values):.0f}" if name in seconds else ""
            add(name, *(f"{value:.3f}" for value in values), f"{means[name]:.4f}", beside, cost)
    best = max(means, key=lambda name: means[name])
    others = {name: values for name, values in found.items() if name != DEFAULT and len(values) > 1}
    ahead = [name for name, values in others.items() if paired(found[DEFAULT], values)[1] > 0]
    print(f"best mean: {best} ({means[best]:.4f}); default {means[DEFAULT]:.4f}; beyond the interval: {ahead or 'none'}")
    return int(bool(ahead))


if __name__ == "__main__":
    sys.exit(main())
