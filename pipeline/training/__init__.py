"""Floor 2: training that resumes to the same bits, and what is done with a trained network. Knows tasks and models by contract.

stream.py       the order of samples as a function of the step alone
checkpoint.py   durable checkpoints: written whole or not at all, verified when read
learner.py      the one LightningModule of every task and model
fit.py          a Trainer that continues where a killed run stopped
saved_model.py  a trained model on disk; loads with torch alone
"""
