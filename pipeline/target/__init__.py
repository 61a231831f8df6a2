"""Runtimes beside the exporter's that the model is written for, each tried where it will run.

Contract (`pipeline.core.delivery.Target`): `build(made, directory) -> path` writes the model for the runtime, from the trained
network, the exported ONNX file or the compressed one, whichever it takes; `load(path)` runs it in the runtime itself. `needs`
names the packages that must be there, `precision` whether it may differ from the trained model, `runs` whether this machine can
run it.
Laws: each is built and run in processes of its own, so none depends on another; in fp32 it says what the trained model says.

To add one: one file here and one option of the same name in conf/target. The contract suite tests it.
"""
