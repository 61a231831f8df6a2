"""Physical systems with known truth, for parts that make data from them: a rendered solar cell, a driven DC motor.

They know arrays alone, and no card, sample or configuration. Parts of `pipeline/generator` and `pipeline/dataset` turn what they
give into samples. To add one: a file here, and the part that uses it.
"""
