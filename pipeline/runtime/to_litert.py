"""Convert a program of torch.export to LiteRT: `PYTHON to_litert.py PROGRAM.pt2 OUT.tflite`.

It runs in the environment that `make litert` makes, because litert-torch wants an older pydantic than the rest, and it imports
nothing of this project. On failure the last line on standard error says why.
"""

import sys
from pathlib import Path


def main(program: Path, out: Path) -> int:
    """Write the file; 1 where an operator cannot be converted."""
    import litert_torch
    import torch

    opened = torch.export.load(program)
    examples, _ = opened.example_inputs
    try:
        with torch.no_grad():
            litert_torch.convert(opened.module(), tuple(examples)).export(str(out))
    except (RuntimeError, ValueError, NotImplementedError, KeyError, TypeError) as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.stderr.write(f"\n{type(error).__name__}: {told[0] if told else 'no word'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
