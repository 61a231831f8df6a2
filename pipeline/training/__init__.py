"""Floor 2: training that resumes to the same bits, and what is done with a trained network. Knows tasks and models by contract.

stream.py       the order of samples as a function of the step alone
checkpoint.py   durable checkpoints: written whole or not at all, verified when read
learner.py      the one LightningModule of every task and model
fit.py          a Trainer that continues where a killed run stopped
gan_module.py   the LightningModule of every generator
saved_model.py  a trained model on disk; loads with torch alone
subset.py       samples of some splits, with what is known of them
predict.py      predictions of a trained network, and the score that explainers see
sanity.py       the same network with shuffled weights, a control for explanations
deploy.py       a trained network with pre- and post-processing, as exporters get it
"""
