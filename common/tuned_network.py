"""The tuned recipe's networks: standardised input, fewer frames, and statistics over the whole clip in place of one last state."""

import torch
from torch import nn

from common.models import ConvStage, bidirectional_lstm, mask_padding


class FrontEnd(nn.Module):
    """Rows brought to mean 0 and deviation 1, and frames averaged in groups: (B, T, F), lengths (B,) -> (B, T // every, F), lengths.

    mean, deviation: (F,) of the training clips' frames; every: frames in a group. Frames at or beyond a clip's length become 0, the mean:
    padding is neither loud nor silent. A clip shorter than `shortest` groups counts as that long.
    """

    def __init__(self, mean, deviation, every=1, shortest=1):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.every, self.shortest = every, shortest

    def forward(self, x, lengths):
        frames = max(self.shortest * self.every, x.shape[1] // self.every * self.every)
        x = nn.functional.pad((x - self.mean) / self.deviation, (0, 0, 0, max(0, frames - x.shape[1])))[:, :frames]
        groups = (lengths // self.every).clamp(min=1)  # whole ones: the frames behind them are left out
        real = torch.arange(frames, device=x.device) < torch.minimum(lengths, groups * self.every)[:, None]
        x = (x * real[:, :, None]).unflatten(1, (-1, self.every)).mean(dim=2)  # (B, T, F) -> (B, T / every, F)
        return x, groups.clamp(min=self.shortest)


def over_time(x, lengths):
    """Mean and deviation over each clip's real frames: x (B, C, T, F), zeros behind a clip's end, lengths (B,) -> (B, 2 C F)."""
    real = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None, :, None]
    count = lengths[:, None, None].to(x.dtype)
    mean = x.sum(dim=2) / count
    variance = ((x - mean[:, :, None]) * real).square().sum(dim=2) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1).flatten(1)  # a root's slope at 0 is infinite


class StatisticsCNN(nn.Module):
    """Four stages as the write-up's CNN has them; the classifier meets mean and deviation over time of every stage, not of the last alone.

    What a clip sounds like lies in the first stages, what happens in it in the last ones (J. Lee and J. Nam, "Multi-level and multi-scale
    feature aggregation using pretrained convolutional neural networks for music auto-tagging", 2017). Each stage's rows are averaged to
    `bands` rows first, so that low and high stay apart.
    x (B, T, n_mels) dB, lengths (B,) -> (B, feature_size). More padding changes no result in evaluation.
    """

    def __init__(self, front_end, channels=(16, 32, 64, 128), bands=4, dropout=0.5):
        super().__init__()
        self.front_end, self.bands = front_end, bands
        stages = [ConvStage(inputs, outputs, kernel_size=3) for inputs, outputs in zip((1, *channels), channels, strict=False)]
        self.stages = nn.ModuleList(stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.feature_size = 2 * bands * sum(channels)
        self.finish = nn.Sequential(nn.BatchNorm1d(self.feature_size), nn.Dropout(dropout))

    def forward(self, x, lengths):
        x, lengths = self.front_end(x, lengths)
        x = nn.functional.pad(x, (0, 0, 0, x.shape[1] % 2 * self.training)).unsqueeze(1)  # frames go in pairs: (B, 1, T, F)
        found = []
        for stage in self.stages:
            lengths = lengths // 2
            x = mask_padding(stage(x), lengths)
            found.append(over_time(x.unflatten(3, (self.bands, -1)).mean(dim=4), lengths))
        return self.finish(torch.cat(found, dim=1))


class StatisticsLSTM(nn.Module):
    """An LSTM in both directions; the classifier meets mean and deviation over time of its states, not the last one alone.

    x (B, T, input_dim), lengths (B,) -> (B, feature_size). More padding changes no result.
    """

    def __init__(self, front_end, input_dim, rnn_size=128, num_layers=2, dropout=0.5):
        super().__init__()
        self.front_end = front_end
        self.lstm = nn.LSTM(input_dim, rnn_size, num_layers, batch_first=True, bidirectional=True, dropout=dropout / 2)
        self.feature_size = 4 * rnn_size
        self.finish = nn.Dropout(dropout)

    def forward(self, x, lengths):
        x, lengths = self.front_end(x, lengths)
        states = bidirectional_lstm(self.lstm, x, lengths)
        real = (torch.arange(states.shape[1], device=x.device) < lengths[:, None])[:, :, None]
        return self.finish(over_time((states * real).transpose(1, 2)[..., None], lengths))


KINDS = ("tuned-cnn", "tuned-lstm")


def tuned_backbone(kind, width, every, mean=None, deviation=None):
    """The network of this kind, one of KINDS, on `width` features, `every` frames averaged to one; mean and deviation as FrontEnd has them.

    Without these two they are 0 and 1 until a checkpoint's take their place.
    """
    mean = torch.zeros(width) if mean is None else mean
    deviation = torch.ones(width) if deviation is None else deviation
    if kind == "tuned-lstm":
        return StatisticsLSTM(FrontEnd(mean, deviation, every), width)
    if kind == "tuned-cnn":
        return StatisticsCNN(FrontEnd(mean, deviation, every, shortest=16))
    raise ValueError(f"one of {', '.join(KINDS)} was expected, not {kind}")
