"""The vision transformer against timm's and torch's own."""

import pytest
import timm
import torch

from pipeline.model.vit import Attention, Block, Vit

DATA = {"channels": 3, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
NAMES = {
    "token": "cls_token", "position": "pos_embed", "patches": "patch_embed.proj", "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj", "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2",
}  # fmt: skip


def test_it_computes_what_timm_computes_with_the_same_weights():
    torch.manual_seed(0)
    size = {"patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3}
    reference = timm.models.vision_transformer.VisionTransformer(img_size=16, num_classes=5, **size).eval()
    own = Vit(height=16, width_pixels=16, outputs=5, patch=4, width=24, depth=3, heads=3, **DATA).eval()
    given, state = reference.state_dict(), {}
    for name in own.state_dict():
        other = name
        for mine, theirs in NAMES.items():
            other = other.replace(mine, theirs)
        if name not in {"mean", "std"}:
            state[name] = given.pop(other)
    assert not given, "every tensor has its place"
    own.load_state_dict(state, strict=False)
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(own(x), reference(x), atol=1e-5)


def test_the_published_size_has_as_many_parameters_as_deit_tiny():
    with torch.device("meta"):
        own = Vit(height=224, width_pixels=224, outputs=1000, patch=16, **DATA)
    assert sum(parameter.numel() for parameter in own.parameters()) == 5_717_416


def test_attention_equals_torchs_and_its_weights_sum_to_one():
    torch.manual_seed(1)
    own, reference = Attention(12, heads=3), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    reference.load_state_dict({
        "in_proj_weight": own.qkv.weight, "in_proj_bias": own.qkv.bias,
        "out_proj.weight": own.out.weight, "out_proj.bias": own.out.bias,
    })  # fmt: skip
    x = torch.rand(2, 5, 12)
    with torch.no_grad():
        expected, weights = reference(x, x, x, average_attn_weights=False)
        assert torch.allclose(own(x), expected, atol=1e-6)
        assert torch.allclose(own.weights(x), weights, atol=1e-6)
        assert torch.allclose(own.weights(x).sum(3), torch.ones(2, 3, 5))


def test_stochastic_depth_skips_whole_samples_and_keeps_the_mean():
    torch.manual_seed(2)
    block = Block(8, heads=2, mlp_ratio=2.0, dropout=0.0, drop_path=0.25).train()
    residual = torch.ones(4000, 3, 8)
    kept = block._kept(residual)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (kept.amin((1, 2)) == kept.amax((1, 2))).all()
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(block.eval()._kept(residual), residual)


def test_it_takes_the_digits_and_oblong_images():
    with torch.no_grad():
        assert Vit(height=8, width_pixels=8, outputs=10, patch=2, width=12, depth=1, **DATA)(torch.rand(2, 3, 8, 8)).shape == (2, 10)
        assert Vit(height=8, width_pixels=64, outputs=1, width=12, depth=1, **DATA)(torch.rand(2, 3, 8, 64)).shape == (2, 1)


@pytest.mark.parametrize(("changes", "line"), [
    ({"patch": 3}, "model.patch must divide the image of 8x8 pixels: received 3"),
    ({"heads": 5}, "model.width must be a multiple of model.heads=5: received 12"),
    ({"depth": 0}, "model.depth must be 1 or more"),
    ({"drop_path": 1.0}, r"model.drop_path in \[0, 1\): received 1 and 1.0"),
])  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(changes, line):
    with pytest.raises(ValueError, match=line):
        Vit(height=8, width_pixels=8, outputs=2, **{"patch": 4, "width": 12, "depth": 1, "heads": 3, **changes}, **DATA)
