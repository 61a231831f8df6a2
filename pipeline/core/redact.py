"""Take secrets out of whatever leaves for a tracker: by the name of a key, by known values of the environment, by their form.

Names are matched as parts of words, so `WANDB_API_KEY`, `sshKey` and `db_password` are secrets; a few harmless words that hold
such a part (`tokenizer`, `keypoints`) are not. What stays in doubt is taken out: a tracker is a copy and can lose a value.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "<redacted>"
SHORTEST = 6  # characters; a shorter value of the environment is no secret and would be found in every other word
HARMLESS = re.compile(r"tokeniz|keypoint|keyboard|keyword|keyframe|monkey|turkey|authors?(?![a-z])", re.IGNORECASE)
NAME = re.compile(r"key|token|secret|passw|passphrase|pwd|credential|auth|cookie|private|bearer|signature", re.IGNORECASE)
WORDS = r"(?:(?<![a-z])|api|access|ssh|auth)(?:key|token|secret|passw[a-z]*|pwd|credentials?|signature)"
FORMS = (
    re.compile(r"(?P<kept>)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?P<kept>\b[a-zA-Z][\w+.-]*://)[^/\s@]+(?=@)"),
    re.compile(r"(?P<kept>)\b(?:gh[pousr]_\w{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{16,}|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|"
               r"A[KS]IA[A-Z0-9]{12,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"),
    re.compile(rf"(?P<kept>{WORDS}['\"]?\s*[=:]\s*['\"]?)[^\s&,;'\"]+", re.IGNORECASE),
    re.compile(rf"(?P<kept>--[\w-]*{WORDS}\s+|\bbearer\s+)[^\s&,;'\"]+", re.IGNORECASE),
)  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether a key or a variable of this name holds a secret.

    >>> [is_secret_name(name) for name in ("api_key", "dbPassword", "tokenizer", "lr")]
    [True, True, False, False]
    """
    return name.upper() not in {"PWD", "OLDPWD"} and NAME.search(HARMLESS.sub("", name)) is not None


def known_secrets(environment: Mapping[str, str] | None = None) -> list[str]:
    """Values of the environment's variables whose names are those of secrets, and passwords inside its URLs; longest first."""
    variables = os.environ if environment is None else environment
    values = {value for name, value in variables.items() if is_secret_name(name)}
    users = (user for value in variables.values() for user in re.findall(r"://([^/\s@]+)@", value))
    found = {part for part in (*values, *(user.partition(":")[2] or user for user in users)) if len(part) >= SHORTEST}
    return sorted(found, key=lambda value: (-len(value), value))


def redact(value: Any, secrets: Sequence[str] | None = None, *, names: bool = True) -> Any:
    """A copy of a piece of configuration, a list or a text without its secrets.

    Args:
        value: mappings, lists and tuples are walked; numbers, booleans and None under a harmless name stay as they are. In the
            words of a command line, what follows `--token` goes.
        secrets: texts to take out wherever they stand; by default those of the environment.
        names: also take out whatever stands under the name of a secret (configuration); False where names are of our making.
    """
    known = known_secrets() if secrets is None else secrets
    if isinstance(value, Mapping):
        return {
            _text(str(key), known): _all(entry) if names and is_secret_name(str(key)) else redact(entry, known, names=names)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        after = [False, *(isinstance(entry, str) and entry.startswith("-") and "=" not in entry and is_secret_name(entry)
                          for entry in value)]  # fmt: skip
        return [_all(entry) if hidden else redact(entry, known, names=names) for hidden, entry in zip(after, value, strict=False)]
    return _text(value, known) if isinstance(value, str) else value


def _all(value: Any) -> Any:
    """The same shape with every leaf taken out; what holds no information (a switch, nothing) stays."""
    if isinstance(value, Mapping):
        return {str(key): _all(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_all(entry) for entry in value]
    return value if value is None or isinstance(value, bool) else REDACTED


def _text(text: str, known: Sequence[str]) -> str:
    for secret in known:
        text = text.replace(secret, REDACTED)
    for form in FORMS:
        text = form.sub(rf"\g<kept>{REDACTED}", text)
    return text
