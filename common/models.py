"""The networks of steps 5 to 10. Every one is called model(x, lengths) and returns outputs only: logits or values, never a loss."""

import torch
from torch import nn

from common.fast_cnn import conv_pool_eval, conv_pool_stage


class LSTMBackbone(nn.Module):
    """An LSTM over the frames, summarised by its state when it has read the last real frame.

    Args: input_dim, features per frame (128 mel, 12 chroma, 140 fused); rnn_size, units per direction; num_layers;
    bidirectional, a second LSTM that reads each clip backwards; dropout, between layers, in 0..1.
    x (B, T, input_dim) float, lengths (B,) int64 in 1..T; returns (B, feature_size), feature_size = rnn_size x directions.
    Frames at or beyond a clip's length never reach its result.
    """

    def __init__(self, input_dim, rnn_size=128, num_layers=1, bidirectional=False, dropout=0.0):
        super().__init__()
        between = dropout if num_layers > 1 else 0.0  # nn.LSTM warns about dropout that one layer cannot use
        self.lstm = nn.LSTM(input_dim, rnn_size, num_layers, batch_first=True, bidirectional=bidirectional, dropout=between)
        self.feature_size = rnn_size * (2 if bidirectional else 1)

    def forward(self, x, lengths):
        if not self.lstm.bidirectional:
            return last_frame(self.lstm(x)[0], lengths)  # the padding comes after the frame that is read
        states = bidirectional_lstm(self.lstm, x, lengths)
        size = self.lstm.hidden_size
        return torch.cat([last_frame(states[:, :, :size], lengths), states[:, 0, size:]], dim=1)  # backwards, frame 0 is the last


def last_frame(sequence, lengths):
    """The state at each clip's last real frame: (B, T, H), lengths (B,) -> (B, H)."""
    return sequence[torch.arange(len(sequence), device=sequence.device), lengths - 1]


def reverse_within_length(sequence, lengths):
    """Each clip backwards within its own length, (B, T, F) -> (B, T, F); what lies behind its end becomes a copy of its first frame."""
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    backwards = (lengths[:, None] - 1 - steps).clamp(min=0)
    return sequence.gather(1, backwards[:, :, None].expand_as(sequence))


def bidirectional_lstm(lstm, x, lengths):
    """What a bidirectional nn.LSTM gives on packed sequences, from padded ones: (B, T, F) -> (B, T, 2 x rnn_size).

    Packing walks the clips frame by frame; padded, each direction of a layer is one fused call, many times faster on a CPU.
    """
    weights = lstm.all_weights  # layer 0 forward, layer 0 backward, layer 1 forward, ...
    for layer in range(lstm.num_layers):
        forward = single_lstm(x, weights[2 * layer])
        backward = single_lstm(reverse_within_length(x, lengths), weights[2 * layer + 1])
        x = torch.cat([forward, reverse_within_length(backward, lengths)], dim=2)
        if layer < lstm.num_layers - 1:
            x = nn.functional.dropout(x, lstm.dropout, lstm.training)
    return x


def single_lstm(x, weights):
    """One layer in one direction from a zero state: (B, T, F) -> (B, T, rnn_size); weights as nn.LSTM.all_weights lists them."""
    state = x.new_zeros(1, len(x), weights[1].shape[1])
    return torch.lstm(x, (state, state), weights, True, 1, 0.0, False, False, True)[0]


class CNNBackbone(nn.Module):
    """The write-up's four stages of convolution, batch norm, ReLU and max pooling over the spectrogram as a one-channel image.

    Args: n_mels, height of the image (at least 2 ** stages); channels, filters of each stage; kernel_size, odd.
    x (B, T, n_mels) float, lengths (B,) int64; returns (B, feature_size): each filter's mean over the clip's real frames, for each of
    the frequency rows that the pooling leaves. Padding is masked after every stage, so that more of it changes no result in
    evaluation. In training batch norm's statistics include the padded frames, and one more where their number is odd: frames go in
    pairs. A clip shorter than 2 ** stages frames counts as that long.
    """

    def __init__(self, n_mels=128, channels=(16, 32, 64, 128), kernel_size=3):
        super().__init__()
        stages, inputs = [], 1
        for outputs in channels:
            stages.append(ConvStage(inputs, outputs, kernel_size))
            inputs = outputs
        self.stages = nn.ModuleList(stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.feature_size = channels[-1] * (n_mels >> len(channels))

    def forward(self, x, lengths):
        x, lengths = self.frames(x, lengths)
        return (x.sum(dim=2) / lengths[:, None, None]).flatten(1)  # (B, C, T', F') -> (B, C x F')

    def frames(self, x, lengths):
        """What the stages leave, zeros behind each clip's end: (B, C, T', F'), and how many of the frames are real: (B,)."""
        shortest = 2 ** len(self.stages)
        frames = max(shortest, x.shape[1] + x.shape[1] % 2 * self.training)
        x = nn.functional.pad(x, (0, 0, 0, frames - x.shape[1]))
        lengths = lengths.clamp(min=shortest)
        x = x.unsqueeze(1)  # (B, T, F) -> (B, 1, T, F)
        for stage in self.stages:
            lengths = lengths // 2
            x = mask_padding(stage(x), lengths)  # (B, C, T / 2, F / 2)
        return x, lengths


class ConvStage(nn.Sequential):
    """One stage: x (B, C, T, F) -> (B, C', T // 2, F // 2).

    Pooling stands before ReLU: both keep the order of values, so the result is the same and a quarter of it is left to do.
    On a CPU common/fast_cnn.py does the same work in another order.
    """

    def __init__(self, inputs, outputs, kernel_size):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2),
            nn.BatchNorm2d(outputs),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        if x.device.type != "cpu":
            return super().forward(x)
        conv, norm = self[0], self[1]
        if self.training:
            return conv_pool_stage(x, conv, norm)
        if torch.is_grad_enabled() and (x.requires_grad or conv.weight.requires_grad):
            return super().forward(x)
        return conv_pool_eval(x, conv, norm)


def mask_padding(x, lengths):
    """Zeros in every frame at or beyond a clip's length: x (B, C, T, F), lengths (B,); only frames that some clip lacks are touched."""
    shortest = int(lengths.min()) if x.device.type == "cpu" else 0  # to read it, a GPU would have to finish what it has begun
    if shortest >= x.shape[2]:
        return x
    frames = torch.arange(shortest, x.shape[2], device=x.device)
    real = (frames < lengths[:, None]).to(x.dtype)[:, None, :, None]
    return torch.cat([x[:, :, :shortest], x[:, :, shortest:] * real], dim=2)


class Classifier(nn.Module):
    """A backbone and one linear layer: (B, T, F), (B,) -> logits (B, num_classes)."""

    def __init__(self, backbone, num_classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_size, num_classes)

    def forward(self, x, lengths):
        return self.head(self.backbone(x, lengths))


class Regressor(nn.Module):
    """A backbone and one linear output: (B, T, F), (B,) -> values (B,), so that they meet targets (B,) without broadcasting."""

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
