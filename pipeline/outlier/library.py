"""pytorch-ood, imported where it is used: it brings torchvision, which costs six seconds of CPU.

Source: Kirchheim, Filax and Ortmeier 2022, PyTorch-OOD: A Library for Out-of-Distribution Detection based on PyTorch,
https://github.com/kkirchheim/pytorch-ood (Apache-2.0).
"""

import warnings
from typing import Any


def detectors() -> Any:
    """The module `pytorch_ood.detector`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import pytorch_ood.detector as found
    return found
