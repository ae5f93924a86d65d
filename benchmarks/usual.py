"""The usual implementation, as in public solutions of this lab, to compare speed and memory with.

All files in a list, float64, padded at each access, NCHW, packed sequences.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler


class UsualDataset(Dataset):
    """Every clip of a folder in memory as np.load returns it, transposed; zero-padded in a copy at each access."""

    def __init__(self, folder, columns=slice(0, 128)):
        self.clips = [np.load(path)[columns].T for path in sorted(Path(folder).glob("*.npy"))]
        self.longest = max(len(clip) for clip in self.clips)
        self.labels = [number % 10 for number in range(len(self.clips))]

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, item):
        clip = copy.deepcopy(self.clips[item])
        padded = np.vstack([clip, np.zeros((self.longest - len(clip), clip.shape[1]))])
        return padded, self.labels[item], len(clip)


def usual_loader(dataset, batch_size=32):
    return DataLoader(dataset, batch_size, sampler=SubsetRandomSampler(range(len(dataset))))


class UsualCNN(nn.Module):
    """Four stages of convolution, batch norm, ReLU and pooling, contiguous, then the mean over time."""

    def __init__(self, classes=10, channels=(16, 32, 64, 128)):
        super().__init__()
        layers, inputs = [], 1
        for outputs in channels:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
            inputs = outputs
        self.stages, self.head = nn.Sequential(*layers), nn.Linear(channels[-1] * 8, classes)

    def forward(self, x, lengths):
        return self.head(self.stages(x.unsqueeze(1)).mean(dim=2).flatten(1))


class UsualLSTM(nn.Module):
    """Two layers of 128 on packed sequences."""

    def __init__(self, bidirectional=False, classes=10):
        super().__init__()
        self.lstm = nn.LSTM(128, 128, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(256 if bidirectional else 128, classes)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        last = states[torch.arange(len(x)), lengths - 1]
        if self.lstm.bidirectional:
            last = torch.cat([last[:, :128], states[:, 0, 128:]], dim=1)
        return self.head(last)


def usual_epoch(model, loader, optimizer, dtype):
    """One training epoch; the loss is read at every step."""
    model.train()
    total = 0.0
    for x, y, lengths in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(dtype), lengths), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)
