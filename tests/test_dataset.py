import copy
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from common.cache import cached
from common.dataset import (
    PaddingTransform,
    SpectrogramDataset,
    clip_ids,
    clip_labels,
    genre_splits,
    make_loader,
    torch_train_val_split,
)
from common.errors import LabError
from common.labels import AXES, load_class_mapping
from common.notes import print_notes
from common.reading import read_chromagram, read_fused_spectrogram, read_mel_spectrogram


@pytest.fixture
def splits(tiny_data):
    return genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")


def test_padding_appends_at_the_end_cuts_the_end_and_copies():
    clip = np.arange(6, dtype=np.float16).reshape(3, 2)
    padded = PaddingTransform(5, padding_value=-80)(clip)
    assert padded.dtype == np.float32 and padded.tolist() == [[0, 1], [2, 3], [4, 5], [-80, -80], [-80, -80]]
    assert PaddingTransform(2)(clip).tolist() == [[0, 1], [2, 3]]
    same = PaddingTransform(3)(clip)
    same += 1
    assert clip.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="at least 1"):
        PaddingTransform(0)


@pytest.mark.parametrize("features", ["mel", "chroma", "fused"])
def test_an_item_is_the_files_frames_its_label_and_its_length(tiny_data, features):
    dataset = SpectrogramDataset(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), features=features)
    read = {"mel": read_mel_spectrogram, "chroma": read_chromagram, "fused": read_fused_spectrogram}[features]
    assert len(dataset) == 24 and dataset.feat_dim == {"mel": 128, "chroma": 12, "fused": 140}[features]
    for row in (0, 23):
        x, label, length = dataset[row]
        exact = read(dataset.files[row])
        assert x.dtype == np.float32 and x.shape == (dataset.max_length, dataset.feat_dim) and length == len(exact)
        assert np.abs(x[:length] - exact).max() <= 1 / 32 and not x[length:].any()
        assert label.dtype == np.int64
    assert dataset.max_length == dataset.lengths.max()
    assert dataset.label_transformer.inverse(dataset.labels)[0] == "Rock"


def test_reading_an_item_twice_gives_the_same_even_after_an_edit(splits):
    first = splits[0][3][0]
    before = copy.deepcopy(first)
    first += 7
    np.testing.assert_array_equal(splits[0][3][0], before)


def test_dropped_genres_are_never_read(tiny_data):
    for path in (tiny_data / "fma_genre_spectrograms" / "train").glob("3*.npy"):
        path.write_bytes(b"broken")
    dataset = SpectrogramDataset(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data))
    assert {ident[0] for ident in dataset.ids} == {"1", "2"}


def test_without_a_table_every_genre_is_a_class(tiny_data):
    assert SpectrogramDataset(tiny_data / "fma_genre_spectrograms").label_transformer.classes_ == [
        "Chiptune",
        "Rock",
        "Ρεμπέτικο",
    ]


def test_the_test_set_follows_the_training_set(splits):
    train, test = splits
    assert test.max_length == train.max_length and test.label_transformer is train.label_transformer
    assert not set(train.ids) & set(test.ids) and len(test) == 12


def test_max_length_cuts_long_clips_and_their_lengths(tiny_data):
    dataset = SpectrogramDataset(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), max_length=7)
    x, _, length = dataset[0]
    assert x.shape == (7, 140) and length == 7 and set(dataset.lengths) == {7}


def test_emotion_labels_by_axis(tiny_data):
    folder = tiny_data / "multitask_dataset"
    by_axis = [SpectrogramDataset(folder, axis=axis).labels for axis in AXES]
    together = SpectrogramDataset(folder, axis=AXES).labels
    assert together.shape == (24, 3) and together.dtype == np.float32
    np.testing.assert_array_equal(np.stack(by_axis, axis=1), together)
    assert len({column.tobytes() for column in by_axis}) == 3
    np.testing.assert_allclose(by_axis[1], np.arange(24) / 24, atol=1e-3)  # energy, as the fixture wrote it
    hidden = SpectrogramDataset(folder, axis="energy", train=False)
    assert hidden.ids == [str(number) for number in range(9500, 9506)] and np.isnan(hidden.labels).all()


def test_a_name_without_a_file_is_an_error_with_its_line(tiny_data):
    (tiny_data / "fma_genre_spectrograms" / "train" / "1002.fused.full.npy").unlink()
    with pytest.raises(LabError, match=r"train_labels\.txt, line 4: .*1002\.fused\.full\.npy was expected"):
        SpectrogramDataset(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data))


def test_a_test_class_that_training_never_shows_is_an_error(tiny_data):
    labels = tiny_data / "fma_genre_spectrograms" / "train_labels.txt"
    text = labels.read_bytes().decode()
    labels.write_bytes("\r\n".join(line for line in text.splitlines() if "Rock" not in line).encode())
    with pytest.raises(LabError, match=r"test_labels\.txt, line 2: a class of the training set"):
        genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")


@pytest.mark.parametrize(
    ("clips", "share", "held_out"), [(2305, 0.33, 760), (2305, 0.2, 461), (1122, 0.33, 370), (1122, 0.2, 224)]
)
def test_the_split_rounds_as_the_lab_does_and_loses_no_clip(clips, share, held_out):
    train, val = torch_train_val_split(TensorDataset(torch.arange(clips)), 32, 32, share, seed=3)
    assert len(val.dataset) == held_out and len(train.dataset) == clips - held_out
    assert sorted([*train.dataset.indices, *val.dataset.indices]) == list(range(clips))


def test_the_split_is_fixed_by_its_seed_alone():
    dataset = TensorDataset(torch.arange(50))
    numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state()

    def held_out(**options):
        return torch_train_val_split(dataset, 8, 8, **options)[1].dataset.indices

    assert held_out(seed=1) == held_out(seed=1) != held_out(seed=2)
    assert held_out(seed=None) != held_out(seed=None)
    assert held_out(shuffle=False) == list(range(10))
    assert np.random.get_state()[1].tolist() == numpy_state and torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("share", [0, 0.001, 1, float("nan")])
def test_a_split_that_leaves_one_empty_is_refused(share):
    with pytest.raises(LabError, match=str(share)):
        torch_train_val_split(TensorDataset(torch.arange(50)), 8, 8, share)


def test_loaders_trim_to_the_longest_clip_and_keep_every_clip(splits):
    train, _ = torch_train_val_split(splits[0], 5, 5, seed=0)
    lengths = []
    for x, y, n in train:
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and x.shape[1] == n.max() and x.shape[2] == 128
        for clip, length in zip(x, n, strict=True):
            assert clip[length - 1].any() and not clip[length:].any()
        lengths.append(len(y))
    assert lengths == [5, 5, 5, 5] and sum(lengths) == len(train.dataset)


def test_training_order_changes_by_epoch_and_validation_order_never(splits):
    def pass_of(loader):
        return [tuple(y.tolist() + n.tolist()) for _, y, n in loader]

    train, val = torch_train_val_split(splits[0], 5, 5, seed=0)
    again, _ = torch_train_val_split(splits[0], 5, 5, seed=0)
    state = torch.get_rng_state()
    first, second = pass_of(train), pass_of(train)
    assert first != second and [pass_of(again), pass_of(again)] == [first, second]
    assert pass_of(val) == pass_of(val)
    assert torch.equal(torch.get_rng_state(), state)
    again.batch_sampler.epoch = 1
    assert pass_of(again) == second  # a resumed run goes on with the order of its epoch


def test_a_split_of_a_split_still_knows_its_clips(splits):
    rest, test = torch_train_val_split(splits[0], 4, 4, 0.2, seed=0)
    train, val = torch_train_val_split(rest.dataset, 4, 4, 0.33, seed=0)
    parts = [clip_ids(loader.dataset) for loader in (train, val, test)]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == sorted(splits[0].ids)
    by_id = dict(zip(splits[0].ids, splits[0].labels, strict=True))
    assert clip_labels(val.dataset).tolist() == [by_id[ident] for ident in parts[1]]


def test_a_dry_run_takes_clips_from_all_over_the_split_and_makes_no_cache(tiny_data, tmp_path):
    dataset = SpectrogramDataset(
        tiny_data / "fma_genre_spectrograms",
        load_class_mapping(tiny_data),
        read=cached(tmp_path / "cache", build=False),
        at_most=6,
    )
    assert len(dataset) == 6 and set(dataset.labels) == {0, 1} and not (tmp_path / "cache").exists()


def test_a_batch_size_above_the_set_gives_one_batch(splits):
    assert [len(y) for _, y, _ in make_loader(splits[1], 100)] == [12]


def test_two_data_folders_never_share_a_cache(tiny_data, tmp_path):
    copied = tmp_path / "other" / "data"
    shutil.copytree(tiny_data, copied)
    for path in (copied / "multitask_dataset" / "train").iterdir():
        original = (tiny_data / "multitask_dataset" / "train" / path.name).stat()
        np.save(path, np.load(path)[:, ::-1])
        os.utime(path, ns=(original.st_atime_ns, original.st_mtime_ns))
    one, other = (
        SpectrogramDataset(root / "multitask_dataset", axis="energy", read=cached(tmp_path / "cache"))
        for root in (tiny_data, copied)
    )
    assert not np.array_equal(one[0][0], other[0][0])


def test_a_dry_run_knows_every_class_of_the_whole_side(tiny_data):
    labels = tiny_data / "fma_genre_spectrograms" / "train_labels.txt"
    lines = labels.read_bytes().decode().split("\r\n")
    rare = [line for line in lines if "Ρεμπέτικο" in line][1:]
    labels.write_bytes("\r\n".join(line for line in lines if line not in rare).encode())
    train, test = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel", at_most=4)
    assert train.label_transformer.classes_ == ["Rock", "Ελληνικά"] and len(train) == len(test) == 4


@pytest.mark.parametrize("options", [{"features": "mell"}, {"axis": "arousal"}, {"axis": ("valence", "joy")}])
def test_unknown_features_and_axes_are_refused_with_the_choices(tiny_data, options):
    with pytest.raises(LabError, match=r"mel, chroma, fused .* valence, energy, danceability"):
        SpectrogramDataset(tiny_data / "multitask_dataset", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"train": "test"},
        {"train": "train"},
        {"train": None},
        {"max_length": 0},
        {"max_length": -2},
        {"max_length": 10.5},
        {"max_length": float("nan")},
        {"max_length": "10"},
        {"max_length": None},
        {"features": ["mel"]},
        {"axis": {"energy"}},
        {"at_most": 0},
        {"axis": ()},
        {"axis": 1},
    ],
)
def test_arguments_that_would_be_taken_for_others_are_refused(tiny_data, options):
    with pytest.raises(LabError, match="expected"):
        SpectrogramDataset(tiny_data / "multitask_dataset", **{"axis": "energy", **options})


def test_what_is_odd_about_the_clips_of_a_run_is_noted_and_nothing_else(tiny_data, capsys):
    folder = tiny_data / "fma_genre_spectrograms"
    print_notes(["Jazz", "Rock"], [SpectrogramDataset(folder)])
    assert capsys.readouterr().out == ""
    clip = folder / "train" / "1003.fused.full.npy"
    np.save(clip, np.roll(np.load(clip), 12, axis=0))
    dataset = SpectrogramDataset(folder)
    splits = *(loader.dataset for loader in torch_train_val_split(dataset, 2, 2, 0.5)), None
    print_notes(["Ro-ck", "Rock"], splits)
    names, values = capsys.readouterr().out.splitlines()
    assert names == "note       : 'Ro-ck' and 'Rock' are two classes, but nearly the same name"
    assert values.startswith(
        f"note       : {folder / 'train'}: 1 of {len(dataset)} clips looked at, among them '1003', do"
    )


def test_ids_with_dots_are_told_apart(tmp_path):
    (tmp_path / "genres" / "train").mkdir(parents=True)
    rows = [(f"{genre}.{k:05}", genre) for genre in ("rock", "pop") for k in range(4)]
    for number, (ident, _) in enumerate(rows):
        np.save(tmp_path / "genres" / "train" / f"{ident}.fused.full.npy", np.full((140, number + 1), 0.5))
    (tmp_path / "genres" / "train_labels.txt").write_text("".join(f"{i}.wav\t{g}\n" for i, g in reversed(rows)))
    dataset = SpectrogramDataset(tmp_path / "genres")
    assert dataset.ids == [ident for ident, _ in reversed(rows)] and dataset.lengths.tolist() == [
        8,
        7,
        6,
        5,
        4,
        3,
        2,
        1,
    ]


def test_an_empty_batch_is_refused(splits):
    with pytest.raises(LabError, match="at least 1 clip"):
        make_loader(splits[0], 0)


def test_a_workers_copy_maps_the_cache_again(tiny_data, tmp_path):
    dataset = SpectrogramDataset(tiny_data / "multitask_dataset", axis="energy", read=cached(tmp_path / "cache"))
    sent = pickle.dumps(dataset)
    assert len(sent) < dataset.clips.frames.nbytes / 10
    np.testing.assert_array_equal(pickle.loads(sent)[3][0], dataset[3][0])


def test_a_single_label_of_a_dataset_gives_its_name(splits):
    names = splits[0].label_transformer
    assert names.inverse(splits[0][0][1]) == names.inverse(torch.tensor(0)) == "Rock"
