"""Generators of synthetic samples: networks that are trained on the train split, and simulators, which are not trained.

Contract of a simulator (`pipeline.core.contracts.Simulator`): `simulate(card, count, rng)` yields samples. Contract of a trained
one (`pipeline.core.contracts.Generator`): it takes its numbers as flat keyword arguments, and offers

    resolution, latent, bins, minimum, max_steps, batch_size, ema, checkpoint_every, log_every     numbers of the training
    generator(conditions=, channels=), discriminator(conditions=, channels=)                       plain torch modules
    optimisers(generator, discriminator)                                                           one for each
    augment(x_BCHW, rng), discriminator_loss(real_B, fake_B), generator_loss(fake_B), penalty(score_of, real_BCHW)
    sample(generator, condition_B, z_BL) -> uint8 pixels (B, H, W, C)

`pipeline/training/gan_module.py` trains any of the latter. The stage holds what comes of either to the same gates. To add one:
one file with one class here, and its yaml in conf/generator.
The contract suite tests every yaml of that folder.
"""
