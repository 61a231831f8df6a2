"""The model as an FMI 3 co-simulation unit: set `image`, do a step, read `prediction`. This file travels inside the FMU."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pythonfmu3 import Boolean, Dimension, Float64, Fmi3Causality, Fmi3SlaveBase, Fmi3StepResult, Fmi3Variability, Int32
from pythonfmu3.cosimulation import CoSimulation


class Model(Fmi3SlaveBase, CoSimulation):  # type: ignore[misc]
    """Input: `image`, bytes of height x width x channels. Outputs: `prediction`, and what else the file answers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        folder = Path(self.resources)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self.guid, self.description, self.license = facts["token"], facts["description"], facts["licence"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.pixels_BHWC = np.zeros((1, *facts["shape"]), dtype=np.uint8)
        self.answers = {name: np.zeros(size) for name, size in facts["outputs"].items()}
        self.register_variable(Int32(
            "image", causality=Fmi3Causality.input, variability=Fmi3Variability.discrete, getter=self._image, setter=self._show,
            dimensions=[Dimension(start=str(size)) for size in facts["shape"]], description="pixels, 0 to 255",
        ))  # fmt: skip
        self.time = 0.0
        self.register_variable(Float64("time", causality=Fmi3Causality.independent, variability=Fmi3Variability.continuous))
        for name, size in facts["outputs"].items():
            self._output(name, size)

    def _output(self, name: str, size: int) -> None:
        shape = [Dimension(start=str(size))] if name == "prediction" else []
        kind = Boolean if name == "unknown" else Float64
        look = {"causality": Fmi3Causality.output, "variability": Fmi3Variability.discrete, "dimensions": shape}
        self.register_variable(kind(name, getter=lambda: self._answer(name), **look))

    def _answer(self, name: str) -> Any:
        values = self.answers[name].tolist()
        return values if name == "prediction" else bool(values[0]) if name == "unknown" else values[0]

    def _image(self) -> list[int]:
        return self.pixels_BHWC.ravel().tolist()

    def _show(self, values: Sequence[int]) -> None:
        self.pixels_BHWC = np.clip(values, 0, 255).astype(np.uint8).reshape(self.pixels_BHWC.shape)

    def do_step(self, current_time: float, step_size: float) -> Any:
        """Answer the image that is set."""
        self.time = current_time + step_size
        found = self.session.run(None, {self.name: self.pixels_BHWC})
        self.answers = {output.name: np.asarray(value, dtype=np.float64).reshape(-1)
                        for output, value in zip(self.session.get_outputs(), found, strict=True)}  # fmt: skip
        return Fmi3StepResult()
