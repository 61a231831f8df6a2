"""Networks: plain `nn.Module`s from pixels in [0, 1], float32 (B, C, H, W), to raw outputs (B, K).

The constructor takes flat keyword arguments; five of them come from the data and not from conf:
`channels`, `height`, `width_pixels`, `outputs` (K), `mean` and `std` (per channel, of the train split).
To add one: one file here, one option of the same name in conf/model. The contract suite tests it.

A network that starts from pretrained weights says so in `origin`, {from, file, sha256} or None, and takes `pretrained: false`,
with which nothing is read: so it is rebuilt before its trained weights are loaded. `pipeline.backbone.weights` reads them.

A network may also offer `learning_rates() -> {prefix: factor}` (discriminative learning rates), `penalty() -> Tensor`
(added to the loss), and, when its trunk is frozen, `trunk() -> dict` (what embed must have computed), `features(x)`,
`head` and `fit_head(features)`; training then runs on embed's features.
"""
