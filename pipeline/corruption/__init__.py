"""Natural disturbances of test images, and how much of a model they take away: no part, no torch.

`catalogue` names them and draws each from a key; `noise`, `blur`, `weather`, `digital` and `shift` hold the formulas over
`filters`; `measure` makes errors, corruption errors and metrics with intervals of predictions; `reference` fits the run's
baseline again; `page` and `sheet` tell people. The stage robustness puts them together.
"""
