"""A model inside the loop of a simulated plant: what a plant is handed, what it returns, how that is judged and shown.

It knows neither a runtime nor a plant. Parts of `pipeline/plant` simulate; `python -m pipeline simulate` brings both together.
"""
