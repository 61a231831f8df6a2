"""What the stage `assure` stands on: requirements, the evidence that other stages published for them, gates, and the page.

A requirement is one entry in `requirements.py`; where it has a limit, its key lies in conf under `gates`, with a waiver of the
same name. Imports no torch.
"""
