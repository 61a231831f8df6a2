"""Baselines: simple methods that the model must beat, measured on the same test samples with the same metrics.

Contract (N train samples, M test samples, D features, K classes): `needs_features` (False: works without embed's features);
`fit_predict(train_ND, truth_N, weight_N, test_MD, *, categories)` fits on the train split alone and returns predictions of
the shape that tasks decode to: probabilities (M, K) for `categories` = K classes, values (M, 1) for `categories` = 0.
Laws: deterministic, finite, inputs not mutated; a class absent from the train split gets probability zero,
never a shifted column.

To add one: `pipeline/baseline/<name>.py` with one class, `conf/baseline/<name>.yaml` starting with
`# @package baseline.<name>`. `tests/contract` tests it.
"""
