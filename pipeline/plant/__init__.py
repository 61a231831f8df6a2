"""Plants: simulated machines that a shipped model sits in, with what is asked of the whole.

Contract: `pipeline.loop.contract.Plant`. To add one: a file here and conf/plant/<name>.yaml, for `python -m pipeline simulate`.
"""
