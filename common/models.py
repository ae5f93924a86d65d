"""The networks of steps 5 to 10: model(x, lengths) returns outputs only, logits or values, never a loss."""

import torch
from torch import nn

from common.errors import LabError
from common.misuse import check_image


class LSTMBackbone(nn.Module):
    """An LSTM over the frames; its state at the last real frame stands for the clip.

    Args: input_dim, features per frame (128 mel, 12 chroma, 140 fused); rnn_size, units per direction; num_layers;
    bidirectional, a second LSTM that reads each clip backwards; dropout, between layers, in 0..1. x (B, T, input_dim)
    float, lengths (B,) int64, clamped to 1..T; returns (B, feature_size), feature_size = rnn_size x directions. Frames
    at or beyond a clip's length never change its result.
    """

    def __init__(self, input_dim, rnn_size=128, num_layers=1, bidirectional=False, dropout=0.0):
        super().__init__()
        options = {"batch_first": True, "bidirectional": bidirectional, "dropout": dropout}
        self.lstm = nn.LSTM(input_dim, rnn_size, num_layers, **options)
        self.feature_size = rnn_size * (2 if bidirectional else 1)

    def forward(self, x, lengths):
        if not self.lstm.bidirectional:
            return last_frame(self.lstm(x)[0], lengths)  # the padding comes after the frame that is read
        real = lengths.clamp(1, x.shape[1]).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, real, batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)  # (layers x directions, B, rnn_size)
        return torch.cat([hidden[-2], hidden[-1]], dim=1)  # the last layer, forwards and backwards


def last_frame(sequence, lengths):
    """The state at each clip's last real frame: (B, T, H), lengths (B,), clamped to 1..T -> (B, H)."""
    last = lengths.clamp(1, sequence.shape[1]) - 1
    return sequence[torch.arange(len(sequence), device=sequence.device), last]


class CNNBackbone(nn.Module):
    """The write-up's four stages of convolution, batch norm, pooling and ReLU on the spectrogram as an image.

    Args: n_mels, height of the image (at least 2 ** stages); channels, filters of each stage; kernel_size, odd.
    x (B, T, n_mels) float, lengths (B,) int64, clamped to 1..T; returns (B, feature_size): the mean of each filter over
    the clip's real frames, for each of the frequency bands that the pooling leaves. Padding is masked after every
    stage, so that more of it changes no result in evaluation. In training batch norm's statistics include the padded
    frames, and one more where their number is odd, since pooling takes frames in pairs. A clip shorter than 2 ** stages
    frames counts as that long. Raises LabError for a network without features.
    """

    def __init__(self, n_mels=128, channels=(16, 32, 64, 128), kernel_size=3):
        super().__init__()
        check_image(n_mels, channels, kernel_size)
        stages, inputs = [], 1
        for outputs in channels:
            convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
            # pooling before ReLU: both keep the order of values, so a quarter is left to do
            stages.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU()))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.feature_size = channels[-1] * (n_mels >> len(channels))

    def forward(self, x, lengths):
        x, lengths = self.frames(x, lengths)
        return (x.sum(dim=2) / lengths[:, None, None]).flatten(1)  # (B, C, T', F') -> (B, C x F')

    def frames(self, x, lengths):
        """The last stage's output, zeros behind each clip's end: (B, C, T', F'), and its real frames: (B,)."""
        shortest = 2 ** len(self.stages)
        lengths = lengths.clamp(shortest, max(shortest, x.shape[1]))
        frames = max(shortest, x.shape[1] + x.shape[1] % 2 * self.training)
        x = nn.functional.pad(x, (0, 0, 0, frames - x.shape[1]))
        x = x.unsqueeze(1)  # (B, T, F) -> (B, 1, T, F)
        for stage in self.stages:
            lengths = lengths // 2
            x = mask_padding(stage(x), lengths)  # (B, C, T / 2, F / 2)
        return x, lengths


def mask_padding(x, lengths):
    """Zeros in every frame at or beyond a clip's length: x (B, C, T, F), lengths (B,)."""
    real = torch.arange(x.shape[2], device=x.device) < lengths[:, None]  # (B, T)
    return x * real[:, None, :, None]


class Classifier(nn.Module):
    """A backbone and one linear layer: (B, T, F), (B,) -> logits (B, num_classes), of at least two classes."""

    def __init__(self, backbone, num_classes):
        super().__init__()
        if num_classes < 2:
            raise LabError(f"at least two classes were expected, not {num_classes}")
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_size, num_classes)

    def forward(self, x, lengths):
        return self.head(self.backbone(x, lengths))


class Regressor(nn.Module):
    """A backbone and one linear output: (B, T, F), (B,) -> values (B,), the shape of their targets."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_size, 1)

    def forward(self, x, lengths):
        return self.head(self.backbone(x, lengths)).squeeze(-1)


class MultitaskRegressor(nn.Module):
    """A backbone and one linear output for each axis: (B, T, F), (B,) -> values (B, num_axes)."""

    def __init__(self, backbone, num_axes=3):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_size, num_axes)

    def forward(self, x, lengths):
        return self.head(self.backbone(x, lengths))
