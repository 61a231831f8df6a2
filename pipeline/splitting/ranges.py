"""What the arguments of splitters may be, and the number in [0, 1) at which a sample stands by its hash."""

from pipeline.core import keyed

SCALE = 2.0**63  # keyed.seed gives whole numbers below it


def check_shares(val: float, test: float) -> None:
    """Hold two shares to being positive and to leaving something for training.

    Raises:
        ValueError: they are not.
    """
    if min(val, test) <= 0 or val + test >= 1:
        raise ValueError(f"val and test must be positive shares with a sum below 1: received {val} and {test}")


def check_share(val: float, *, zero: bool = False) -> None:
    """Hold the share of the validation split to lying in (0, 1), or in [0, 1) where none is allowed.

    Raises:
        ValueError: it does not.
    """
    if not 0 <= val < 1 or (val == 0 and not zero):
        raise ValueError(f"val must lie in {'[' if zero else '('}0, 1): received {val}")


def check_folds(folds: int, test_fold: int, *, least: int) -> None:
    """Hold a number of folds, and the one that is tested, to existing.

    Raises:
        ValueError: there are too few folds, or the tested one does not exist.
    """
    if folds < least or not 0 <= test_fold < folds:
        raise ValueError(f"folds must be at least {least} and test_fold from 0 to folds - 1: received {folds} and {test_fold}")


def level(seed: int, *key: str) -> float:
    """A number in [0, 1) that depends on the seed and the key alone."""
    return keyed.seed(seed, *key) / SCALE
