"""What evaluate, calibrate and the command compare stand on: honest numbers from predictions, without torch.

`temperature`, `conformal` and `operating` are fitted on validation by the stage calibrate and measured on test by evaluate
(`probabilities` holds the scores); `slices` measures groups of samples and names the worst one, with the intervals of `shares`;
`sheets` and `charts` draw; `paired` tests one model against another and `runs` finds what was published. Chosen by no option of
conf; see docs/trust.md.
"""
