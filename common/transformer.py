"""The audio spectrogram transformer of later years of the lab (step 7.2 of 2024-25), from scratch or from an image model.

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021, arXiv:2104.01778.
"""

import torch
from torch import nn

from common.errors import LabError

PATCH = 16  # frames and mel bands of a patch, as in the paper
# width, layers, heads: "lab" is sized for a CPU, the others are DeiT's (Touvron et al. 2021); the paper's is "base"
SIZES = {"lab": (64, 4, 4), "tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}


class TransformerBackbone(nn.Module):
    """A transformer over overlapping patches of 16 x 16 of the spectrogram; the state of its class token is the clip's.

    Args: n_mels, at least 16; size, a key of SIZES; stride, from one patch to the next, in frames and in bands; length,
    of the longest training clip in frames: a position is learnt for each patch up to there, and interpolated in clips
    that are longer. x (B, T, n_mels) float, dB re clip maximum in -80..0; lengths (B,) int64, clamped to 1..T; returns
    (B, feature_size). Only patches that lie within the clip are looked at, at least the first of a band, so that
    padding never changes a result.
    """

    def __init__(self, n_mels=128, size="lab", stride=10, length=1292):
        super().__init__()
        if size not in SIZES or n_mels < PATCH or not 1 <= stride <= PATCH or length < 1:
            expected = f"a size among {', '.join(SIZES)}, n_mels from {PATCH} on, a stride of 1 to {PATCH} and a length"
            raise LabError(f"{expected} were expected, not {size}, {n_mels}, {stride}, {length}")
        width, layers, heads = SIZES[size]
        self.stride, self.feature_size = stride, width
        self.patches = nn.Conv2d(1, width, PATCH, stride=stride)  # each patch, (frames, bands), to `width` numbers
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.class_position = nn.Parameter(0.02 * torch.randn(1, 1, width))
        grid = (max(length, PATCH) - PATCH) // stride + 1, (n_mels - PATCH) // stride + 1
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, *grid))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x, lengths):
        lengths = lengths.clamp(1, x.shape[1])
        x = nn.functional.pad(x / 40 + 1, (0, 0, 0, max(0, PATCH - x.shape[1])))  # -80..0 dB to -1..1
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, T)
        patches = self.patches((x * inside[..., None]).unsqueeze(1))  # (B, width, T', F')
        frames, bands = patches.shape[2:]
        tokens = (patches + self.positions_for(frames, lengths)).flatten(2).transpose(1, 2)  # (B, T' x F', width)
        first = (self.class_token + self.class_position).expand(len(x), 1, -1)
        ends = torch.arange(frames, device=x.device) * self.stride + PATCH
        outside = (ends > lengths[:, None].clamp(min=PATCH)).repeat_interleave(bands, dim=1)  # (B, T' x F')
        masked = torch.cat([outside.new_zeros(len(x), 1), outside], dim=1)
        return self.encoder(torch.cat([first, tokens], dim=1), src_key_padding_mask=masked)[:, 0]

    def positions_for(self, frames, lengths):
        """The positions of `frames` patches in time, (1 or B, width, frames, F'); each longer clip's are interpolated."""
        learnt, bands = self.positions.shape[2:]
        if frames <= learnt:
            return self.positions[:, :, :frames]
        found = []
        for own in ((lengths - PATCH).clamp(min=0) // self.stride + 1).tolist():
            size = max(own, learnt), bands
            positions = nn.functional.interpolate(self.positions, size, mode="bilinear", align_corners=False)
            found.append(nn.functional.pad(positions, (0, 0, 0, frames - size[0])))  # what is behind own is masked
        return torch.cat(found)

    def load_image_weights(self, weights):
        """Takes over an image model's weights, a state dict of a timm DeiT or ViT of this size with patches of 16 x 16.

        As in the paper, section 2.2: the filters of the patches are averaged over the three colours, the square grid of
        positions is cut or interpolated to this one, and the layers are taken as they are. Image models read bands as
        rows and frames as columns, so both are transposed. Raises LabError where names or shapes are not as expected.
        """
        width, layers = self.feature_size, len(self.encoder.layers)
        try:
            filters, positions = weights["patch_embed.proj.weight"], weights["pos_embed"]
            side = round((positions.shape[1] - 1) ** 0.5)
            square = positions[:, 1:].transpose(1, 2).reshape(1, width, side, side).transpose(2, 3)
            size = self.positions.shape[2:]
            grid = nn.functional.interpolate(square, size, mode="bilinear", align_corners=False)
            found = {
                "patches.weight": filters.mean(dim=1, keepdim=True).transpose(2, 3),
                "patches.bias": weights["patch_embed.proj.bias"],
                "class_token": weights["cls_token"],
                "class_position": positions[:, :1],
                "positions": grid,
                "encoder.norm.weight": weights["norm.weight"],
                "encoder.norm.bias": weights["norm.bias"],
            }
            for number in range(layers):
                for ours, theirs in LAYER_NAMES.items():
                    found[f"encoder.layers.{number}.{ours}"] = weights[f"blocks.{number}.{theirs}"]
            self.load_state_dict(found)
        except (KeyError, RuntimeError) as error:
            expected = f"a vision transformer of {layers} layers of width {width} with patches of {PATCH} was expected"
            raise LabError(f"{expected} ({str(error).splitlines()[0][:150]})") from error


# parts of a layer: PyTorch's names, timm's names
LAYER_NAMES = {
    f"{ours}.{kind}" if ours != "self_attn.in_proj_" else f"{ours}{kind}": f"{theirs}.{kind}"
    for kind in ("weight", "bias")
    for ours, theirs in {
        "norm1": "norm1",
        "self_attn.in_proj_": "attn.qkv",
        "self_attn.out_proj": "attn.proj",
        "norm2": "norm2",
        "linear1": "mlp.fc1",
        "linear2": "mlp.fc2",
    }.items()
}
