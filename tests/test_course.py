"""extras/course.py: cells as students wrote them over the course's two forms of code, and the numbers of common/."""

import json

import numpy as np
import pytest
import torch
from small_data import write_small_data
from torch import nn
from torch.utils.data import DataLoader

from common import dataset as lab
from common.errors import LabError
from common.labels import load_class_mapping
from common.training import train_epoch
from extras import course

KERNEL = """
import torch
from torch import nn
from torch.utils.data import DataLoader
from extras.course import SpectrogramDataset, torch_train_val_split, read_mel_spectrogram, read_fused_spectrogram
from extras.course import LSTMBackbone

mel_specs = SpectrogramDataset(DATA + '/fma_genre_spectrograms/', class_mapping, True, -1, read_mel_spectrogram)
train_loader, val_loader = torch_train_val_split(mel_specs, 8, 8, val_size=.33, seed=42)
test_specs = SpectrogramDataset(DATA + '/fma_genre_spectrograms/', train=False, class_mapping=class_mapping,
                                max_length=mel_specs.max_length, read_spec_fn=read_mel_spectrogram)
test_loader, _ = torch_train_val_split(test_specs, 8, 8, val_size=0)

class BasicLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = LSTMBackbone(mel_specs.feat_dim, 16)
        self.out = nn.Linear(16, len(set(mel_specs.labels)))
    def forward(self, x, lengths):
        return self.out(self.lstm(x, lengths))

class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4))
        self.fc = nn.Linear(4 * (mel_specs.max_length // 4) * (128 // 4), 3)
    def forward(self, x, lengths):
        x = self.conv(x.view(-1, 1, x.size(1), x.size(2)))
        return self.fc(x.view(x.size(0), -1))

losses, predicted = [], {}
for net in (BasicLSTM(), CNN()):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(2):
        net.train()
        for x, y, lengths in train_loader:
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(net(x.float(), lengths), y.long())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        logits = [net(x.float(), lengths) for loader in (val_loader, test_loader) for x, y, lengths in loader]
    predicted[type(net).__name__] = torch.cat(logits).argmax(1)
names = mel_specs.label_transformer.inverse(predicted['CNN'][-len(test_specs):])
"""

FILES = """
import torch
from torch import nn
from extras.course import (CLASS_MAPPING, Classifier, LSTMBackbone, MultitaskRegressor, Regressor, SpectrogramDataset,
                           kaggle_submission, torch_train_val_split)

class CNNBackbone(nn.Module):
    def __init__(self, input_dims, feature_size):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(4))
        self.fc = nn.Linear(4 * (input_dims[0] // 4) * (input_dims[1] // 4), feature_size)
        self.feature_size = feature_size
    def forward(self, x):
        return self.fc(self.conv(x.unsqueeze(1)).flatten(1))

def train(model, loader, optimizer, epochs, device):
    for epoch in range(epochs):
        model.train()
        for x, y, lengths in loader:
            loss, logits = model(x.float().to(device), y.to(device), lengths)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()

dataset = SpectrogramDataset(DATA + '/fma_genre_spectrograms', class_mapping=class_mapping, train=True,
                             feat_type='mel', max_length=WIDTH)
train_loader, val_loader = torch_train_val_split(dataset, 8, 8, val_size=.2)
cnn = Classifier(CNNBackbone((WIDTH, 128), 10), 3)
losses = [train(cnn, train_loader, torch.optim.Adam(cnn.parameters()), 2, 'cpu')]
lstm = Classifier(LSTMBackbone(128, 8, bidirectional=True), 3)
losses.append(train(lstm, train_loader, torch.optim.Adam(lstm.parameters()), 1, 'cpu'))
torch.save(cnn.state_dict(), CHECKPOINT)

regression = SpectrogramDataset(DATA + '/multitask_dataset', train=True, feat_type='mel', max_length=WIDTH,
                                regression_label_index=2)
loader, _ = torch_train_val_split(regression, 8, 8)
regressor = Regressor(CNNBackbone((WIDTH, 128), 10), load_from_checkpoint=CHECKPOINT)
before = regressor.backbone.fc.weight.detach().clone()
losses.append(train(regressor, loader, torch.optim.Adam(regressor.parameters()), 1, 'cpu'))

three = SpectrogramDataset(DATA + '/multitask_dataset', None, True, 'mel', WIDTH, (1, 2, 3))
loader, _ = torch_train_val_split(three, 8, 8)
multitask = MultitaskRegressor(CNNBackbone((WIDTH, 128), 10))
losses.append(train(multitask, loader, torch.optim.Adam(multitask.parameters()), 1, 'cpu'))
hidden = SpectrogramDataset(DATA + '/multitask_dataset', None, False, 'mel', WIDTH, (1, 2, 3))
hidden_loader, _ = torch_train_val_split(hidden, 4, 4, val_size=0)
kaggle_submission(multitask, hidden_loader, path=SUBMISSION)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small_data(tmp_path_factory.mktemp("course") / "data")


@pytest.fixture(scope="module")
def genres(small):
    return course.SpectrogramDataset(small.path / "fma_genre_spectrograms", load_class_mapping(small.path), True, "mel")


def test_cells_over_the_kernel_of_2019_to_2021(small):
    torch.manual_seed(0)
    cells = {"DATA": str(small.path), "class_mapping": load_class_mapping(small.path)}
    exec(KERNEL, cells)
    assert np.isfinite(cells["losses"]).all()
    labels = small.genres["fma_genre_spectrograms", "test"]
    assert len(cells["names"]) == len(labels) and set(cells["names"]) <= set(labels.values())


def test_cells_over_the_files_of_2021_and_later(small, tmp_path):
    torch.manual_seed(0)
    names = {"DATA": str(small.path), "class_mapping": load_class_mapping(small.path), "WIDTH": 36}
    cells = {**names, "CHECKPOINT": tmp_path / "cnn.pt", "SUBMISSION": tmp_path / "solution.txt"}
    exec(FILES, cells)
    assert np.isfinite(cells["losses"]).all()
    assert torch.equal(cells["before"], torch.load(tmp_path / "cnn.pt")["backbone.fc.weight"])
    header, *lines = (tmp_path / "solution.txt").read_text().splitlines()
    assert header.endswith("valence,energy,danceability")
    found = {line.split(",")[0].split(".")[0]: [float(word) for word in line.split(",")[1:]] for line in lines}
    assert sorted(found) == sorted(small.hidden)
    ident = small.hidden[3]
    clip = small.frames["multitask_dataset", "test"][ident][:128].T.astype(np.float16)[:36]
    x = np.vstack([clip, np.zeros((36 - len(clip), 128))]).astype(np.float32)
    values = cells["multitask"](torch.from_numpy(x)[None], torch.zeros(1, 3), torch.tensor([36]))[1][0].tolist()
    assert found[ident] == pytest.approx(values, abs=2e-6)


def test_clips_labels_and_lengths_are_those_of_common(small, genres):
    ours = lab.SpectrogramDataset(small.path / "fma_genre_spectrograms", load_class_mapping(small.path), features="mel")
    assert genres.ids == ours.ids and genres.labels.tolist() == ours.labels.tolist()
    assert [len(clip) for clip in genres.feats] == genres.lengths.tolist() == ours.lengths.tolist()
    for number in (0, 7):
        assert np.array_equal(genres[number][0], ours[number][0]) and genres[number][1:] == ours[number][1:]
        assert np.array_equal(genres.feats[number], ours[number][0][: ours[number][2]])


def test_an_epoch_has_the_numbers_of_common(genres):
    found = []
    for split in (course.torch_train_val_split, lab.torch_train_val_split):
        torch.manual_seed(0)
        model = lab_model = course.Classifier(course.LSTMBackbone(128, 8), 3)
        forward = super(course.Classifier, lab_model).forward
        optimizer = torch.optim.Adam(model.parameters())
        network = Plain(model, forward)
        train_loader, val_loader = split(genres, 8, 8, 0.33, seed=3)
        losses = [train_epoch(network, train_loader, nn.CrossEntropyLoss(), optimizer) for _ in range(2)]
        found.append((losses, [y.tolist() for _, y, _ in val_loader]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6) and found[0][1] == found[1][1]


class Plain(nn.Module):
    """A model of the course's form with the forward of common's."""

    def __init__(self, model, forward):
        super().__init__()
        self.model, self.plain = model, forward

    def forward(self, x, lengths):
        return self.plain(x, lengths)


def test_batches_are_as_wide_as_max_length_and_hold_each_clip_once(genres):
    train_loader, val_loader = course.torch_train_val_split(genres, 4, 5, 0.33, seed=1)
    assert train_loader.dataset is val_loader.dataset is genres
    x, y, lengths = zip(*(batch for loader in (train_loader, val_loader) for batch in loader), strict=True)
    assert {(each.shape[1], each.dtype) for each in x} == {(genres.max_length, torch.float32)}
    assert sorted(torch.cat(lengths).tolist()) == sorted(genres.lengths.tolist())
    assert torch.cat(y).bincount().tolist() == np.bincount(genres.labels).tolist()
    assert len(val_loader.batch_sampler.indices) == int(0.33 * len(genres))


def test_the_courses_own_split_on_request(genres):
    state = np.random.get_state()[1].tolist()
    _, val_loader = course.torch_train_val_split(genres, 4, 4, 0.33, seed=420, course_split=True)
    assert np.random.get_state()[1].tolist() == state
    indices = list(range(len(genres)))
    np.random.seed(420)
    np.random.shuffle(indices)
    np.random.seed(None)
    assert val_loader.batch_sampler.indices == indices[: int(0.33 * len(genres))]


def test_a_test_loader_of_size_0_keeps_the_order(small, genres):
    folder, table = small.path / "fma_genre_spectrograms", load_class_mapping(small.path)
    test = course.SpectrogramDataset(folder, table, False, feat_type="chroma")
    loader, empty = course.torch_train_val_split(test, 4, 4, val_size=0)
    assert len(empty) == 0 and torch.cat([y for _, y, _ in loader]).tolist() == test.labels.tolist()
    everything, _ = course.torch_train_val_split(genres, 4, 4, val_size=0)
    labels = torch.cat([y for _, y, _ in everything]).tolist()
    assert sorted(labels) == sorted(genres.labels.tolist()) and labels != genres.labels.tolist()


def test_a_test_split_that_lacks_a_class_numbers_the_others_as_the_training_split(tmp_path):
    small = write_small_data(tmp_path / "data")
    table = {**load_class_mapping(small.path), "Jazz": None}
    (small.path / "class_mapping.json").write_text(json.dumps(table))
    labels = small.path / "fma_genre_spectrograms/test_labels.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(line for line in lines if "Punk" not in line and "Rock" not in line) + "\n")
    test = course.SpectrogramDataset(small.path / "fma_genre_spectrograms", table, False, "mel")
    assert set(test.label_transformer.inverse_transform(test.labels)) == {"Ελληνικά"} and set(test.labels) == {1}


def test_a_reader_of_ones_own_is_called_for_each_file(small):
    read = []

    def bass(file):
        read.append(file)
        return np.load(file)[:5].T

    dataset = course.SpectrogramDataset(
        small.path / "multitask_dataset", None, True, -1, bass, regression_label_index=3
    )
    assert dataset.feat_dim == 5 and dataset[0][0].shape == (dataset.max_length, 5) and len(read) == len(dataset)
    assert dataset.labels[0] == np.float32(small.emotions["multitask_dataset"][dataset.ids[0]][2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feat_type": "mels"}, "mel, chroma or fused was expected, not 'mels'"),
        ({"feat_type": "mel", "regression_label_index": 0}, "1 valence, 2 energy, 3 danceability were expected, not 0"),
        ({"feat_type": "mel", "regression_label_index": 4}, "not 4"),
        ({"feature": "mel"}, "feature"),
    ],
)
def test_what_was_a_trap_is_refused(small, options, words):
    with pytest.raises(LabError, match=words):
        course.SpectrogramDataset(small.path / "multitask_dataset", None, True, **options)


def test_features_that_nobody_chose_are_named(small, capsys):
    folder = small.path / "fma_genre_spectrograms"
    assert course.SpectrogramDataset(folder, load_class_mapping(small.path), True).feat_dim == 140
    assert "neither feat_type nor read_spec_fn is given: fused features" in capsys.readouterr().out


def test_submissions_of_a_shuffled_loader_and_foreign_checkpoints_are_refused(small, tmp_path):
    hidden = course.SpectrogramDataset(small.path / "multitask_dataset", None, False, "mel", -1, (1, 2, 3))
    model = course.MultitaskRegressor(course.LSTMBackbone(128, 4))
    with pytest.raises(LabError, match="this one shuffles"):
        course.kaggle_submission(model, DataLoader(hidden, 4, shuffle=True), path=tmp_path / "s.txt")
    with pytest.raises(LabError, match="all 11 clips in order and three values"):
        one = course.SpectrogramDataset(small.path / "multitask_dataset", None, False, "mel", -1, 2)
        regressor = course.Regressor(course.LSTMBackbone(128, 4))
        course.kaggle_submission(regressor, DataLoader(one, 4), path=tmp_path / "s.txt")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    torch.save(model.state_dict(), tmp_path / "other.pt")
    for name, words in (("broken.pt", "a checkpoint was expected"), ("other.pt", "other.pt")):
        with pytest.raises(LabError, match=words):
            course.load_backbone_from_checkpoint(course.LSTMBackbone(12, 4), tmp_path / name)
    course.load_backbone_from_checkpoint(course.LSTMBackbone(128, 4), tmp_path / "other.pt")
