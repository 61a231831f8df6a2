"""What the stage `quality` finds out about samples: near duplicates, doubtful labels, outliers, shortcuts, and the gates on them.

Nothing here is chosen in conf; the numbers stand under `quality` in conf/config.yaml.
"""
