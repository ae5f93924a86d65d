"""Step 4 of the lab: SpectrogramDataset and torch_train_val_split, and the loaders that the steps train and test with."""

import math
import secrets
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from common.errors import LabError
from common.features import COLUMNS
from common.labels import AXES, LabelTransformer, read_emotion_labels, read_genre_labels
from common.misuse import check_arguments
from common.reading import find_spectrograms, read_fused_spectrogram


class SpectrogramDataset(Dataset):
    """The training or test split of one of the lab's four folders; dataset[i] is (features, label, length).

    features: (max_length, F) float32, zeros behind the clip's end; F = 128 mel, 12 chroma or 140 fused.
    label: int64 class number; with `axis`, float32 value in 0..1, or three of them; NaN where there are no labels.
    length: the clip's true number of frames, at most max_length.

    Args:
        path: such a folder, for example data/fma_genre_spectrograms.
        class_mapping: {genre: class}, None drops a genre's clips unread; without a table every genre is a class.
        train: the training split, else the test split.
        max_length: frames; -1 takes the longest clip of this split. Give the test set the training set's.
        features: "mel", "chroma" or "fused".
        axis: None for genres; "valence", "energy" or "danceability"; or a tuple of these.
        label_transformer: the training set's, so that both number the classes alike; None fits one to these labels.
        read: how files are read, {id: path} -> Clips; common.cache.cached(folder) gives the same values from a cache.
        at_most: take so many clips, spread evenly over the split, for a dry run.
    Raises LabError, naming file and line, for whatever is wrong with label files or spectrograms.
    """

    def __init__(self, path, class_mapping=None, train=True, max_length=-1, features="fused", axis=None,
                 label_transformer=None, read=None, at_most=None):  # fmt: skip
        check_arguments(features, axis, train, max_length)
        self.folder, split = Path(path), "train" if train else "test"
        label_file, files = self.folder / f"{split}_labels.txt", find_spectrograms(self.folder / split)
        if axis is None:
            rows = read_genre_labels(label_file, class_mapping)
            if class_mapping is not None:
                rows = [(i, class_mapping[genre], line) for i, genre, line in rows if class_mapping[genre] is not None]
            label_transformer = label_transformer or LabelTransformer(name for _, name, _ in rows)
        elif train:
            rows = read_emotion_labels(label_file)
        else:
            rows = [(ident, (math.nan,) * len(AXES), 0) for ident in sorted(files)]  # the competition's, unlabelled
        self.label_transformer = label_transformer
        for ident, name, line in rows:
            where = f"{label_file}, line {line}"
            if ident not in files:
                raise LabError(f"{where}: a file {self.folder / split / ident}.fused.full.npy was expected")
            if axis is None and name not in self.label_transformer.classes_:
                raise LabError(f"{where}: a class of the training set was expected, it has no clip of {name}")
        if at_most is not None and at_most < len(rows):
            rows = [rows[i * len(rows) // at_most] for i in range(at_most)]
        if not rows:
            raise LabError(f"{self.folder / split}: at least one clip was expected")
        self.ids = [ident for ident, _, _ in rows]
        self.files = [files[ident] for ident in self.ids]
        self.clips = (read or Clips)(dict(zip(self.ids, self.files, strict=True)))
        self.columns = COLUMNS[features]
        self.feat_dim = self.columns.stop - self.columns.start
        frames = np.array([self.clips.length(ident) for ident in self.ids])
        self.max_length = int(max_length if max_length > 0 else frames.max())
        self.lengths = np.minimum(frames, self.max_length)
        self.zero_pad = PaddingTransform(self.max_length)
        if axis is None:
            self.labels: np.ndarray = np.array(label_transformer.transform([row[1] for row in rows]), dtype=np.int64)
        else:
            columns = AXES.index(axis) if isinstance(axis, str) else [AXES.index(name) for name in axis]
            self.labels = np.array([row for _, row, _ in rows], dtype=np.float32)[:, columns]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, item):
        clip = self.clips[self.ids[item]]
        return self.zero_pad(clip[:, self.columns]), self.labels[item], int(self.lengths[item])


class PaddingTransform:
    """Pads a clip with padding_value to max_length frames, or cuts it there: (T, F) -> (max_length, F) float32.

    The result is a new array, so that no edit reaches the stored clip. The lab pads with 0, which in mel decibels is
    the loudest value there is; silence would be -80.
    """

    def __init__(self, max_length, padding_value=0):
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1 frame, not {max_length}")
        self.max_length = max_length
        self.padding_value = padding_value

    def __call__(self, features):
        padded = np.full((self.max_length, features.shape[1]), self.padding_value, dtype=np.float32)
        padded[: len(features)] = features[: self.max_length]
        return padded


class Clips(dict):
    """The clips of `files`, {id: path}, in memory: {id: (T, 140) float16}, mel exact to 1/32 dB, chroma to 1/4096."""

    def __init__(self, files):
        super().__init__((ident, read_fused_spectrogram(path).astype(np.float16)) for ident, path in files.items())

    def length(self, ident):
        return len(self[ident])


def genre_splits(folder, class_mapping, features, **reading):
    """Training and test set of a genre folder; classes and maximal length of both are the training set's.

    reading: SpectrogramDataset's `read` and `at_most`.
    """
    train = SpectrogramDataset(folder, class_mapping, train=True, features=features, **reading)
    names, longest = train.label_transformer, train.max_length
    test = SpectrogramDataset(folder, class_mapping, False, longest, features, label_transformer=names, **reading)
    return train, test


def torch_train_val_split(dataset, batch_train, batch_eval, val_size=0.2, shuffle=True, seed=None, trim=True):
    """Splits a dataset once, at random, into a training and a validation loader.

    dataset: any map-style dataset whose items are (features, label, length), a Subset included.
    val_size: validation fraction, above 0 and below 1; the number of clips is rounded down. shuffle=False takes the
    first clips for validation and keeps the order.
    seed: fixes which clips validate and the training order of every epoch; None makes both random. No global random
    state is touched. trim: see make_loader.
    Returns (train_loader, val_loader); loader.dataset is the Subset behind it. Validation comes in the same order on
    every pass. Raises LabError where one of the two would be empty.
    """
    held_out = math.floor(val_size * len(dataset)) if 0 < val_size < 1 else 0
    if not 0 < held_out < len(dataset):
        raise LabError(f"a val_size of {val_size} of {len(dataset)} clips leaves training or validation empty")
    order = np.random.default_rng(seed).permutation(len(dataset)) if shuffle else np.arange(len(dataset))
    val_set, train_set = Subset(dataset, order[:held_out].tolist()), Subset(dataset, order[held_out:].tolist())
    return make_loader(train_set, batch_train, shuffle, seed, trim), make_loader(val_set, batch_eval, trim=trim)


def emotion_slices(dataset, batch_size, seed=None, test_size=0.2, val_size=0.33):
    """Training, validation and test loader of the labelled emotion clips, the same clips in steps 8, 9 and 10.

    torch_train_val_split twice: test_size of the clips are for the test, val_size of the rest for validation. Clips
    are taken in the order of their ids, so that full and beat-synced ones are split alike, whatever the order of their
    label files.
    """
    ids = clip_ids(dataset)
    by_id = Subset(dataset, sorted(range(len(ids)), key=ids.__getitem__))
    rest, test = torch_train_val_split(by_id, batch_size, batch_size, test_size, seed=seed)
    train, val = torch_train_val_split(rest.dataset, batch_size, batch_size, val_size, seed=seed)
    return train, val, test


def emotion_loaders(folder, features, axis, batch_size, seed, **reading):
    """emotion_slices of an emotion folder, labelled with one axis; reading: SpectrogramDataset's `read`, `at_most`."""
    return emotion_slices(SpectrogramDataset(folder, features=features, axis=axis, **reading), batch_size, seed=seed)


def genre_loaders(folder, class_mapping, features, batch_size, val_size, seed, left_out=(), **reading):
    """Training, validation and test loader of a genre folder, by genre_splits and torch_train_val_split.

    left_out: datasets whose ids are used neither for training nor for validation; prints how many clips that is.
    """
    train_set, test_set = genre_splits(folder, class_mapping, features, **reading)
    kept = without(train_set, [ident for dataset in left_out for ident in clip_ids(dataset)])
    if left_out:
        gone = len(train_set) - len(kept)
        print(f"left out   : {gone} training clips whose ids validate or test the emotions below")
    train_loader, val_loader = torch_train_val_split(kept, batch_size, batch_size, val_size, seed=seed)
    return train_loader, val_loader, make_loader(test_set, batch_size)


def without(dataset, ids):
    """The dataset as a Subset without the clips of these ids."""
    gone = set(ids)
    return Subset(dataset, [index for index, ident in enumerate(clip_ids(dataset)) if ident not in gone])


def make_loader(dataset, batch_size, shuffle=False, seed=None, trim=True):
    """Batches (x (B, T, F) float32, y (B,), lengths (B,) int64) of a dataset.

    trim: T is the batch's longest clip, which saves time on short ones; without it, as a network with a flattened head
    needs, T is the dataset's max_length in every batch.
    """
    batches = EpochBatches(len(dataset), batch_size, shuffle, seed)
    # a generator of its own, since a DataLoader otherwise draws from torch's global one at the start of every pass
    own, collate = torch.Generator(), trim_batch if trim else None
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, generator=own)


class EpochBatches(Sampler):
    """The batches of one pass as lists of indices. Their order depends on (seed, epoch) alone, so that runs can resume.

    `epoch` counts the passes begun and may be set; `current` is the batch handed out last.
    """

    def __init__(self, size, batch_size, shuffle=False, seed=None):
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise LabError(f"batches of at least 1 clip were expected, not of {batch_size!r}")
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed = secrets.randbits(128) if seed is None else seed
        self.epoch, self.current = 0, []

    def __len__(self):
        return math.ceil(self.size / self.batch_size)

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
        self.epoch += 1
        for start in range(0, self.size, self.batch_size):
            self.current = order[start : start + self.batch_size].tolist()
            yield self.current


def trim_batch(items):
    """[(features, label, length)] -> tensors (x, y, lengths), x cut to the batch's longest clip."""
    features, labels, lengths = zip(*items, strict=True)
    longest = max(lengths)
    x = torch.from_numpy(np.stack([clip[:longest] for clip in features]))
    return x, torch.from_numpy(np.array(labels)), torch.tensor(lengths)


def unwrap(dataset):
    """The SpectrogramDataset behind a (nested) Subset, and the indices in it that the Subset shows, as an int array."""
    if not isinstance(dataset, Subset):
        return dataset, np.arange(len(dataset))
    base, indices = unwrap(dataset.dataset)
    return base, indices[np.asarray(dataset.indices, dtype=int)]


def clip_ids(dataset):
    """The ids of a dataset or Subset in its own order."""
    base, indices = unwrap(dataset)
    return [base.ids[index] for index in indices]


def clip_lengths(dataset):
    """The numbers of frames of a dataset's or Subset's clips in its own order, as an array."""
    base, indices = unwrap(dataset)
    return base.lengths[indices]


def clip_labels(dataset):
    """The labels of a dataset or Subset in its own order, as an array."""
    base, indices = unwrap(dataset)
    return base.labels[indices]
