"""The attack half of robustness: what an attack sees of a model, the balls it stays in, and what a campaign of attacks found.

    prey = Prey(task, model, seed=..., x_NCHW=..., truth_N=..., weight_N=..., ids=...)
    campaign = run_attacks(cfg["attack"], prey)      # every attack at every radius, held to its promises
    publish(campaign, out)                            # attacks.csv, attacks.png, adversarial.png, adversarial.npz
    pages(campaign)                                   # tables, pictures, warnings and words for the section

It stands below the rooms: parts of `pipeline.attack` and the training build on `climb` and `hunt`, and it imports core alone.
"""
