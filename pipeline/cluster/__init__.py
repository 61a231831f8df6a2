"""What turns a stage into a job of a cluster: what it asks for, whether it sees the cache, and what happens when it is cut short.

Snakemake's executors submit and watch; DVC decides what is stale; nothing here schedules anything.
"""
