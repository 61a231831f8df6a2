"""Secrets go, everything else stays."""

import pytest

from pipeline.core.redact import REDACTED, is_secret_name, known_secrets, redact


@pytest.mark.parametrize(
    "name", ["WANDB_API_KEY", "apiKey", "db_password", "AUTH_TOKEN", "passwd", "client_secret", "sshkey", "Cookie"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["lr", "tokenizer", "num_keypoints", "PWD", "author", "monkey", "max_steps", "pass_rate"])
def test_harmless_names(name: str) -> None:
    assert not is_secret_name(name)


def test_a_secret_key_loses_every_leaf_and_keeps_its_shape() -> None:
    config = {"model": {"width": 8, "api_key": "abc", "tokens": ["x", {"y": 3}], "use_token": True, "key": None}}
    assert redact(config, []) == {
        "model": {"width": 8, "api_key": REDACTED, "tokens": [REDACTED, {"y": REDACTED}], "use_token": True, "key": None}
    }


def test_known_values_go_wherever_they_stand() -> None:
    secrets = known_secrets(
        {"MY_TOKEN": "hunter2hunter2", "HOME": "/root", "PROXY": "http://joe:pa55word@host", "SHORT_KEY": "a"}
    )
    assert secrets == ["hunter2hunter2", "pa55word"]
    assert redact({"note hunter2hunter2": ["x=hunter2hunter2!", "a"]}, secrets) == {f"note {REDACTED}": [f"x={REDACTED}!", "a"]}


@pytest.mark.parametrize(("text", "kept"), [
    ("git clone https://joe:s3cret@example.com/a.git", f"git clone https://{REDACTED}@example.com/a.git"),
    ("run --api-key s3cret --lr 3", f"run --api-key {REDACTED} --lr 3"),
    ("password=s3cret&lr=3", f"password={REDACTED}&lr=3"),
    ('{"token": "s3cret"}', f'{{"token": "{REDACTED}"}}'),
    ("Authorization: Bearer s3cret", f"Authorization: Bearer {REDACTED}"),
    ("use ghp_0123456789abcdefABCD now", f"use {REDACTED} now"),
    ("-----BEGIN RSA PRIVATE KEY-----\ns3cret\n-----END RSA PRIVATE KEY-----", REDACTED),
])  # fmt: skip
def test_forms_of_secrets_in_texts(text: str, kept: str) -> None:
    assert redact(text, []) == kept


@pytest.mark.parametrize(
    "text", ["the keys of the model", "monkey: 0.9", "AUROC 0.849 [0.80, 0.89]", "see https://example.com/a@b", "token mixing"]
)
def test_plain_texts_stay(text: str) -> None:
    assert redact(text, []) == text


def test_names_of_our_making_do_not_redact_numbers() -> None:
    assert redact({"key": "train/curves", "token_accuracy": 0.5}, [], names=False) == {
        "key": "train/curves",
        "token_accuracy": 0.5,
    }


def test_words_of_a_command_line() -> None:
    words = ["train", "--api-key", "s3cret", "--lr", "3", "--token=s3cret", "-x"]
    assert redact(words, []) == ["train", "--api-key", REDACTED, "--lr", "3", f"--token={REDACTED}", "-x"]
