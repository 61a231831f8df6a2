"""What the stage `explain` stands on: whether maps of an explainer can be believed, and what a network sees inside.

score.py          the score of one class, held while an image changes; what an explainer may ask of it
regions.py        a grid of regions, and what takes a region's place when it is removed
faithfulness.py   deletion and insertion curves
cue.py            a cue whose place is known, planted into images, and a probe of the network that tells it
judging.py        the three checks of an explainer, and their verdict
features.py       what the network knows of an image before its last layer; the training samples nearest to it
layers.py         convolutions in the order of execution, filters of the first layer, activations
ascent.py         activation maximisation and deep dream
pages.py          the pictures

Nothing here is chosen in conf; the numbers stand under `explain` in conf/config.yaml.
"""
