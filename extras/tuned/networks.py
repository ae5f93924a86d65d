"""The tuned recipe's networks: standardised input, fewer frames, and statistics over the whole clip in place of one
last state.
"""

import torch
from torch import nn

from common.models import CNNBackbone
from extras.speed.fast_lstm import bidirectional_lstm


class FrontEnd(nn.Module):
    """Rows brought to mean 0 and deviation 1, and frames averaged in groups: (B, T, F), lengths (B,) -> (B, T // every,
    F), lengths.

    mean, deviation: (F,) of the training clips' frames; every: frames in a group; centred: share of each clip's own
    mean over time that is taken from its rows. A fixed filter, such as an album's mastering, adds a constant to a row
    in dB: with 1 the network cannot hear it (S. Furui, "Cepstral analysis technique for automatic speaker
    verification", 1981). Frames at or beyond a clip's length become 0, the
    mean: padding is neither loud nor silent. A clip shorter than a group counts as one.
    """

    def __init__(self, mean, deviation, every=1, centred=0.0):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("centred", torch.tensor(float(centred)))
        self.every = every

    def forward(self, x, lengths):
        frames = max(1, x.shape[1] // self.every) * self.every
        x = nn.functional.pad((x - self.mean) / self.deviation, (0, 0, 0, max(0, frames - x.shape[1])))[:, :frames]
        groups = (lengths // self.every).clamp(min=1)  # whole ones: the frames behind them are left out
        real = (torch.arange(frames, device=x.device) < torch.minimum(lengths, groups * self.every)[:, None])[
            :, :, None
        ]
        own = (x * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        x = (x - self.centred * own) * real
        return x.unflatten(1, (-1, self.every)).mean(dim=2), groups  # (B, T, F) -> (B, T / every, F)


def over_time(x, lengths):
    """Mean and deviation over each clip's real frames: x (B, C, T, F), zeros behind a clip's end, lengths (B,) -> (B, 2
    C F).
    """
    real = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None, :, None]
    count = lengths[:, None, None].to(x.dtype)
    mean = x.sum(dim=2) / count
    variance = ((x - mean[:, :, None]) * real).square().sum(dim=2) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1).flatten(1)  # a root's slope at 0 is infinite


class TunedCNN(nn.Module):
    """The write-up's four stages on standardised rows; its classifier meets the same means over time, some of them
    hidden in training.

    x (B, T, n_mels) dB, lengths (B,) -> (B, feature_size). More padding changes no result in evaluation.
    """

    def __init__(self, front_end, n_mels, dropout):
        super().__init__()
        self.front_end, self.stages = front_end, CNNBackbone(n_mels)
        self.feature_size = self.stages.feature_size
        self.finish = nn.Dropout(dropout)

    def forward(self, x, lengths):
        return self.finish(self.stages(*self.front_end(x, lengths)))


class TunedLSTM(nn.Module):
    """Stages as the CNN's, and an LSTM in both directions over what they leave of the frames, read by mean and
    deviation of its states.

    The stages find what sounds, the LSTM in which order (K. Choi et al., "Convolutional recurrent neural networks for
    music classification", 2017). As many of the four stages as the rows allow: chroma has twelve. x (B, T, width),
    lengths (B,) -> (B, feature_size). More padding changes no result in evaluation.
    """

    def __init__(self, front_end, width, dropout, rnn_size=64):
        super().__init__()
        self.front_end = front_end
        self.stages = CNNBackbone(width, (16, 32, 64, 128)[: width.bit_length() - 1])
        self.lstm = nn.LSTM(self.stages.feature_size, rnn_size, batch_first=True, bidirectional=True)
        self.feature_size = 4 * rnn_size
        self.finish = nn.Dropout(dropout)

    def forward(self, x, lengths):
        x, lengths = self.stages.frames(*self.front_end(x, lengths))  # (B, C, T', F')
        states = bidirectional_lstm(self.lstm, x.transpose(1, 2).flatten(2), lengths)
        real = (torch.arange(states.shape[1], device=x.device) < lengths[:, None])[:, :, None]
        return self.finish(over_time((states * real).transpose(1, 2)[..., None], lengths))


KINDS = ("tuned-cnn", "tuned-lstm")


def tuned_backbone(kind, width, every, mean=None, deviation=None, centred=0.0, dropout=0.0):
    """The network of this kind, one of KINDS, on `width` features; every, mean, deviation and centred as FrontEnd has
    them.

    Without mean and deviation they are 0 and 1 until a checkpoint's take their place, and that of centred.
    """
    mean = torch.zeros(width) if mean is None else mean
    deviation = torch.ones(width) if deviation is None else deviation
    networks = {"tuned-cnn": TunedCNN, "tuned-lstm": TunedLSTM}
    if kind in networks:
        return networks[kind](FrontEnd(mean, deviation, every, centred), width, dropout)
    raise ValueError(f"one of {', '.join(KINDS)} was expected, not {kind}")
