"""What the trackers stand on, and what reads their runs back: a room without options in conf.

channel.py   a bounded pipe to a child process that never blocks and never fails its owner
process.py   the child: the only place that imports wandb
live.py      which runs are being written to at this moment
records.py   reads offline runs back through `wandb leet inspect --json`, and merges the parts of one run
"""
