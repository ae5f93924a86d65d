"""The course's own calls: change the import to `from extras.course import ...`, and cells written for its files go on.

Takes the calls of both forms of the course's code, the Kaggle kernel of 2019 to 2021 and the files of 2021 and later.
docs/from_the_course.md sets them beside those of common/ and says what differs and why.
"""

import inspect
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler

from common import dataset as lab
from common import models
from common.checkpoints import check_fit
from common.dataset import Clips, EpochBatches, PaddingTransform
from common.errors import LabError, reason
from common.labels import AXES, CLASS_MAPPING, LabelTransformer, read_genre_labels
from common.models import CNNBackbone, LSTMBackbone
from common.reading import read_chromagram, read_fused_spectrogram, read_mel_spectrogram
from common.submission import write_submission

__all__ = [
    "CLASS_MAPPING", "CNNBackbone", "Classifier", "LSTMBackbone", "LabelTransformer", "MultitaskRegressor",
    "PaddingTransform", "Regressor", "SpectrogramDataset", "evaluate", "kaggle_submission",
    "load_backbone_from_checkpoint", "read_chromagram", "read_fused_spectrogram", "read_mel_spectrogram",
    "read_spectrogram", "torch_train_val_split",
]  # fmt: skip

READERS = {"mel": read_mel_spectrogram, "chroma": read_chromagram, "fused": read_fused_spectrogram}
SEED = 420  # of the split, as in the course's files of 2021 and later


def read_spectrogram(spectrogram_file, feat_type):
    """A file's features: (T, F) float32, F = 128 mel, 12 chroma, 140 fused; LabError for another feat_type."""
    return READERS[checked(feat_type)](spectrogram_file)


def checked(feat_type):
    if feat_type not in READERS:
        raise LabError(f"feat_type: mel, chroma or fused was expected, not {feat_type!r}")
    return feat_type


class SpectrogramDataset(lab.SpectrogramDataset):
    """common.dataset.SpectrogramDataset by the course's arguments; dataset[i] is (features, label, length).

    Args:
        path, class_mapping, train: as in common.dataset.SpectrogramDataset. A test split numbers its classes as the
            training split beside it does.
        feat_type, max_length, regression_label_index: in this order in the files of 2021 and later. The index is None
            for genres, 1 valence, 2 energy, 3 danceability, or several of them as (1, 2, 3).
        max_length, read_spec_fn: in this order in the kernel of 2019 to 2021. read_spec_fn(file) -> (T, F); one of your
            own is called for each file.
    feats: the list of all clips, (T, F) float32 each. Without feat_type and read_spec_fn fused features are read, which
    is printed, since the two forms of the course's code differ there. Raises LabError as the dataset of common/ does.
    """

    def __init__(self, path, class_mapping=None, train=True, *more, **named):
        kernel = bool(more) and not isinstance(more[0], str)
        names = ("max_length", "read_spec_fn") if kernel else ("feat_type", "max_length", "regression_label_index")
        given = {"max_length": -1, "regression_label_index": None, **dict(zip(names, more, strict=False)), **named}
        unknown = given.keys() - {"max_length", "read_spec_fn", "feat_type", "regression_label_index"}
        if unknown or len(more) > len(names):
            raise LabError(
                f"SpectrogramDataset: {', '.join(names)} were expected after train, not {sorted(unknown) or more}"
            )
        read, features = given.get("read_spec_fn"), given.get("feat_type")
        if read is None and features is None:
            print("note       : neither feat_type nor read_spec_fn is given: fused features, mel and chroma, are read")
        known = [name for name, reader in READERS.items() if reader is read]
        features = checked(features or (known or ["fused"])[0])
        own = None if known else read
        index = given["regression_label_index"]
        axis, classes = axes_of(index), None
        if axis is None and not train:
            classes = training_classes(Path(path), class_mapping or None)
        length = given["max_length"] if given["max_length"] > 0 else -1
        reading = None if own is None else partial(own_clips, own)
        super().__init__(path, class_mapping or None, train, length, features, axis, classes, reading)
        if own is not None:
            self.columns, self.feat_dim = slice(None), self.clips[self.ids[0]].shape[1]
        self.regression_label_index, self.zero_pad_and_stack = index, self.zero_pad
        self.split = "train" if train else "test"

    @property
    def feats(self):
        return [np.float32(self.clips[ident][:, self.columns]) for ident in self.ids]


def own_clips(read_spec_fn, files):
    """The clips of `files`, {id: path}, each read by a function of one's own."""
    clips = Clips({})
    clips.update((ident, np.float32(read_spec_fn(str(path)))) for ident, path in files.items())
    return clips


def axes_of(index):
    """The axis or axes of a regression_label_index; 0, which the course's code takes for no regression, is refused."""
    indices = index if isinstance(index, (list, tuple)) else [index]
    if index is None:
        return None
    if not indices or any(each not in range(1, len(AXES) + 1) for each in indices):
        numbers = ", ".join(f"{number} {axis}" for number, axis in enumerate(AXES, 1))
        raise LabError(f"regression_label_index: None for genres or {numbers} were expected, not {index!r}")
    axes = tuple(AXES[each - 1] for each in indices)
    return axes if isinstance(index, (list, tuple)) else axes[0]


def training_classes(path, class_mapping):
    """The LabelTransformer of the training split of a folder; None where it has no label file."""
    if not (path / "train_labels.txt").exists():
        return None
    genres = [genre for _, genre, _ in read_genre_labels(path / "train_labels.txt", class_mapping)]
    return LabelTransformer(
        filter(None, (genre if class_mapping is None else class_mapping[genre] for genre in genres))
    )


def torch_train_val_split(dataset, batch_train, batch_eval, val_size=0.2, shuffle=True, seed=SEED, course_split=False):
    """Splits a dataset once into a training and a validation loader, as common.dataset.torch_train_val_split does.

    Every batch is dataset.max_length wide, whatever its longest clip; loader.dataset is the whole dataset, with labels,
    max_length and label_transformer. val_size=0: all clips in the first loader, none in the second; those of a test
    split come in the dataset's order, so that predictions belong to dataset.ids. shuffle=False keeps the order.
    course_split: the course's own choice of validation clips for this seed in place of the one of common/; NumPy's
    global random state is not touched.
    """
    if not 0 <= val_size < 1:
        raise LabError(f"val_size: a fraction from 0 on and below 1 was expected, not {val_size}")
    held_out, order = math.floor(val_size * len(dataset)), list(range(len(dataset)))
    shuffle = shuffle and not (held_out == 0 and getattr(dataset, "split", "train") == "test")
    if shuffle and course_split:
        np.random.RandomState(seed).shuffle(order)  # the course's np.random.seed and np.random.shuffle
    elif shuffle and held_out:
        order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
    train, val = IndexBatches(order[held_out:], batch_train, shuffle, seed), IndexBatches(order[:held_out], batch_eval)
    # a generator of its own, since a DataLoader otherwise draws from torch's global one at the start of every pass
    return tuple(DataLoader(dataset, batch_sampler=each, generator=torch.Generator()) for each in (train, val))


class IndexBatches(EpochBatches):
    """The batches of one pass over some of a dataset's clips, as lists of their indices; see EpochBatches."""

    def __init__(self, indices, batch_size, shuffle=False, seed=None):
        super().__init__(len(indices), batch_size, shuffle, seed)
        self.indices = indices

    def __iter__(self):
        for batch in super().__iter__():
            self.current = [self.indices[number] for number in batch]
            yield self.current


class Classifier(models.Classifier):
    """A backbone and one linear layer: model(x, targets, lengths) -> (cross entropy, logits (B, num_classes)).

    Classifier(backbone, num_classes) or the other way round; load_from_checkpoint: see load_backbone_from_checkpoint.
    """

    def __init__(self, backbone, num_classes, load_from_checkpoint=None):
        if not isinstance(backbone, nn.Module):
            backbone, num_classes = num_classes, backbone
        super().__init__(load_backbone_from_checkpoint(backbone, load_from_checkpoint), num_classes)

    def forward(self, x, targets, lengths):  # type: ignore[override]
        logits = self.head(features_of(self.backbone, x, lengths))
        return functional.cross_entropy(logits, targets), logits


class Regressor(models.Regressor):
    """A backbone and one linear output: model(x, targets, lengths) -> (MSE, values (B,)); targets (B,) or (B, 1)."""

    def __init__(self, backbone, load_from_checkpoint=None):
        super().__init__(load_backbone_from_checkpoint(backbone, load_from_checkpoint))

    def forward(self, x, targets, lengths):  # type: ignore[override]
        values = self.head(features_of(self.backbone, x, lengths)).squeeze(-1)
        return functional.mse_loss(values, targets.reshape(values.shape).to(values.dtype)), values


class MultitaskRegressor(models.MultitaskRegressor):
    """A backbone and a linear output for each axis: model(x, targets, lengths) -> (MSE, values (B, num_axes))."""

    def __init__(self, backbone, num_axes=3, load_from_checkpoint=None):
        super().__init__(load_backbone_from_checkpoint(backbone, load_from_checkpoint), num_axes)

    def forward(self, x, targets, lengths):  # type: ignore[override]
        values = self.head(features_of(self.backbone, x, lengths))
        return functional.mse_loss(values, targets.reshape(values.shape).to(values.dtype)), values


def features_of(backbone, x, lengths):
    """The backbone's features; lengths are given to it where its forward takes them, as not every student's CNN does."""
    takes_lengths = len(inspect.signature(backbone.forward).parameters) > 1
    return backbone(x, lengths) if takes_lengths else backbone(x)


def load_backbone_from_checkpoint(model, checkpoint_path):
    """Puts a checkpoint's weights into a backbone, and returns it; the head's weights are left out.

    checkpoint_path: a best.pt of a step, or a state dict of a whole model or of a backbone alone, as torch.save writes
    it; None leaves the backbone as it is. Raises LabError where names, shapes or types are not those of the backbone.
    """
    if checkpoint_path is None:
        return model
    try:
        saved = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
        weights = dict(saved.get("weights", saved))
    except Exception as error:  # damaged bytes make torch.load raise nearly anything
        raise LabError(f"{checkpoint_path}: a checkpoint was expected ({reason(error)})") from error
    inside = {name.removeprefix("backbone."): each for name, each in weights.items() if name.startswith("backbone.")}
    check_fit(checkpoint_path, model.state_dict(), inside or weights)
    model.load_state_dict(inside or weights)
    return model


@torch.inference_mode()
def evaluate(model, test_dataloader, device=None):
    """The predictions of a model with the course's forward, (n, ...) on the CPU, in the loader's order.

    device: by default that of the model's weights.
    """
    device = device or next(model.parameters()).device
    model.to(device).eval()
    batches = (model(x.to(device), y.to(device), lengths)[1].cpu() for x, y, lengths in test_dataloader)
    return torch.cat(list(batches))


def kaggle_submission(model, test_dataloader, device=None, path="solution.txt"):
    """Writes the competition's file: three predicted axes for each clip of the loader's dataset; returns `path`.

    Raises LabError where the loader shuffles, since a prediction then belongs to no clip that is known, where the model
    predicts other than three values, and as write_submission does.
    """
    if isinstance(test_dataloader.sampler, (RandomSampler, SubsetRandomSampler)):
        raise LabError("kaggle_submission: a loader in the dataset's order was expected, this one shuffles")
    batches, dataset = test_dataloader.batch_sampler, test_dataloader.dataset
    values = evaluate(model, test_dataloader, device)
    if values.shape != (len(dataset), len(AXES)) or getattr(batches, "shuffle", False):
        expected = f"a loader of all {len(dataset)} clips in order and three values a clip were expected"
        raise LabError(f"kaggle_submission: {expected}, not {tuple(values.shape)}")
    write_submission(path, dataset.ids, values.tolist())
    return path
