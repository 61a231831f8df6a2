"""Floor 2: training that resumes to the same bits, and what is done with a trained network. Knows tasks and models by contract.

stream.py       the order of samples as a function of the step alone
checkpoint.py   durable checkpoints: written whole or not at all, verified when read
learner.py      the one LightningModule of every task and model
optimisers.py   AdamW, SGD and Muon, and the parameters that each is for
schedules.py    learning rates as functions of the step
averaging.py    a moving average of the weights
smoothing.py    label smoothing as part of a recipe
mixing.py       mixup and CutMix
stopping.py     when a training ends early and which weights it ships, from its history alone
speed.py        how fast a step is under settings that change bits
watch.py        history, validation and the live line (live.py) while a network trains
health.py       measures of each layer at a few steps; diagnosis.py says what is wrong
forecast.py     what a training will take and took (memory.py, resources.py); observers.py puts all of these together
fit.py          a Trainer that continues where a killed run stopped
signals.py      all processes of a training end at the same step when one is asked to
processes.py    how the processes of a training share the work
gan_module.py   the LightningModule of every generator
saved_model.py  a trained model on disk; loads with torch alone
subset.py       samples of some splits, with what is known of them
predict.py      predictions of a trained network
deploy.py       a trained network with pre- and post-processing, as exporters get it
"""
