"""Compose conf/ with Hydra into one resolved file, with the fingerprint of each stage's code. Everything downstream reads it."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.core import config as composer
from pipeline.core.dag import read_stages
from pipeline.core.fingerprint import fingerprint
from pipeline.core.launch import collecting_rarely
from pipeline.core.section import Section, write_section


@collecting_rarely()
def run(cfg: dict[str, Any], out: Path, *, conf: Path, pipeline: Path) -> str:
    """Publish `config.yaml`.

    Args:
        cfg: `experiment` and `overrides` of params.yaml.
        out: where to write.
        conf: Hydra's configuration folder.
        pipeline: the package, whose code is fingerprinted.

    Raises:
        PersonError: an unknown or wrong key, option or value.
    """
    experiment, overrides = cfg["experiment"], list(cfg["overrides"] or [])
    composed = composer.compose(conf, experiment=experiment, overrides=overrides)
    code = {}
    for name, stage in read_stages(conf.parent).items():
        if name != "compose":
            read = {key: composed[key] for key in stage.keys if key in composed}
            code[name] = fingerprint(pipeline, name, read)
    text = yaml.safe_dump({**composed, "code": code}, sort_keys=True, allow_unicode=True, width=120)
    (out / "config.yaml").write_text(text, encoding="utf-8")
    said = f"experiment {experiment}" + (f" with {', '.join(map(str, overrides))}" if overrides else "")
    return write_section(out, Section(title="Configuration", summary=said))
