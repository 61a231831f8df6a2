"""Gather what ships into one folder, with card, licences and bill of materials, and sign it."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.artifact import MANIFEST, MEASURED, damaged, digest, publish, read_json
from pipeline.core.errors import PersonError
from pipeline.shipping.shipped import check_whole

EXAMPLES = """
examples:
  python -m pipeline release cells-1.0                      data/ship with its card, under a manifest of hashes
  python -m pipeline release cells-1.0 --key maker.pem      signed (OpenSSF model signature, an elliptic-curve key)
  python -m pipeline release cells-1.0 --layout triton container     also a Triton model repository and a Containerfile
  python -m pipeline verify --release cells-1.0 --public-key maker.pub
a key: openssl ecparam -name prime256v1 -genkey -noout -out maker.pem && openssl ec -in maker.pem -pubout -out maker.pub
"""
SHIP = Path("data/ship")
CARD = Path("data/report/MODEL_CARD.md")
LAYOUTS = ("triton", "container")
LEFT = {"section.json", MANIFEST}


def main(argv: Sequence[str]) -> int:
    """Write the folder.

    Raises:
        PersonError: nothing has been shipped or reported, what was is not whole, the folder is there, or the key is no key.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline release", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=[], metavar="WHAT",
                        help=f"also write what servers want: {', '.join(LAYOUTS)}")  # fmt: skip
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key to sign with")
    asked = parser.parse_args(argv)
    out: Path = asked.folder
    if out.exists():
        raise PersonError(f"{out} exists already: name a new folder; nothing was overwritten")
    if asked.key is not None and not asked.key.is_file():
        raise PersonError(f"--key {asked.key}: there is no such file")
    check_whole(SHIP)
    _check_card()
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(SHIP, partial, ignore=lambda _, names: [name for name in names if name in LEFT])
        shutil.copyfile(CARD, partial / CARD.name)
        _lay_out(partial, asked.layout, name=out.name, signed=asked.key is not None)
        made = read_json(SHIP / MANIFEST)
        publish(partial, out, {key: made[key] for key in ("stage", "inputs", "seed", "versions") if key in made})
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    words = "not signed; sign it with  --key"
    if asked.key is not None:
        from pipeline.shipping.signing import sign

        try:
            words = f"signed ({sign(out, asked.key).name})"
        except PersonError:
            shutil.rmtree(out)
            raise
    names = [path.name for path in sorted(out.iterdir()) if path.is_dir() and path.name not in LAYOUTS]
    print(f"{out}: targets {', '.join(names)}; {sum(1 for path in out.rglob('*') if path.is_file())} files; {words}")
    if (out / MEASURED).is_file():
        print(f"  times in {out / MEASURED} are those of this machine")
    return 0


def _check_card() -> None:
    """Raise PersonError where there is no card, or one that a person changed, or that tells of another model."""
    report = CARD.parent
    if not CARD.is_file() or not (report / MANIFEST).is_file():
        raise PersonError(f"there is no {CARD}: run  dvc repro")
    if damaged(report):
        raise PersonError(f"{report} is not as it was published: run  dvc repro report")
    if read_json(report / MANIFEST)["inputs"].get("ship") != digest(SHIP):
        raise PersonError(f"{CARD} tells of another model than {SHIP}: run  dvc repro report")


def _lay_out(folder: Path, layouts: Sequence[str], *, name: str, signed: bool) -> None:
    """Write what servers want into a release before it is closed."""
    from pipeline.shipping import layouts as make

    short = make.image_name(Path(name))
    if "triton" in layouts:
        make.write_triton(folder, short)
    if "container" in layouts:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        make.write_container(folder, read_json(folder / "targets.json"), name=short, signed=signed, python=python)
