"""The DAG as dvc.yaml declares it: the one place where stages, their inputs and their outputs are named.

DVC resolves `${source}` from params.yaml, and nothing else in dvc.yaml is a template; so a plain YAML reader suffices
here and this module needs no private API of DVC.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from pipeline.core.errors import PersonError, near_match

COMPOSED = "data/compose/config.yaml"
TEMPLATE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Stage:
    """One block of dvc.yaml.

    Attributes:
        name: the stage's name and the name of its module in `pipeline/stages/`.
        keys: top-level keys of the composed configuration that it reads (dotted paths allowed).
        params: keys of params.yaml that it reads.
        inputs: keyword argument -> directory, relative to the repository.
        out: the directory that it publishes.
        resources: `meta:` of dvc.yaml, for Snakemake.
    """

    name: str
    desc: str
    keys: tuple[str, ...]
    params: tuple[str, ...]
    inputs: dict[str, str]
    out: str
    resources: dict[str, Any]

    def upstream(self, stages: "dict[str, Stage]") -> list[str]:
        """Names of the stages whose output this one reads, the composed configuration included."""
        paths = [*self.inputs.values(), *([COMPOSED] if self.keys else [])]
        return sorted(
            other.name
            for other in stages.values()
            if any(path == other.out or path.startswith(other.out + "/") for path in paths)
        )


def read_params(root: Path) -> dict[str, Any]:
    """Read params.yaml, with OmegaConf because a plain YAML reader takes `1e-4` for a string."""
    loaded = OmegaConf.to_container(OmegaConf.load(root / "params.yaml"))
    if not isinstance(loaded, dict):
        raise PersonError("params.yaml must be a mapping with the keys experiment, overrides and source")
    return {str(key): value for key, value in loaded.items()}


def read_stages(root: Path) -> dict[str, Stage]:
    """Read every stage of dvc.yaml, in the order of the file."""
    declared = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    params = read_params(root)
    return {name: _stage(name, block, params) for name, block in declared.items()}


def read_stage(root: Path, name: str) -> Stage:
    """Read one stage; an unknown name is an error that names the nearest one."""
    stages = read_stages(root)
    if name not in stages:
        raise PersonError(f"unknown stage {name!r}: {near_match(name, stages)}")
    return stages[name]


def _stage(name: str, block: dict[str, Any], params: dict[str, Any]) -> Stage:
    keys: list[str] = []
    own: list[str] = []
    for entry in block.get("params", []):
        if isinstance(entry, dict):
            keys += entry.get(COMPOSED, [])
        else:
            own.append(entry)
    inputs = {}
    for dep in block.get("deps", []):
        match = TEMPLATE.fullmatch(dep)
        keyword = match.group(1) if match else Path(dep).name
        inputs[keyword] = str(params[match.group(1)]) if match else dep
    meta = dict(block.get("meta", {}))
    return Stage(name, block.get("desc", ""), tuple(keys), tuple(own), inputs, block["outs"][0], meta)
