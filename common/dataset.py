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
from common.reading import find_spectrograms, read_fused_spectrogram


class SpectrogramDataset(Dataset):
    """One split of one of the lab's four folders; dataset[i] is (features, label, length).

    features: (max_length, F) float32, zeros behind the clip's end; F = 128 mel, 12 chroma or 140 fused.
    label: int64 class number; with `axis`, float32 value in 0..1, or three of them; NaN where the split has no labels.
    length: the clip's true number of frames, at most max_length.

    Args:
        path: such a folder, say data/fma_genre_spectrograms.
        class_mapping: genre to class, None to drop the genre's clips unread; without a table every genre is a class.
        train: the folder's train split, else its test split.
        max_length: frames; -1 takes the longest clip of this split. Give the test split the training split's.
        features: "mel", "chroma" or "fused".
        axis: None for genres; "valence", "energy" or "danceability"; or a tuple of these.
        label_transformer: the training split's, so that both splits number the classes alike; None makes one from this
        split.
        read: how the files are read, {id: path} -> Clips; common.cache.cached(folder) gives the same values from a
        cache.
        at_most: so many clips, spread evenly over the split, for a dry run.
    Raises LabError, naming file and line, for whatever is wrong with label files or spectrograms.
    """

    def __init__(
        self,
        path,
        class_mapping=None,
        train=True,
        max_length=-1,
        features="fused",
        axis=None,
        label_transformer=None,
        read=None,
        at_most=None,
    ):
        axes = [] if axis is None else [axis] if isinstance(axis, str) else list(axis)
        if features not in COLUMNS or not set(axes) <= set(AXES):
            raise LabError(
                f"features among {', '.join(COLUMNS)} and axes among {', '.join(AXES)} were expected, not {features}, {axis}"
            )
        folder, split = Path(path), "train" if train else "test"
        self.folder = folder
        label_file = folder / f"{split}_labels.txt"
        files = find_spectrograms(folder / split)
        if axis is None:
            rows = read_genre_labels(label_file, class_mapping)
            if class_mapping is not None:
                rows = [(i, class_mapping[genre], line) for i, genre, line in rows if class_mapping[genre] is not None]
        elif train:
            rows = read_emotion_labels(label_file)
        else:
            rows = [(ident, (math.nan,) * len(AXES), 0) for ident in sorted(files)]  # the competition's split
        for ident, _, line in rows:
            if ident not in files:
                raise LabError(
                    f"{label_file}, line {line}: a file {folder / split / ident}.fused.full.npy was expected"
                )
        self.label_transformer = label_transformer
        if axis is None:
            self.label_transformer = label_transformer or LabelTransformer().fit([genre for _, genre, _ in rows])
            for _, genre, line in rows:
                if genre not in self.label_transformer.classes_:
                    raise LabError(
                        f"{label_file}, line {line}: a class of the training split was expected, it has no clip of {genre}"
                    )
        if at_most and at_most < len(rows):
            rows = [rows[i * len(rows) // at_most] for i in range(at_most)]
        if not rows:
            raise LabError(f"{folder / split}: at least one clip was expected")
        self.ids = [ident for ident, _, _ in rows]
        self.files = [files[ident] for ident in self.ids]
        self.clips = (read or read_clips)(dict(zip(self.ids, self.files, strict=True)))
        self.columns = COLUMNS[features]
        self.feat_dim = self.columns.stop - self.columns.start
        frames = np.array([self.clips.length(ident) for ident in self.ids])
        self.max_length = int(max_length if max_length > 0 else frames.max())
        self.lengths = np.minimum(frames, self.max_length)
        self.zero_pad = PaddingTransform(self.max_length)
        if axis is None:
            self.labels: np.ndarray = np.array(
                self.label_transformer.transform([genre for _, genre, _ in rows]), dtype=np.int64
            )
        else:
            values = np.array([row for _, row, _ in rows], dtype=np.float32)[:, [AXES.index(name) for name in axes]]
            self.labels = values[:, 0] if isinstance(axis, str) else values

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, item):
        clip = self.clips[self.ids[item]]
        return self.zero_pad(clip[:, self.columns]), self.labels[item], int(self.lengths[item])


class PaddingTransform:
    """Brings a clip to max_length frames: frames of padding_value are appended, or the frames beyond max_length cut
    off.

    Called with (T, F), returns a new (max_length, F) float32 array, so that nobody's edit reaches the stored clip.
    The lab pads with 0, which in mel decibels is the loudest value there is; silence would be -80.
    """

    def __init__(self, max_length, padding_value=0):
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1 frame, not {max_length}")
        self.max_length = max_length
        self.padding_value = padding_value

    def __call__(self, features):
        padded = np.full((self.max_length, features.shape[1]), self.padding_value, dtype=np.float32)
        kept = features[: self.max_length]
        padded[: len(kept)] = kept
        return padded


class Clips(dict):
    """{id: (T, 140) float16}: half precision rounds a mel value by at most 1/32 dB and a chroma value by at most
    1/4096.
    """

    def length(self, ident):
        """The clip's number of frames."""
        return len(self[ident])


def read_clips(files):
    """The clips of `files`, {id: path}, read into memory as Clips."""
    return Clips((ident, read_fused_spectrogram(path).astype(np.float16)) for ident, path in files.items())


def genre_splits(folder, class_mapping, features, **reading):
    """The training and the test split of a genre folder; the test split takes its class numbers and its length from the
    training split.

    reading: SpectrogramDataset's `read` and `at_most`.
    """
    train = SpectrogramDataset(folder, class_mapping, train=True, features=features, **reading)
    names, longest = train.label_transformer, train.max_length
    return train, SpectrogramDataset(
        folder, class_mapping, False, longest, features, label_transformer=names, **reading
    )


def torch_train_val_split(dataset, batch_train, batch_eval, val_size=0.2, shuffle=True, seed=None):
    """Splits a dataset once, at random, into a training and a validation loader.

    dataset: any map-style dataset whose items are (features, label, length), a Subset included.
    val_size: share of the clips held out, above 0 and below 1, rounded down. shuffle=False takes the first clips and
    keeps their order.
    seed: fixes which clips are held out and the training order of every epoch; None draws afresh. No global random
    state is touched. Returns (train_loader, val_loader); loader.dataset is the Subset behind it. Validation comes in
    the same order on every pass.
    """
    held_out = math.floor(val_size * len(dataset)) if 0 < val_size < 1 else 0
    if not 0 < held_out < len(dataset):
        raise LabError(
            f"a share of {val_size} of {len(dataset)} clips leaves none to train on or none to validate with (make_loader takes all)"
        )
    order = np.random.default_rng(seed).permutation(len(dataset)) if shuffle else np.arange(len(dataset))
    val_set, train_set = Subset(dataset, order[:held_out].tolist()), Subset(dataset, order[held_out:].tolist())
    return make_loader(train_set, batch_train, shuffle, seed), make_loader(val_set, batch_eval)


def emotion_slices(dataset, batch_size, seed=None, test_size=0.2, val_size=0.33):
    """The three slices of the labelled emotion split, the same in steps 8, 9 and 10: torch_train_val_split twice.

    A share of test_size is scored once, at the end; val_size of the rest picks the epoch. Returns (train, val, test)
    loaders. The clips are taken in the order of their ids, so that full and beat-synced ones are held out alike,
    whatever their label files' order.
    """
    ids = clip_ids(dataset)
    by_id = Subset(dataset, sorted(range(len(ids)), key=ids.__getitem__))
    rest, test = torch_train_val_split(by_id, batch_size, batch_size, test_size, seed=seed)
    train, val = torch_train_val_split(rest.dataset, batch_size, batch_size, val_size, seed=seed)
    return train, val, test


def emotion_loaders(folder, features, axis, batch_size, seed, **reading):
    """The loaders of emotion_slices for an emotion folder, labelled with one axis; reading: SpectrogramDataset's `read`
    and `at_most`.
    """
    return emotion_slices(SpectrogramDataset(folder, features=features, axis=axis, **reading), batch_size, seed=seed)


def genre_loaders(folder, class_mapping, features, batch_size, val_size, seed, left_out=(), **reading):
    """Loaders of the training, validation and test clips of a genre folder, as genre_splits and torch_train_val_split
    make them.

    left_out: datasets whose ids neither train nor validate; prints how many clips that takes.
    """
    train_side, test_set = genre_splits(folder, class_mapping, features, **reading)
    kept = without(train_side, [ident for dataset in left_out for ident in clip_ids(dataset)])
    if left_out:
        print(
            f"left out   : {len(train_side) - len(kept)} training clips whose ids validate or test the emotions below"
        )
    train_loader, val_loader = torch_train_val_split(kept, batch_size, batch_size, val_size, seed=seed)
    return train_loader, val_loader, make_loader(test_set, batch_size)


def without(dataset, ids):
    """The dataset as a Subset without the clips of these ids."""
    left_out = set(ids)
    return Subset(dataset, [row for row, ident in enumerate(clip_ids(dataset)) if ident not in left_out])


def make_loader(dataset, batch_size, shuffle=False, seed=None):
    """Batches (x (B, T, F) float32, y (B,), lengths (B,) int64) of a dataset, T being the longest clip of the batch."""
    batches = EpochBatches(len(dataset), batch_size, shuffle, seed)
    # a generator of its own, since a DataLoader otherwise draws from torch's global one at the start of every pass
    return DataLoader(dataset, batch_sampler=batches, collate_fn=trim_batch, generator=torch.Generator())


class EpochBatches(Sampler):
    """The batches of one pass, each a list of row numbers; the order is a function of (seed, epoch) alone, so that a
    run can resume.

    `epoch` counts the passes begun and may be set; `current` is the batch handed out last.
    """

    def __init__(self, size, batch_size, shuffle=False, seed=None):
        if batch_size < 1:
            raise LabError(f"batches of at least 1 clip were expected, not of {batch_size}")
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
    """The SpectrogramDataset behind a (nested) Subset and the rows of it that the Subset shows, as an int array."""
    if not isinstance(dataset, Subset):
        return dataset, np.arange(len(dataset))
    base, rows = unwrap(dataset.dataset)
    return base, rows[np.asarray(dataset.indices, dtype=int)]


def clip_ids(dataset):
    """The ids of a dataset or Subset in its own order."""
    base, rows = unwrap(dataset)
    return [base.ids[row] for row in rows]


def clip_labels(dataset):
    """The labels of a dataset or Subset in its own order, as an array."""
    base, rows = unwrap(dataset)
    return base.labels[rows]
