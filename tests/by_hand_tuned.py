"""The tuned recipe by hand, without the project: its networks, their training, kernel ridge and extra trees."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import torch
from by_hand import (
    CNN,
    COLUMNS,
    Headed,
    batch_of,
    batches,
    halved,
    outputs,
    read_weights,
    svm_statistics,
    target_tensor,
)
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.preprocessing import QuantileTransformer
from small_data import CLASSES
from small_data import clip as make_clip
from torch import nn

PIECES = 4  # a clip and its thirds


# Networks


class FrontEnd(nn.Module):
    """Frames standardised, a fraction of the clip's own mean subtracted, and `every` frames averaged to one."""

    def __init__(self, mean, std, every, subtract_mean):
        super().__init__()
        for name, value in (("mean", mean), ("deviation", std), ("centred", subtract_mean)):  # as in checkpoints
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        self.every = every

    def forward(self, x, lengths):
        clips = []
        for clip, length in zip(x, lengths.tolist(), strict=True):
            clip = ((clip - self.mean) / self.deviation)[: length // self.every * self.every]
            clips.append((clip - self.centred * clip.mean(dim=0)).reshape(-1, self.every, clip.shape[1]).mean(dim=1))
        return nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


class TunedCNN(nn.Module):
    def __init__(self, front_end, width, dropout):
        super().__init__()
        self.front_end, self.stages, self.finish = front_end, CNN(width), nn.Dropout(dropout)
        self.feature_size = self.stages.feature_size

    def forward(self, x, lengths):
        return self.finish(self.stages(*self.front_end(x, lengths)))


class TunedLSTM(nn.Module):
    """As many of the CNN's stages as halve `width`, a bidirectional LSTM, and mean and std of its states."""

    def __init__(self, front_end, width, dropout):
        super().__init__()
        self.front_end, self.stages = front_end, CNN(width, (16, 32, 64, 128)[: int(math.log2(width))])
        self.lstm = nn.LSTM(self.stages.feature_size, 64, batch_first=True, bidirectional=True)
        self.feature_size, self.finish = 256, nn.Dropout(dropout)

    def forward(self, x, lengths):
        x, lengths = self.front_end(x, lengths)
        x = nn.functional.pad(x, (0, 0, 0, x.shape[1] % 2 if self.training else 0))[:, None]
        for stage in self.stages.stages:
            x, lengths = stage(x), lengths // 2
            x = x * (torch.arange(x.shape[2]) < lengths[:, None]).float()[:, None, :, None]
        packed = nn.utils.rnn.pack_padded_sequence(
            x.transpose(1, 2).flatten(2), lengths, batch_first=True, enforce_sorted=False
        )
        states = nn.utils.rnn.unpad_sequence(
            *nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True), batch_first=True
        )
        found = [torch.cat([each.mean(dim=0), (each.var(dim=0, unbiased=False) + 1e-5).sqrt()]) for each in states]
        return self.finish(torch.stack(found))


def mean_and_std_of(frames, ids, features):
    """Of all frames of these clips together, in float64."""
    together = np.concatenate([halved(frames[i].T)[:, COLUMNS[features]] for i in ids]).astype(np.float64)
    return together.mean(axis=0), together.std(axis=0)


def tuned_network(kind, frames, ids, features, outputs, every, subtract_mean, dropout=0.2):
    width = len(range(140)[COLUMNS[features]])
    mean, std = mean_and_std_of(frames, ids, features)
    return Headed(kind(FrontEnd(mean, std, every, subtract_mean), width, dropout), outputs)


def emotion_network(labels, *arguments, **choices):
    """labels (n, 3): the head starts at their mean, scaled by their std."""
    model = tuned_network(*arguments, **choices)
    with torch.no_grad():
        model.head.weight *= labels.std(dim=0)[:, None]
        model.head.bias[:] = labels.mean(dim=0)
    return model


# Training


def smoothed_cross_entropy(smoothing):
    def loss(logits, targets):
        targets = (1 - smoothing) * targets + smoothing / targets.shape[1]
        return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()

    return loss


def emotion_loss(labels, weight):
    std = labels.std(dim=0)

    def loss(outputs, targets):
        squared = (((outputs - targets) / std) ** 2).mean()
        correlations = [torch.corrcoef(torch.stack([outputs[:, k], targets[:, k]]))[0, 1] for k in range(3)]
        return (1 - weight) * squared + weight * (1 - sum(correlations) / 3)

    return loss


def lr_factor(epoch, epochs):
    """Learning rate as a fraction of its peak: linear for a tenth of the epochs, then half a cosine down to 0."""
    warmup = max(1, epochs // 10)
    if epoch < warmup:
        return (epoch + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (epoch - warmup) / (epochs - warmup))


def train_tuned(model, frames, ids, targets, loss_function, epochs, size, seed, features, lr=1e-3, decay=0.01):
    """Yields each epoch's training loss; targets: {id: class number or row of values}."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    for epoch in range(epochs):
        model.train()
        optimizer.param_groups[0]["lr"] = lr * lr_factor(epoch, epochs)
        total = 0.0
        for group in batches(ids, size, seed, epoch):
            (x, lengths), y = batch_of(frames, group, features), target_tensor(targets, group)
            loss = loss_function(model(x, lengths), torch.eye(model.head.out_features)[y] if y.dim() == 1 else y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(group)
        yield total / len(ids)


# Kernel ridge and extra trees


def harmony(chroma):
    means, order = chroma.mean(axis=0), (np.arange(12) + chroma.mean(axis=0).argmax()) % 12
    steps = np.vstack([np.zeros((1, 12)), np.abs(chroma[1:] - chroma[:-1])]).mean(axis=0)
    return np.concatenate([means[order], chroma.std(axis=0)[order], steps[order], np.sort(chroma, axis=1).mean(axis=0)])


def blocks(x, size, hop):
    if len(x) < size:
        x = x[np.arange(size) % len(x)]
    return np.array([x[start : start + size] for start in range(0, len(x) - size + 1, hop)])


def block_patterns(mel):
    """Six families of patterns (Seyerlehner et al., 2010) of (T, 128) dB."""
    levels = mel.reshape(len(mel), 32, 4).mean(axis=2)
    rises = np.maximum(levels[3:] - levels[:-3], 0) if len(levels) > 3 else 0 * levels
    onsets = np.sort(blocks(rises, 25, 5), axis=1)[:, [11, 14, 17, 20, 23]]
    contrast = np.ptp(mel.reshape(len(mel), 16, 8), axis=2)
    long = blocks(levels, 256, 64)
    spectrum = np.abs(np.fft.rfft(long - long.mean(axis=1, keepdims=True), axis=1)) ** 2 / 256
    hertz, edges = np.fft.rfftfreq(256, 512 / 22050), np.geomspace(0.47, 20, 14)
    bins = [spectrum[:, (hertz >= low) & (hertz < high)].mean(axis=1) for low, high in pairwise(edges)]
    centred = [each - each.mean(axis=0) for each in blocks(levels, 256, 128)]
    scaled = [each / (np.linalg.norm(each, axis=0) + 1e-6) for each in centred]
    pairs = [[row[i] @ row[j] for i in range(32) for j in range(i + 1, 32)] for row in (each.T for each in scaled)]
    return {
        "spectrum": np.percentile(np.sort(blocks(levels, 10, 5), axis=1)[:, [0, 3, 6, 9]], 90, axis=0).ravel(),
        "onsets": np.percentile(onsets, 90, axis=0).ravel(),
        "onset variance": np.log(onsets.var(axis=0) + 0.01).ravel(),
        "fluctuation": np.percentile(np.log(np.stack(bins, axis=1) + 0.01), 60, axis=0).ravel(),
        "correlation": np.median(pairs, axis=0),
        "contrast": np.percentile(np.sort(blocks(contrast, 40, 20), axis=1)[:, ::8], 10, axis=0).ravel(),
    }


def song_statistics(frames, ids, tilt=False):
    """{family: (n, 4, k)} of clips {id: (140, T)}; tilt: a random spectral tilt of 6 dB std for each third."""
    rng, found = np.random.default_rng(0), []
    for ident in ids:
        clip = halved(frames[ident].T).astype(np.float64)
        third = math.ceil(len(clip) / 3)
        pieces = [clip] + [
            clip[start : start + third].copy() for start in (0, (len(clip) - third) // 2, len(clip) - third)
        ]
        for piece in pieces[1:] if tilt else ():
            piece[:, :128] += np.interp(np.arange(128), np.linspace(0, 127, 5), 6 * rng.standard_normal(5))
        found.append(
            [
                {"cepstra": svm_statistics(p[:, :128]), "harmony": harmony(p[:, 128:]), **block_patterns(p[:, :128])}
                for p in pieces
            ]
        )
    return {name: np.array([[piece[name] for piece in clip] for clip in found]) for name in found[0][0]}


def kernel_ridge(train, targets, test):
    """(m, c): fitted on all pieces of the training clips, the mean over those of a test clip; targets (n, c)."""
    within, between = 0, 0
    for name in train:
        one, other = (split[name].reshape(-1, split[name].shape[-1]) for split in (train, test))
        quantiles = QuantileTransformer(n_quantiles=min(100, len(one)), output_distribution="normal").fit(one)
        one, other = quantiles.transform(one), quantiles.transform(other)
        own, cross = (((split[:, None, :] - one[None]) ** 2).sum(axis=2) for split in (one, other))
        unit = np.median(own) or 1  # 0 where most of the pieces are too short to differ
        within, between = within + own / unit, between + cross / unit
    within, between = (np.exp(-0.5 * distances / len(train)) for distances in (within, between))
    mean = targets.mean(axis=0)
    weights = np.linalg.solve(within + 0.1 * np.eye(len(within)), np.repeat(targets - mean, PIECES, axis=0))
    return (between @ weights).reshape(-1, PIECES, targets.shape[1]).mean(axis=1) + mean


def whole_clips(statistics):
    return np.hstack([statistics[name][:, 0] for name in ("cepstra", "harmony")])


def class_probabilities(frames, train_ids, numbers, test_frames, test_ids):
    """(m, classes): two thirds of the kernel ridge's softmax and one of the trees' votes."""
    train, test = song_statistics(frames, train_ids, tilt=True), song_statistics(test_frames, test_ids)
    values = np.exp(kernel_ridge(train, np.eye(max(numbers) + 1)[numbers], test) / 0.15)
    trees = ExtraTreesClassifier(500, max_features=0.2, random_state=0).fit(whole_clips(train), numbers)
    return 2 / 3 * values / values.sum(axis=1, keepdims=True) + trees.predict_proba(whole_clips(test)) / 3


def axis_values(frames, train_ids, targets, test_frames, test_ids):
    """(m, 3): two thirds of the kernel ridge's values and one of the trees'."""
    train, test = song_statistics(frames, train_ids, tilt=True), song_statistics(test_frames, test_ids)
    trees = ExtraTreesRegressor(500, max_features=0.2, min_samples_leaf=2, random_state=0)
    by_trees = [trees.fit(whole_clips(train), column).predict(whole_clips(test)) for column in targets.T]
    return 2 / 3 * kernel_ridge(train, targets, test) + np.stack(by_trees, axis=1) / 3


# Clips and files


def longest(frames, ids):
    return max(frames[i].shape[1] for i in ids)


def cut(frames, length):
    """Clips are cut to the longest of those that a network was made for."""
    return {i: array[:, :length] for i, array in frames.items()}


def long_clips(values, hidden):
    """{split: {id: frames}} for labelled clips {id: (valence, energy, danceability)} and unlabelled ones.

    They are so long that there are several blocks of 256 frames.
    """
    rng = np.random.default_rng(9)
    train = {
        i: make_clip(rng, int(rng.integers(340, 420)), 25 * (d - 0.3), 12 * (e - 0.5))
        for i, (_, e, d) in values.items()
    }
    return {"train": train, "test": {i: make_clip(rng, int(rng.integers(340, 420)), 0.0) for i in hidden}}


def long_genre_clips(labels, longest):
    """{id: frames} for {id: class}, as long; the classes differ in tilt, but not by much."""
    rng, tilts = np.random.default_rng(longest), {name: 5 * k for k, name in enumerate(CLASSES)}
    return {
        i: make_clip(rng, int(rng.integers(340, longest)), tilts[name] + 4 * rng.normal()) for i, name in labels.items()
    }


def saved_value(path, name):
    """The first value of this name in a saved state of training, the optimizer's own."""
    return float(re.search(rf'\["{name}", ([^\]]+)\]', json.dumps(read_weights(path)[1])).group(1))


def restored(path, network, frames, ids, features="mel"):
    """{id: output} of a checkpoint's network on these clips."""
    network.load_state_dict(read_weights(path)[0])
    return outputs(network, frames, ids, features=features)
