"""Mistakes in what the networks are given: splits and slices, labels and their columns, clips and their padding."""

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import random_clip
from mistakes import noise, tell_apart
from torch import nn

from common.dataset import (
    PaddingTransform,
    SpectrogramDataset,
    clip_ids,
    clip_labels,
    emotion_slices,
    genre_splits,
    make_loader,
    torch_train_val_split,
)
from common.labels import AXES, CLASS_MAPPING, clip_id, load_class_mapping, read_emotion_labels, read_genre_labels
from common.metrics import classification_metrics
from common.models import CNNBackbone, LSTMBackbone, Regressor
from common.plots import new_figure
from common.spectrogram_plots import histograms_figure

pytestmark = pytest.mark.usefixtures("same_weights_in_every_run")

LAB_GENRES = {  # training clips of each genre of the lab's set
    **dict.fromkeys(CLASS_MAPPING, 160), "Metal": 153, "Trip-Hop": 137, "Soundtrack": 124, "Post-Rock": 95,
}  # fmt: skip
LAB_EMOTIONS = {
    "valence": (0.578, 0.839, 0.587),
    "energy": (0.973, 0.782, 0.956),
    "danceability": (0.873, 0.655, 0.204),
}  # first rows
LAB_ROWS = [f"{1004 + k},{','.join(map(str, row))}" for k, row in enumerate(zip(*LAB_EMOTIONS.values(), strict=True))]


def write_genres(folder, splits):
    """A genre folder of the lab's form from {split: [(genre, frames)]}."""
    rng = np.random.default_rng(0)
    for number, (split, clips) in enumerate(splits.items()):
        (folder / split).mkdir(parents=True)
        lines = ["Id\tGenre"]
        for k, (genre, frames) in enumerate(clips):
            ident = 1000 * (number + 1) + k
            np.save(folder / split / f"{ident}.fused.full.npy", random_clip(rng, frames))
            lines.append(f"{ident}.fused.full.npy.gz\t{genre}")
        (folder / f"{split}_labels.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def lab_emotions(tmp_path):
    """A folder with the first rows of the lab's emotion labels."""
    (tmp_path / "multitask_dataset" / "train").mkdir(parents=True)
    for row in LAB_ROWS:
        np.save(tmp_path / "multitask_dataset" / "train" / f"{row.split(',')[0]}.fused.full.npy", np.zeros((140, 3)))
    (tmp_path / "multitask_dataset" / "train_labels.txt").write_text(
        "\n".join(["Id,valence,energy,danceability", *LAB_ROWS]) + "\n"
    )
    return tmp_path / "multitask_dataset"


def test_11_test_set_opened_with_train_true(data):
    folder, table = data / "fma_genre_spectrograms_beat", load_class_mapping(data)

    def check(open_test_side):
        test = open_test_side()
        classes = test.label_transformer.classes_
        metrics = classification_metrics(clip_labels(test), clip_labels(test), classes)
        support = {name: row["support"] for name, row in metrics["classes"].items()}
        assert support == {"Rock": 6, "Ελληνικά": 6}, "the support is not the test split's"
        assert not set(test.ids) & set(SpectrogramDataset(folder, table, train=True).ids)

    tell_apart(
        check,
        lambda: genre_splits(folder, table, "mel")[1],
        ("support is not the test split's", lambda: SpectrogramDataset(folder, table, train=True, features="mel")),
    )


def test_12_slices_drawn_from_all_clips_overlap(emotions):
    def validation_from_all(dataset):
        _, test = torch_train_val_split(dataset, 4, 4, 0.2, seed=0)
        return *torch_train_val_split(dataset, 4, 4, 0.33, seed=0), test

    def test_on_all(dataset):
        return *torch_train_val_split(dataset, 4, 4, 0.33, seed=0), make_loader(dataset, 4)

    def check(slices):
        counts = Counter(ident for loader in slices(emotions) for ident in clip_ids(loader.dataset))
        assert set(counts) == set(emotions.ids)
        assert set(counts.values()) == {1}, "clips stand in two slices"

    words = "clips stand in two slices"
    tell_apart(
        check, lambda dataset: emotion_slices(dataset, 4, seed=0), (words, validation_from_all), (words, test_on_all)
    )


def test_17_axis_off_by_one(lab_emotions):
    def column(index_of):
        return lambda axis: [
            float(row.split(",")[index_of(axis)]) for row in LAB_ROWS
        ]  # id, valence, energy, danceability

    def check(labels_of):
        for axis, values in LAB_EMOTIONS.items():
            assert labels_of(axis) == pytest.approx(values), f"{axis} is another column"

    tell_apart(
        check,
        lambda axis: SpectrogramDataset(lab_emotions, axis=axis).labels.tolist(),
        ("valence is another column", column(AXES.index)),
        ("danceability is another column", column({"valence": 1, "energy": 2, "danceability": 2}.get)),
    )


def test_18_one_list_of_labels_shared_by_three_datasets(lab_emotions):
    def shared():
        labels, datasets = [], {}
        for axis, values in LAB_EMOTIONS.items():
            labels[:] = values
            datasets[axis] = labels
        return datasets

    def check(label_vectors):
        found = {tuple(round(float(label), 3) for label in labels) for labels in label_vectors().values()}
        assert len(found) == 3, "axes have the same labels"
        assert found == set(LAB_EMOTIONS.values())

    def ours():
        return {axis: SpectrogramDataset(lab_emotions, axis=axis).labels for axis in AXES}

    tell_apart(check, ours, ("axes have the same labels", shared))


def test_24_clips_cut_short_padded_with_the_loudest_value_or_of_another_length_in_test(tmp_path):
    class ZerosWhateverIsAsked(PaddingTransform):
        def __call__(self, features):
            missing = self.max_length - len(features)
            return np.vstack([features, np.zeros((missing, features.shape[1]), dtype=np.float32)])

    class SeesPadding(CNNBackbone):
        def forward(self, x, lengths):
            return super().forward(x, torch.full_like(lengths, x.shape[1]))

    folder = write_genres(
        tmp_path / "genres", {"train": [("Rock", 200), ("Blues", 160)], "test": [("Rock", 90), ("Blues", 120)]}
    )

    def open_both(**options):
        train = SpectrogramDataset(folder, CLASS_MAPPING, **options)
        return train, SpectrogramDataset(folder, CLASS_MAPPING, train=False, **options)

    def check_length(splits):
        train, test = splits()
        assert train[0][0].shape[0] == train[0][2] == 200, "frames are cut off"
        assert test[0][0].shape == train[0][0].shape, "the test split has a length of its own"

    def check_value(padding):
        padded = padding(5, -80)(np.full((3, 128), -10, dtype=np.float32))
        assert np.array_equal(padded[3:], np.full((2, 128), -80)), "the padding is not silence"

    def check_network(backbone):
        model, x, lengths = backbone(channels=(2, 2)).eval(), 10 * noise(2, 12, 128) - 45, torch.tensor([12, 12])
        longer = model(nn.functional.pad(x, (0, 0, 0, 20)), lengths)
        assert torch.allclose(model(x, lengths), longer, atol=1e-4), "the network has seen the padding"

    tell_apart(
        check_length,
        lambda: genre_splits(folder, CLASS_MAPPING, "mel"),
        ("frames are cut off", lambda: open_both(max_length=150)),
        ("a length of its own", open_both),
    )
    tell_apart(check_value, PaddingTransform, ("the padding is not silence", ZerosWhateverIsAsked))
    tell_apart(check_network, CNNBackbone, ("has seen the padding", SeesPadding))


def test_26_edits_in_place_reach_the_stored_clip(data):
    class Returned(PaddingTransform):
        def __call__(self, features):
            return features if len(features) == self.max_length else super().__call__(features)

    def check(padding):
        dataset = SpectrogramDataset(data / "fma_genre_spectrograms_beat", load_class_mapping(data), features="mel")
        dataset.zero_pad = padding(dataset.max_length)
        longest = int(np.argmax(dataset.lengths))
        features = dataset[longest][0]
        before = features.copy()
        features -= features.mean()
        assert np.array_equal(dataset[longest][0], before), "the second reading differs from the first"

    tell_apart(check, PaddingTransform, ("second reading differs", Returned))


def test_27_as_many_classes_as_the_table_has_genres(tmp_path):
    folder = write_genres(tmp_path / "genres", {"train": [(genre, 3) for genre in CLASS_MAPPING]})
    dataset = SpectrogramDataset(folder, CLASS_MAPPING)

    def check(number_of_classes):
        number = number_of_classes(dataset)
        assert set(range(number)) == set(dataset.labels.tolist()), f"{number} classes, some of them without a clip"
        assert number == 10

    tell_apart(
        check,
        lambda dataset: len(dataset.label_transformer.classes_),
        ("20 classes, some", lambda dataset: len(CLASS_MAPPING)),
    )


def test_28_histogram_with_default_bins():
    numbers = np.repeat(range(20), [LAB_GENRES[genre] for genre in sorted(LAB_GENRES)])

    def ours():
        return [bar.get_width() for bar in histograms_figure(LAB_GENRES, CLASS_MAPPING).axes[0].patches]

    def ten_bins():
        _, ((ax,),) = new_figure(6, 4)
        return ax.hist(numbers)[0].tolist()

    def check(heights):
        assert heights() == [LAB_GENRES[genre] for genre in sorted(LAB_GENRES)], "the bars are not the genres' counts"

    tell_apart(check, ours, ("not the genres' counts", ten_bins))


def test_30_label_files_split_at_the_wrong_sign_or_read_with_their_header(lab_emotions, tmp_path):
    genres = tmp_path / "train_labels.txt"
    genres.write_text(
        "Id\tGenre\n1042.fused.full.npy.gz\tBlues\n14780.beatsync.fused.npy\tElectronic\n123.full.fused.npy.gz\tRock\n"
    )
    emotions = lab_emotions / "train_labels.txt"

    def at_tabs(path):
        return [
            (line.split("\t")[0], tuple(map(float, line.split("\t")[1:]))) for line in path.read_text().splitlines()[1:]
        ]

    def with_header(path):
        return [(line.split("\t")[0].split(".")[0], line.split("\t")[1]) for line in path.read_text().splitlines()]

    def check_emotions(read):
        expected = [(str(1004 + k), values) for k, values in enumerate(zip(*LAB_EMOTIONS.values(), strict=True))]
        assert read(emotions) == expected, "the emotion rows are others"

    def check_genres(read):
        rows = read(genres)
        assert "Genre" not in {genre for _, genre in rows}, "the header is a genre"
        assert rows == [("1042", "Blues"), ("14780", "Electronic"), ("123", "Rock")]

    def check_id(id_of):
        assert id_of("1042.fused.full.npy.gz") == "1042"
        assert id_of("gaida7.fused.full.npy.gz") == "gaida7", "letters of the id are gone"

    tell_apart(
        check_emotions, lambda path: [row[:2] for row in read_emotion_labels(path)], ("rows are others", at_tabs)
    )
    tell_apart(
        check_genres,
        lambda path: [row[:2] for row in read_genre_labels(path, CLASS_MAPPING)],
        ("header is a genre", with_header),
    )
    tell_apart(check_id, clip_id, ("letters of the id are gone", lambda name: name.strip(".gz").split(".")[0]))


def test_31_float64_batches_or_a_model_in_double(emotions):
    class AsStored(SpectrogramDataset):
        def __getitem__(self, item):
            clip = np.load(self.files[item]).T
            return (
                np.vstack([clip, np.zeros((self.max_length - len(clip), 140))]),
                self.labels[item],
                int(self.lengths[item]),
            )

    def check(implementation):
        dataset, model = implementation
        x, y, _ = next(iter(make_loader(dataset, 4)))
        assert x.dtype == y.dtype == torch.float32, f"batches are {x.dtype}"
        types = {parameter.dtype for parameter in model.parameters()}
        assert types == {torch.float32}, f"weights are {types}"

    folder = emotions.files[0].parent.parent
    tell_apart(
        check,
        (emotions, Regressor(LSTMBackbone(140, 4))),
        ("batches are torch.float64", (AsStored(folder, axis="energy"), Regressor(LSTMBackbone(140, 4)))),
        ("weights are .*float64", (emotions, Regressor(LSTMBackbone(140, 4)).double())),
    )
