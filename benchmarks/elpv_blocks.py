"""Solar cells by blocks of modules: each of five contiguous blocks is the test split once (`make blocks`).

Prints the AUROC of what the pipeline ships and of every baseline of the same run, its mean over the blocks, and the pooled
one. Measured before: logistic regression on the last level's mean of a frozen EfficientNet-Lite0, .827 mean, .849 pooled.
"""

import csv
import sys

from benchmarks.elpv_run import measure, prepare, table

REQUIRED = 0.83


def main() -> int:
    """Print the table; 1 where the mean is below what is required."""
    cfg = prepare()
    from sklearn.metrics import roc_auc_score

    rows, scores, truths = [], [], []
    for block in range(cfg["splitter"]["folds"]):
        metrics, predictions = measure(cfg, splitter={**cfg["splitter"], "test_fold": block}, seed=cfg["seed"])
        rows.append(metrics)
        with (predictions / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                truths.append(row["truth"] == "defective")
                scores.append(float(row["p_defective"]))
    names = list(rows[0])
    means = {name: sum(row[name]["auroc"]["value"] for row in rows) / len(rows) for name in names}
    with table("ELPV by five blocks of modules: test AUROC [95 % interval]", ["block", *names]) as add:
        for block, row in enumerate(rows):
            add(
                block,
                *(f"{row[n]['auroc']['value']:.3f} [{row[n]['auroc']['low']:.3f}, {row[n]['auroc']['high']:.3f}]" for n in names),
            )
        add("mean", *(f"{means[name]:.4f}" for name in names))
    print(f"ours: mean {means['ours']:.4f} (required {REQUIRED}), pooled {roc_auc_score(truths, scores):.4f}")
    return int(means["ours"] < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
