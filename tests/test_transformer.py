"""The audio spectrogram transformer: padding, positions, and an image model's weights against a plain computation."""

import pytest
import torch
from small_data import write_small_data
from torch.nn import functional

import evaluate
import step7_ast
from common.errors import LabError
from common.transformer import SIZES, TransformerBackbone
from extras.image_weights import image_weights
from extras.songs.networks import build_model


def clips(count, frames, seed=0):
    return torch.randn(count, frames, 128, generator=torch.Generator().manual_seed(seed)) * 12 - 40


def test_padding_and_the_rest_of_the_batch_change_nothing():
    torch.manual_seed(0)
    backbone = TransformerBackbone(length=120).eval()
    lengths = torch.tensor([120, 57, 16, 5])
    batch = clips(4, 150)
    together = backbone(batch, lengths)
    for k, length in enumerate(lengths.tolist()):
        alone = backbone(batch[k : k + 1, :length], lengths[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=1e-5)
    assert together.shape == (4, backbone.feature_size)


def test_every_patch_within_the_clip_counts_and_its_place_too():
    torch.manual_seed(0)
    backbone = TransformerBackbone(length=60).eval()
    x, length = clips(1, 60), torch.tensor([60])
    before = backbone(x, length)
    last, early = x.clone(), x.clone()
    last[:, 55:] += 20
    early[:, :20], early[:, 20:40] = x[:, 20:40], x[:, :20]
    for changed in (last, early):
        assert (backbone(changed, length) - before).abs().max() > 1e-3
    assert (backbone(last, torch.tensor([50])) - backbone(x, torch.tensor([50]))).abs().max() == 0


def test_positions_are_those_of_training_and_interpolated_beyond():
    backbone = TransformerBackbone(length=66, stride=10)
    assert backbone.positions.shape == (1, 64, 6, 12)
    assert torch.equal(backbone.positions_for(4, None), backbone.positions[:, :, :4])
    found = backbone.positions_for(11, torch.tensor([116, 40]))
    wanted = functional.interpolate(backbone.positions, (11, 12), mode="bilinear")
    torch.testing.assert_close(found[:1], wanted)
    assert torch.equal(found[1, :, :6], backbone.positions[0])


def image_model(width, layers, side, seed=0):
    """A state dict in timm's names, of a vision transformer for images of side x side patches, with random weights."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape, size=0.1):
        return torch.randn(*shape, generator=generator) * size

    weights = {
        "cls_token": random(1, 1, width),
        "pos_embed": random(1, side * side + 1, width),
        "patch_embed.proj.weight": random(width, 3, 16, 16),
        "patch_embed.proj.bias": random(width),
        "norm.weight": 1 + random(width),
        "norm.bias": random(width),
        "head.weight": random(1000, width),
        "head.bias": random(1000),
    }
    for layer in range(layers):
        for name, shape in {
            "norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
        }.items():  # fmt: skip
            weights[f"blocks.{layer}.{name}.weight"] = random(*shape) + (len(shape) == 1)
            weights[f"blocks.{layer}.{name}.bias"] = random(shape[0])
    return weights


def image_model_output(weights, image, layers, heads):
    """The class token behind the last norm, for an image (3, 16 x side, 16 x side), computed step by step."""
    width = weights["cls_token"].shape[2]
    patches = functional.conv2d(image[None], weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], 16)
    x = torch.cat([weights["cls_token"][0], patches[0].flatten(1).T]) + weights["pos_embed"][0]
    for layer in range(layers):
        part = {name.removeprefix(f"blocks.{layer}."): each for name, each in weights.items()}
        normal = functional.layer_norm(x, (width,), part["norm1.weight"], part["norm1.bias"])
        q, k, v = (normal @ part["attn.qkv.weight"].T + part["attn.qkv.bias"]).chunk(3, dim=1)
        split = [each.reshape(len(x), heads, -1).transpose(0, 1) for each in (q, k, v)]
        scores = (split[0] @ split[1].transpose(1, 2) / (width / heads) ** 0.5).softmax(dim=-1)
        mixed = (scores @ split[2]).transpose(0, 1).reshape(len(x), width)
        x = x + mixed @ part["attn.proj.weight"].T + part["attn.proj.bias"]
        normal = functional.layer_norm(x, (width,), part["norm2.weight"], part["norm2.bias"])
        hidden = functional.gelu(normal @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"])
        x = x + hidden @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
    return functional.layer_norm(x, (width,), weights["norm.weight"], weights["norm.bias"])[0]


def test_an_image_models_weights_give_its_output_on_a_grey_image():
    width, layers, heads = SIZES["lab"]
    weights = image_model(width, layers, side=8)
    backbone = TransformerBackbone(128, "lab", stride=16, length=128).eval()
    backbone.load_image_weights(weights)
    clip = clips(1, 128)[0]
    image = (clip / 40 + 1).T.expand(3, -1, -1) / 3  # bands are rows; the mean of three filters is a third of their sum
    wanted = image_model_output(weights, image, layers, heads)
    found = backbone(clip[None], torch.tensor([128]))[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_an_image_models_positions_are_interpolated_and_other_models_refused():
    backbone = TransformerBackbone(128, "lab", stride=10, length=400)
    backbone.load_image_weights(image_model(64, 4, side=14))
    assert backbone.positions.shape == (1, 64, 39, 12)
    for wrong in (image_model(64, 3, side=14), image_model(32, 4, side=14), {}):
        with pytest.raises(LabError, match="a vision transformer of 4 layers of width 64"):
            backbone.load_image_weights(wrong)


@pytest.mark.parametrize("options", [{"size": "huge"}, {"n_mels": 12}, {"stride": 0}, {"stride": 17}, {"length": 0}])
def test_impossible_transformers_are_refused(options):
    with pytest.raises(LabError, match="were expected, not"):
        TransformerBackbone(**options)


def test_image_weights_need_a_size_and_timm():
    with pytest.raises(LabError, match="a --size among tiny, small, base was expected with it, not lab"):
        image_weights("lab")


def test_the_step_ends_scores_again_and_goes_on(tmp_path, capsys, monkeypatch):
    small = write_small_data(tmp_path / "data")
    flags = ["--data", str(small.path), "--no-cache", "--out", str(tmp_path / "runs"), "--no-baselines"]
    (row,) = step7_ast.main([*flags, "--epochs", "2", "--batch-size", "8"])
    checkpoint = tmp_path / "runs/step7_ast/mel_seed0/best.pt"
    (again,) = evaluate.main([str(checkpoint), "--no-cache", "--out", str(tmp_path / "runs")])
    assert row["test_acc"] == again["test_acc"] and "RESULT step7_ast test_acc=" in capsys.readouterr().out
    model = build_model(["transformer", "mel", "lab", 10, 70], ["a", "b", "c"])
    assert model.backbone.positions.shape == (1, 64, 6, 12)
    with pytest.raises(LabError, match="its architecture is"):
        build_model(["transformer", "mel", "huge", 10, 70], ["a", "b"])
