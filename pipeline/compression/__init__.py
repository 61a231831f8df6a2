"""The search for the smallest model that keeps what a person asks: candidates, measuring, choice, page; `smallest` drives it."""
