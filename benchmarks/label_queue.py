"""Does the review queue teach more than a random one? Digits: 40 labels, then 40 more as each policy asks for them.

    python -m benchmarks.label_queue [--seeds 30]

A logistic regression is trained on 40 random digits, each policy chooses 40 of 1,200 unlabelled ones, the model is trained again
on all 80, and its accuracy is taken on 500 others. Differences to the random queue are paired over seeds.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from pipeline.labelling.ranking import MEASURES, Wish, choose

LABELLED, ASKED, POOL, TEST = 40, 40, 1200, 500
POLICIES = [(name, diversity) for name in MEASURES for diversity in (0.0, 0.5, 1.0)]


def accuracies(seed: int) -> dict[str, float]:
    """Accuracy after each policy's labels, and before any of them."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    test, known, pool = order[:TEST], order[TEST : TEST + LABELLED], order[TEST + LABELLED : TEST + LABELLED + POOL]

    def fit(rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(max_iter=300, C=10.0).fit(images[rows] / 16, labels[rows])

    first = fit(known)
    probability = first.predict_proba(images[pool] / 16)
    asked = {"random": rng.permutation(POOL)[:ASKED]}
    for name, diversity in POLICIES:
        doubt, wish = MEASURES[name](probability), Wish(ASKED, diversity, near=3.0)
        chosen = choose(images[pool], doubt, images[pool] * 16, wish=wish, known_MD=images[known])
        asked[f"{name}, diversity {diversity:g}"] = np.array(chosen.positions)
    found = {name: fit(np.concatenate([known, pool[rows]])) for name, rows in asked.items()}
    return {name: model.score(images[test] / 16, labels[test]) for name, model in {"before": first, **found}.items()}


def main() -> None:
    """Print one row a policy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    seeds = parser.parse_args().seeds
    rows = [accuracies(seed) for seed in range(seeds)]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        gain = values - np.array([row["random"] for row in rows])
        half = 1.96 * gain.std(ddof=1) / np.sqrt(seeds)
        low, high = gain.mean() - half, gain.mean() + half
        print(f"{name:<24} accuracy {values.mean():.3f}   minus random {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
