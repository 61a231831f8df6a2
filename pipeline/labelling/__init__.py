"""Labelling: which unlabelled images are worth a person's time, and the formats of the tools in which they are labelled.

Used by `python -m pipeline label`. To add a tool: one file that writes its tasks and reads its export, as `cvat.py` does.
"""
