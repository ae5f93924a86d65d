"""Networks of the tuned recipe: standardised input, fewer frames, and an LSTM pooled over the whole clip."""

import torch
from torch import nn

from common.models import CNNBackbone
from extras.speed.fast_lstm import bidirectional_lstm


class FrontEnd(nn.Module):
    """Standardises each feature, subtracts a clip's own mean, and averages frames in groups.

    x (B, T, F), lengths (B,) -> (B, T // every, F), lengths in groups.

    Args:
        mean, std: (F,), over all frames of the training clips.
        every: frames in a group. A clip shorter than a group counts as one group.
        subtract_mean: per-clip mean subtraction: this fraction, 0 to 1, of a mel band's mean over the clip is
            subtracted. A fixed filter, such as an album's mastering, adds a constant to a band in dB; with 1 it changes
            no output (S. Furui, "Cepstral analysis technique for automatic speaker verification", 1981).
    Frames at or beyond a clip's length become 0, the mean, so that padding is neither loud nor silent.
    """

    def __init__(self, mean, std, every=1, subtract_mean=0.0):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", std)  # this name and the next are those of saved checkpoints
        self.register_buffer("centred", torch.tensor(float(subtract_mean)))
        self.every = every

    def forward(self, x, lengths):
        frames = max(1, x.shape[1] // self.every) * self.every
        x = nn.functional.pad((x - self.mean) / self.deviation, (0, 0, 0, max(0, frames - x.shape[1])))[:, :frames]
        groups = (lengths // self.every).clamp(min=1)  # whole groups; the frames behind them are dropped
        used = torch.minimum(lengths, groups * self.every)
        real = (torch.arange(frames, device=x.device) < used[:, None])[:, :, None]
        own = (x * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        x = (x - self.centred * own) * real
        return x.unflatten(1, (-1, self.every)).mean(dim=2), groups  # (B, T, F) -> (B, T / every, F)


def mean_and_std_over_time(x, lengths):
    """Mean and std over each clip's real frames: x (B, C, T, F), zeros behind a clip's end -> (B, 2 C F)."""
    real = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None, :, None]
    count = lengths[:, None, None].to(x.dtype)
    mean = x.sum(dim=2) / count
    variance = ((x - mean[:, :, None]) * real).square().sum(dim=2) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1).flatten(1)  # the gradient of a root is infinite at 0


class TunedCNN(nn.Module):
    """The write-up's CNN on standardised input, with dropout on its features.

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
    """The CNN's stages, a bidirectional LSTM over their frames, and mean and std of its states over time.

    A convolutional recurrent network: the stages detect sounds, the LSTM models their order (K. Choi et al.,
    "Convolutional recurrent neural networks for music classification", 2017). It has as many of the four stages as the
    width allows: three for 12 chroma bins. x (B, T, width), lengths (B,) -> (B, feature_size). More padding changes no
    result in evaluation.
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
        return self.finish(mean_and_std_over_time((states * real).transpose(1, 2)[..., None], lengths))


KINDS = ("tuned-cnn", "tuned-lstm")


def tuned_backbone(kind, width, every, mean=None, std=None, subtract_mean=0.0, dropout=0.0):
    """A backbone of this kind, one of KINDS, on `width` features; every, mean, std and subtract_mean: see FrontEnd.

    A checkpoint's weights hold mean, std and subtract_mean too: without them a network can be built and then loaded.
    """
    mean = torch.zeros(width) if mean is None else mean
    std = torch.ones(width) if std is None else std
    networks = {"tuned-cnn": TunedCNN, "tuned-lstm": TunedLSTM}
    if kind in networks:
        return networks[kind](FrontEnd(mean, std, every, subtract_mean), width, dropout)
    raise ValueError(f"one of {', '.join(KINDS)} was expected, not {kind}")
