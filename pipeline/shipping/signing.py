"""OpenSSF model signatures (model-signing 1.x, a sigstore bundle over the SHA-256 of every file) with a person's own key.

Source: https://github.com/sigstore/model-transparency. With an elliptic-curve key nothing is sent anywhere. A key is made by

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out key.pub
"""

import logging
from pathlib import Path

from pipeline.core.artifact import MEASURED
from pipeline.core.errors import PersonError

SIGNATURE = "model.sig"
INSTALL = "signatures need a package: pip install model-signing"


def sign(folder: Path, key: Path) -> Path:
    """Sign every file of a folder; the signature lies in it.

    Raises:
        PersonError: the key cannot be read, or the package is missing.
    """
    config = _package("signing").Config()
    path = folder / SIGNATURE
    try:
        config.use_elliptic_key_signer(private_key=str(key)).set_hashing_config(_hashing(folder)).sign(str(folder), str(path))
    except (OSError, ValueError, TypeError) as error:
        raise PersonError(
            f"{key} is no private key on an elliptic curve ({' '.join(str(error).split())[:120]}): make one with  "
            f"openssl ecparam -name prime256v1 -genkey -noout -out {key}"
        ) from error
    return path


def check_signature(folder: Path, key: Path | None, *, unsigned: bool = False) -> None:
    """Refuse a folder whose signature is not that of the key.

    Raises:
        PersonError: there is a key and no signature, a signature and no key, or they do not belong together.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        if key is not None:
            raise PersonError(f"{folder} is not signed (no {SIGNATURE}), but a key was given: nothing of it is used")
        return
    if key is None:
        if unsigned:
            return
        raise PersonError(f"{folder} is signed: give its maker's key with  --public-key FILE , or do without with  --unsigned")
    if not key.is_file():
        raise PersonError(f"--public-key {key}: there is no such file")
    config = _package("verifying").Config()
    try:
        config.use_elliptic_key_verifier(public_key=str(key)).set_hashing_config(_hashing(folder)).verify(str(folder), str(path))
    except Exception as error:
        told = " ".join(str(error).split())[:160] or type(error).__name__
        raise PersonError(f"{folder}: its signature is none of {key} over these files ({told}): nothing of it is used") from error


def _hashing(folder: Path) -> object:
    hashing = _package("hashing")
    return hashing.Config().set_ignored_paths(paths=[str(folder / SIGNATURE), str(folder / MEASURED)])


def _package(name: str):  # type: ignore[no-untyped-def]
    import importlib

    logging.getLogger("model_signing").setLevel(logging.ERROR)
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise PersonError(INSTALL) from error
