"""What the steps compute, written again in numpy and plain PyTorch as a reader of the assignment would, importing
nothing of the project.

The tests of tests/test_numbers_*.py compare every number that a script prints or saves with what these functions get
from the data. Networks have the same parameter names and are made in the same order, so that a seed gives the same
initial weights and a checkpoint fits.
"""

import json
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

COLUMNS = {"mel": slice(0, 128), "chroma": slice(128, 140), "fused": slice(0, 140)}


# Networks


class LSTM(nn.Module):
    """The state at each clip's last real frame, by packing; one direction or two."""

    def __init__(self, inputs, size=128, layers=2, bidirectional=False, dropout=0.0):
        super().__init__()
        self.lstm = nn.LSTM(inputs, size, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout)
        self.feature_size = size * (1 + bidirectional)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        return torch.cat(list(hidden[-2:]), dim=1) if self.lstm.bidirectional else hidden[-1]


class CNN(nn.Module):
    """Four stages of convolution, batch norm, ReLU and pooling; frames behind a clip's end are 0 after every stage;
    mean over time.
    """

    def __init__(self, bands=128, channels=(16, 32, 64, 128)):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ReLU())
            for before, after in zip((1, *channels), channels, strict=False)
        )
        self.feature_size = channels[-1] * (bands // 2 ** len(channels))

    def forward(self, x, lengths):
        if self.training and x.shape[1] % 2:  # frames go in pairs, so batch norm counts one more
            x = functional.pad(x, (0, 0, 0, 1))
        x = x[:, None]
        for stage in self.stages:
            x, lengths = stage(x), lengths // 2
            x = torch.stack(
                [
                    torch.cat([clip[:, :n], torch.zeros_like(clip[:, n:])], dim=1)
                    for clip, n in zip(x, lengths, strict=True)
                ]
            )
        return torch.stack([clip.sum(dim=1).flatten() / n for clip, n in zip(x, lengths, strict=True)])


class Headed(nn.Module):
    """A backbone and a linear layer; squeezed: one output a clip."""

    def __init__(self, backbone, outputs, squeezed=False):
        super().__init__()
        self.backbone, self.head, self.squeezed = backbone, nn.Linear(backbone.feature_size, outputs), squeezed

    def forward(self, x, lengths):
        out = self.head(self.backbone(x, lengths))
        return out[:, 0] if self.squeezed else out


# Data


def halved(array):
    """Values as the cache keeps them: read in single precision, rounded to half."""
    return array.astype(np.float32).astype(np.float16).astype(np.float32)


def batch_of(frames, ids, features="mel"):
    """x (B, longest, F) float32 padded with zeros, and lengths (B,), of clips {id: (140, T)}."""
    clips = [halved(frames[ident].T)[:, COLUMNS[features]] for ident in ids]
    lengths = [len(each) for each in clips]
    x = np.zeros((len(ids), max(lengths), clips[0].shape[1]), dtype=np.float32)
    for row, each in zip(x, clips, strict=True):
        row[: len(each)] = each
    return torch.from_numpy(x), torch.tensor(lengths)


def split(ids, share, seed):
    """(validation ids, training ids): a random share of the ids, rounded down, by numpy's generator of this seed."""
    order = np.random.default_rng(seed).permutation(len(ids))
    held_out = math.floor(share * len(ids))
    return [ids[k] for k in order[:held_out]], [ids[k] for k in order[held_out:]]


def emotion_split(ids, seed):
    """(train, val, test): of the ids in their order, a fifth to test, a third of the rest to validate."""
    test, rest = split(sorted(ids), 0.2, seed)
    val, train = split(rest, 0.33, seed)
    return train, val, test


def batches(ids, size, seed=None, epoch=0):
    """Lists of ids: in their order where seed is None, else in the order of this epoch's shuffle."""
    order = range(len(ids)) if seed is None else np.random.default_rng((seed, epoch)).permutation(len(ids))
    ids = [ids[k] for k in order]
    return [ids[start : start + size] for start in range(0, len(ids), size)]


# Losses


def squared_softmax(logits, targets):
    return ((logits.softmax(1) - torch.eye(logits.shape[1])[targets]) ** 2).mean()


def weighted_axes(weights):
    def loss(outputs, targets):
        return sum(weight * ((outputs[:, k] - targets[:, k]) ** 2).mean() for k, weight in enumerate(weights))

    return loss


# Training and evaluation


def train(
    model,
    frames,
    ids,
    targets,
    loss_function,
    epochs,
    size,
    seed,
    val_ids=(),
    lr=1e-3,
    weight_decay=0.0,
    features="mel",
):
    """Yields (training loss, {val id: output}, validation loss) of each epoch, the model being trained on; targets:
    {id: number or row}.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr, weight_decay=weight_decay)
    for epoch in range(epochs):
        model.train()
        for part in model.children():
            if not any(weight.requires_grad for weight in part.parameters()):
                part.eval()
        total = 0.0
        for group in batches(ids, size, seed, epoch):
            loss = loss_function(model(*batch_of(frames, group, features)), target_tensor(targets, group))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(group)
        found = outputs(model, frames, val_ids, size, features)
        yield total / len(ids), found, mean_loss(found, targets, loss_function) if found else None


def target_tensor(targets, ids):
    values = [targets[ident] for ident in ids]
    return torch.tensor(values) if isinstance(values[0], int) else torch.tensor(np.array(values, dtype=np.float32))


@torch.no_grad()
def outputs(model, frames, ids, size=64, features="mel"):
    """{id: output, a float32 array} in evaluation mode."""
    model.eval()
    return {
        ident: row
        for group in batches(list(ids), size)
        for ident, row in zip(group, model(*batch_of(frames, group, features)).numpy(), strict=True)
    }


def mean_loss(found, targets, loss_function):
    """The loss over all clips at once: a mean over clips, however they were batched."""
    ids = list(found)
    return loss_function(torch.tensor(np.stack([found[ident] for ident in ids])), target_tensor(targets, ids)).item()


def accuracy(found, targets):
    return float(np.mean([int(np.argmax(row)) == targets[ident] for ident, row in found.items()]))


# Files that the scripts leave behind


def read_weights(path):
    """(state dict, metadata) of a checkpoint, with PyTorch's own reader."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return saved["weights"], json.loads(saved["metadata"])


# Models without a network


def mean_and_std(mel):
    """(T, F) -> (2 F,) over time, what the linear model sees."""
    return np.concatenate([mel.mean(axis=0), mel.std(axis=0)])


def svm_statistics(mel):
    """(T, 128) dB -> (476,): cepstra and their steps, percentiles and changes of every fourth band, modulation,
    covariance.
    """
    band, number = np.arange(128), np.arange(40)[:, None]
    cosines = np.cos(np.pi * number * (2 * band + 1) / 256) * np.where(number == 0, np.sqrt(1 / 128), np.sqrt(2 / 128))
    cepstra, levels = mel @ cosines.T, mel[:, 0::4]
    steps, changes = (np.vstack([np.zeros((1, x.shape[1])), x[1:] - x[:-1]]) for x in (cepstra, levels))
    found = [cepstra.mean(axis=0), cepstra.std(axis=0), steps.std(axis=0), np.abs(steps).mean(axis=0)]
    found += [np.percentile(levels, percent, axis=0) for percent in (10, 50, 90)]
    found += [changes.std(axis=0), np.where(changes > 0, changes, 0).mean(axis=0)]
    first = cepstra[:, :13] - cepstra[:, :13].mean(axis=0)
    power, hertz = np.abs(np.fft.rfft(first, axis=0)) ** 2 / len(first), np.fft.rfftfreq(len(first), 512 / 22050)
    for low in (0.5, 1, 2, 4, 8):
        found.append(np.log(1e-3 + power[(hertz >= low) & (hertz < 2 * low)].sum(axis=0)))
    covariance = np.cov(first.T, bias=True)
    found.append([covariance[i, j] for i in range(13) for j in range(i, 13)])
    return np.concatenate(found)
