"""FMI 3: the model as a co-simulation unit (FMU) for system simulators, by PythonFMU3; run here by FMPy.

Standard: Modelica Association, Functional Mock-up Interface 3.0 (2022). Inside lies the exported file, answered by ONNX Runtime
in the Python of whoever simulates, so that machine needs `onnxruntime` and `numpy`. One step answers one image.

B batch, H height, W width, C channels, K columns of a decoded prediction.
"""

import json
import re
import shutil
import tempfile
import uuid
import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import sha256
from pipeline.core.delivery import Made
from pipeline.core.record import Floats, Pixels

SPACE = uuid.UUID("6f3c1d5e-54b0-5f0e-9b55-0f6f1d2f7a11")  # of the tokens that name our units
EPOCH = (1980, 1, 1, 0, 0, 0)
DATE = re.compile(rb' generationDateAndTime="[^"]*"')
STEP = 1.0  # s; the answer depends on the image alone


class Fmu:
    """One `model.fmu`: input `image`, outputs `prediction` and, where a detector travels, `unknown_score` and `unknown`."""

    needs = (("pythonfmu3", "pythonfmu3"), ("fmpy", "fmpy"), ("onnxruntime", "onnxruntime"))
    precision = "fp32"
    largest_batch = 1
    runs_code = True
    runs = True

    def build(self, made: Made, directory: Path) -> Path:
        """Pack the exported file; equal models give equal bytes."""
        import onnxruntime
        from pythonfmu3 import FmuBuilder

        from pipeline.target.cosimulation import slave

        exported = made.file("export")
        session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
        shape = [int(size) for size in made.example_BHWC.shape[1:]]
        answers = session.run(None, {session.get_inputs()[0].name: np.zeros((1, *shape), dtype=np.uint8)})
        facts = {
            "token": str(uuid.uuid5(SPACE, sha256(exported))), "shape": shape,
            "outputs": {output.name: np.size(value) for output, value in zip(session.get_outputs(), answers, strict=True)},
            "description": f"{made.metadata.get('data', 'a model')}, digest {made.metadata.get('data_digest', '')[:12]}",
            "licence": made.metadata.get("data_licence", ""),
        }  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="fmu-") as folder:
            source = Path(folder)
            (source / "facts.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
            shutil.copyfile(exported, source / "model.onnx")
            script = Path(shutil.copyfile(slave.__file__, source / "slave.py"))
            files = [source / "facts.json", source / "model.onnx"]
            packed = FmuBuilder.build_FMU(script, dest=source / "built", project_files=files)
            return _settled(packed, directory / "model.fmu")

    def load(self, path: Path) -> "Opened":
        """Open it as a simulator does."""
        return Opened(path)


class Opened:
    """A unit that FMPy simulates.

    Args:
        path: the FMU.
    """

    def __init__(self, path: Path) -> None:
        import fmpy
        from fmpy.fmi3 import FMU3Slave

        folder = tempfile.mkdtemp(prefix="fmu-")
        self.described = fmpy.read_model_description(str(path))
        self.variables = {variable.name: variable for variable in self.described.modelVariables}
        fmpy.extract(str(path), unzipdir=folder)
        self.unit = FMU3Slave(
            guid=self.described.guid, unzipDirectory=folder, modelIdentifier=self.described.coSimulation.modelIdentifier,
            instanceName="model",
        )  # fmt: skip
        self.unit.instantiate()
        self.unit.enterInitializationMode()
        self.unit.exitInitializationMode()
        self.time = 0.0
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __call__(self, pixels_BHWC: Pixels) -> Floats:
        """Decoded predictions (B, K), float32, of uint8 images (B, H, W, C)."""
        return np.asarray(self.answers(pixels_BHWC)["prediction"], dtype=np.float32)

    def answers(self, pixels_BHWC: Pixels) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        rows = [self._step(pixels_HWC) for pixels_HWC in pixels_BHWC]
        return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}

    def _step(self, pixels_HWC: Pixels) -> dict[str, Any]:
        self.unit.setInt32([self.variables["image"].valueReference], pixels_HWC.ravel().tolist())
        self.unit.doStep(self.time, STEP)
        self.time += STEP
        said: dict[str, Any] = {}
        for name, variable in self.variables.items():
            if variable.causality != "output":
                continue
            place = [variable.valueReference]
            if variable.type == "Boolean":
                said[name] = self.unit.getBoolean(place)[0]
                continue
            count = int(np.prod([int(dimension.start) for dimension in variable.dimensions])) if variable.dimensions else 1
            values = self.unit.getFloat64(place, nValues=count)
            said[name] = values if variable.dimensions else values[0]
        return said


def _settled(packed: Path, path: Path) -> Path:
    """Write the archive again without dates, in the order of the names."""
    with zipfile.ZipFile(packed) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in sorted(given.namelist()):
            data = given.read(name)
            if name == "modelDescription.xml":
                data = DATE.sub(b"", data)
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            out.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)
    return path
