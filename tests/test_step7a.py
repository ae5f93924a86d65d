"""Step 7a: parameters, gradients, occlusion, idx files, figures, and the script with and without a checkpoint."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import step7_cnn
import step7a_look_inside
from common import run
from common.checkpoints import read_checkpoint
from common.errors import LabError
from common.files import save_checkpoint
from common.models import Classifier, CNNBackbone
from common.plots import png
from common.spectrogram_plots import mel_band_of
from extras.inside.digits import centre_crops, digits_network, mnist_digits, random_crops, read_idx, small_digits
from extras.inside.measure import (
    Inside,
    hertz_of_band,
    layer_lines,
    layer_table,
    logits_of,
    look_inside,
    number_text,
    occlusion,
    occlusion_map,
    parameters_of,
    shape_text,
    spans,
)
from extras.inside.plots import evidence_figure, filter_tiles, in_rows, layers_figure, stages_figure, weights_figure

REPOSITORY = Path(__file__).resolve().parent.parent
FIGURES = {"digits_layers.png", "digits_weights.png"}
GENRE_FIGURES = {"genre_stages.png", "genre_filters.png", "genre_occlusion.png"}


@pytest.fixture
def flags(tiny_data, tmp_path):
    return ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made but not rendered, which takes most of the time of a run on such small data."""
    for module in (step7a_look_inside, run):
        monkeypatch.setattr(module, "png", lambda figure: b"\x89PNG")


def look(flags, *more):
    return step7a_look_inside.main([*flags, "--digit-epochs", "1", *map(str, more)])[0]


def test_parameters_written_out():
    model = digits_network()
    assert parameters_of(model.conv1) == (208, "8x5x5x1+8 = 208")
    assert parameters_of(model.conv2) == (3216, "16x5x5x8+16 = 3216")
    assert parameters_of(model.fc) == (2570, "10x256+10 = 2570")
    assert parameters_of(nn.BatchNorm2d(16)) == (32, "16+16 = 32") and parameters_of(model.relu1) == (0, "-")
    assert sum(parameters_of(layer)[0] for layer in model) == sum(parameter.numel() for parameter in model.parameters())


def test_a_layer_in_the_write_ups_form():
    inside = Inside(
        torch.tensor([3.16037, -3.72928]).expand(8, 24, 12, 2).reshape(8, 24, 24),
        torch.linspace(-0.0059, 0.00348, 4608).view(8, 24, 24),
    )
    assert layer_lines("conv", inside, digits_network().conv1) == [
        "conv (24x24x8)",
        "filter size 5x5x1, stride 1",
        "max activation: 3.16037, min: -3.72928",
        "max gradient: 0.00348, min: -0.0059",
        "parameters: 8x5x5x1+8 = 208",
    ]
    assert layer_lines("pool", inside, nn.MaxPool2d(3, 3))[1] == "pooling size 3x3, stride 3"
    assert layer_lines("softmax", Inside(torch.tensor([0.98764, 0.00001]), torch.zeros(2))) == [
        "softmax (1x1x2)",
        "max activation: 0.98764, min: 0.00001",
        "max gradient: 0, min: 0",
    ]
    assert [number_text(value) for value in (0.0, -0.0, 1.0, 100.0, -2.1e-7, 0.000006)] == [
        "0",
        "0",
        "1",
        "100",
        "-2.1e-07",
        "0.00001",
    ]
    assert shape_text((16, 430, 128)) == "430x128x16" and shape_text((10,)) == "1x1x10"


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    x, true = torch.randn(1, 1, 4, 4, dtype=torch.float64), 1
    logits, layers = look_inside(model, {"tanh": model[1], "linear": model[4]}, true, x)
    assert list(layers) == ["input", "tanh", "linear"] and torch.equal(layers["linear"].activation, logits)
    torch.testing.assert_close(
        layers["linear"].gradient, logits.softmax(dim=0) - nn.functional.one_hot(torch.tensor(true), 3)
    )

    def loss(rest, values):
        return nn.functional.cross_entropy(rest(values[None]), torch.tensor([true])).item()

    for name, rest, tolerance in (("input", model, 1e-7), ("tanh", model[2:], 1e-7)):
        values, gradient = layers[name]
        for index in np.ndindex(*values.shape):
            step = torch.zeros_like(values)
            step[index] = 1e-5
            assert (loss(rest, values + step) - loss(rest, values - step)) / 2e-5 == pytest.approx(
                gradient[index].item(), abs=tolerance
            )
    step = torch.zeros_like(model[0].weight)
    step[1, 0, 2, 1] = 1e-5
    with torch.no_grad():
        changed = [
            loss(
                lambda v, w=model[0].weight + sign * step: model[1:](
                    nn.functional.conv2d(v, w, model[0].bias, padding=1)
                ),
                x[0],
            )
            for sign in (1, -1)
        ]
    assert (changed[0] - changed[1]) / 2e-5 == pytest.approx(model[0].weight.grad[1, 0, 2, 1].item(), abs=1e-7)


def test_the_table_of_layers_counts_every_parameter():
    model = Classifier(CNNBackbone(128, (4, 6), 3), 5)
    x, lengths = torch.randn(1, 41, 128), torch.tensor([41])
    rows = layer_table(model, x, lengths)
    assert sum(row["count"] for row in rows) == sum(parameter.numel() for parameter in model.parameters())
    assert [row["layer"] for row in rows] == [
        *(f"stage {stage} {kind}" for stage in (1, 2) for kind in ("conv 3x3", "batch norm", "max pool 2x2", "ReLU")),
        "mean over time",
        "linear head",
    ]
    assert [row["output"] for row in rows] == ["41x128x4"] * 2 + ["20x64x4"] * 2 + ["20x64x6"] * 2 + ["10x32x6"] * 2 + [
        "1x1x192",
        "1x1x5",
    ]
    assert (
        rows[0]["parameters"] == "4x3x3x1+4 = 40"
        and rows[1]["parameters"] == "4+4 = 8"
        and rows[-1]["parameters"] == "5x192+5 = 965"
    )
    assert not any(module._forward_hooks for module in model.modules())
    stages = {f"stage {number}": stage for number, stage in enumerate(model.backbone.stages, start=1)}
    logits, layers = look_inside(model, stages, 3, x, lengths)
    torch.testing.assert_close(logits, logits_of(model, x, lengths)[0])
    assert [tuple(inside.activation.shape) for inside in layers.values()] == [(41, 128), (4, 20, 64), (6, 10, 32)]
    assert (
        all(inside.gradient.abs().max() > 0 for inside in layers.values()) and layers["stage 2"].activation.min() == 0
    )


class Bell(nn.Module):
    """Two classes; the first is the more likely, the louder frames 60..69 are in bands 20..29."""

    def forward(self, x, lengths):
        assert x.shape[1] == int(lengths[0])
        loud = x[:, 60:70, 20:30].mean(dim=(1, 2))
        return torch.stack([loud, torch.zeros_like(loud)], dim=1)


def test_occlusion_finds_a_planted_region():
    clip = torch.zeros(100, 128)
    clip[60:70, 20:30] = 4.0
    regions = occlusion(Bell(), clip, 0, (10, 8))
    assert len(regions) == 19 * 15
    most = max(regions, key=lambda region: region.drop)
    assert (most.frames, most.bands) == (slice(60, 70), slice(16, 32))
    # the window covers all of it, and replaces it by each band's mean over the clip, 0.4
    assert most.drop == pytest.approx(
        torch.tensor([4.0, 0.0]).log_softmax(0)[0].item() - torch.tensor([0.4, 0.0]).log_softmax(0)[0].item()
    )
    drops = occlusion_map(regions)
    assert drops.shape == (100, 128) and drops[60:70, 20:30].min() > 0 and drops[:50].abs().max() == 0
    assert occlusion(Bell(), clip, 1, (10, 8))[regions.index(most)].drop < 0
    assert clip.sum() == 400  # unchanged
    for size, parts in ((1, 10), (7, 10), (40, 10), (1292, 10), (128, 8)):
        covered = np.zeros(size)
        for span in spans(size, parts):
            assert 0 <= span.start < span.stop <= size
            covered[span] += 1
        assert covered.min() > 0


def test_bands_to_hertz_and_back():
    for hertz in (30.0, 500.0, 1000.0, 8000.0):
        assert hertz_of_band(mel_band_of(hertz)) == pytest.approx(hertz)


def write_idx(path, array):
    content = (
        b"\0\0\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(np.uint8).tobytes()
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder, train=80, held=20):
    folder.mkdir()
    images, labels, *_ = small_digits(0)[1:]
    pixels = (255 * images).astype(np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels[:train])
    write_idx(folder / "train-labels.idx1-ubyte", labels[:train])
    write_idx(folder / "t10k-images.idx3-ubyte", pixels[train : train + held])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels[train : train + held])
    return folder


def test_idx_files_there_and_back(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for name in ("a", "a.gz"):
        write_idx(tmp_path / name, array)
        np.testing.assert_array_equal(read_idx(tmp_path / name), array)
    digits = mnist_digits(write_mnist(tmp_path / "mnist"))
    assert digits.train_images.shape == (80, 28, 28) and digits.held_labels.shape == (20,)
    assert (
        digits.train_images.dtype == np.float32
        and 0.9 < digits.train_images.max() <= 1
        and digits.train_labels.dtype == np.int64
    )


def test_damaged_idx_files_are_errors_with_their_path(tmp_path):
    folder = write_mnist(tmp_path / "mnist")
    whole = (folder / "train-labels.idx1-ubyte").read_bytes()
    for name, content in {
        "short": whole[:-1], "long": whole + b"x", "header": whole[:6], "empty": b"", "text": b"hello there",
        "floats": b"\0\0\x0d" + whole[3:], "wide": b"\0\0\x08\x09" + bytes(40), "lie": b"\0\0\x08\x03" + b"\xff" * 12,
        "rest.gz": gzip.compress(whole)[:-12], "plain.gz": whole,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LabError, match=f"{name}: ") as refusal:
            read_idx(tmp_path / name)
        assert "\n" not in str(refusal.value)
    for array, words in (
        (np.zeros((80, 2)), "80 labels were expected"),
        (np.full(80, 10), "labels from 0 to 9"),
        (np.zeros(79), "80 labels"),
    ):
        write_idx(folder / "train-labels.idx1-ubyte", array)
        with pytest.raises(LabError, match=f"train-labels.idx1-ubyte: .*{words}"):
            mnist_digits(folder)
    write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros((80, 27, 28)))
    with pytest.raises(LabError, match="28 x 28 pixels were expected"):
        mnist_digits(folder)
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(LabError, match="MNIST's file train-images-idx3-ubyte was expected there"):
        mnist_digits(folder)


def test_digits_are_split_by_seed_and_cropped():
    digits, other = small_digits(0), small_digits(1)
    assert len(digits.train_labels) == 1438 and len(digits.held_labels) == 359
    assert (
        digits.train_images.min() == 0 and digits.train_images.max() == 1 and digits.train_images.shape[1:] == (28, 28)
    )
    assert not np.array_equal(digits.held_labels, other.held_labels) and np.array_equal(
        digits.held_labels, small_digits(0).held_labels
    )
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28)
    np.testing.assert_array_equal(centre_crops(images, 24), images[:, 2:26, 2:26])
    rng = np.random.default_rng(0)
    corners = {
        (int(crop[0, 0]) // 28, int(crop[0, 0]) % 28) for crop in random_crops(images[:1].repeat(500, axis=0), 24, rng)
    }
    assert corners == {(down, across) for down in range(5) for across in range(5)}


def test_figures_name_their_axes():
    model = digits_network()
    _, layers = look_inside(model, {"conv2": model.conv2, "fc": model.fc}, 3, torch.rand(1, 1, 24, 24))
    figure = layers_figure(layers)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels[2:4]] == [
        "conv2 (12x12x16): activations",
        "conv2 (12x12x16): activation gradients",
    ]
    assert [label.get_text() for label in panels[2].get_yticklabels()] == ["0", "8"]
    low, high = panels[3].images[0].get_clim()
    assert low == -high and high == pytest.approx(layers["conv2"].gradient.abs().max().item())
    assert len(panels[4].patches) == 10
    name, weights, gradients, *_ = filter_tiles("conv2", model.conv2)
    assert name == "conv2" and weights.shape == gradients.shape == (8, 16, 5, 5)
    np.testing.assert_array_equal(weights[3, 7], model.conv2.weight[7, 3].detach())
    assert filter_tiles("fc", model.fc, torch.Size([16, 4, 4]))[1].shape == (10, 16, 4, 4)
    assert in_rows(np.zeros((10, 2, 3))).shape == (2, 8, 2, 3) and in_rows(np.zeros((3, 2, 3))).shape == (1, 3, 2, 3)

    first = nn.Conv2d(1, 16, 3)
    first.weight.grad = torch.zeros_like(first.weight)
    tiles = filter_tiles("stage 1", first, spectrogram=True)
    assert (
        tiles[1].shape == (2, 8, 3, 3) and tiles[1][1, 2, 0, 1] == first.weight[10, 0, 1, 2]
    )  # the highest band is on top
    assert weights_figure([tiles]).axes[0].get_xlabel().startswith("filter")

    clip = np.random.default_rng(0).uniform(-80, 0, (80, 128)).astype(np.float32)
    figure = stages_figure(
        clip, [("stage 1", np.ones((3, 40, 64))), ("stage 2", np.zeros((5, 20, 32)))], 2, "a $title$ with $"
    )
    assert [ax.get_xlabel() for ax in figure.axes if ax.images] == ["time (s)"] * 5 and len(png(figure)) > 5000
    regions = occlusion(Bell(), torch.from_numpy(clip), 0, (10, 8))
    figure = evidence_figure(clip, regions, regions[3], np.abs(clip), "$ock", "title")
    assert [ax.get_ylabel() for ax in figure.axes[:2]] == ["frequency (Hz, mel scale)"] * 2
    assert figure.axes[0].images[0].get_extent() == figure.axes[1].images[0].get_extent() and len(png(figure)) > 5000


@pytest.mark.parametrize(("epochs", "accuracy"), [(4, 0.9), pytest.param(12, 0.97, marks=pytest.mark.soak)])
def test_held_out_digits_are_recognised_and_part_2_needs_step_7(epochs, accuracy, flags, tmp_path, capsys, undrawn):
    (result,) = step7a_look_inside.main([*flags, *["--digit-epochs", str(epochs)] * (epochs < 12)])
    printed = capsys.readouterr().out
    assert result["digits_acc"] >= accuracy and set(result) == {"digits_acc"}
    assert "step7_cnn.py has to run first" in printed
    assert printed.splitlines()[-1] == f"RESULT step7a_look_inside digits_acc={result['digits_acc']:.4f}"
    blocks = [
        line
        for line in printed.splitlines()
        if line.endswith(")") and line.split(" (")[0] in ("input", "conv", "relu", "pool", "fc", "softmax")
    ]
    assert blocks == [
        "input (24x24x1)", "conv (24x24x8)", "relu (24x24x8)", "pool (12x12x8)", "conv (12x12x16)", "relu (12x12x16)", "pool (4x4x16)",
        "fc (1x1x10)", "softmax (1x1x10)",
    ]  # fmt: skip
    assert "parameters: 16x5x5x8+16 = 3216\n" in printed and "max gradient: 0, min: 0\n" in printed
    folder = tmp_path / "runs" / "step7a_look_inside" / "digits_seed0"
    assert {path.name for path in folder.glob("*.png")} == FIGURES
    assert len(json.loads((folder / "history.json").read_text())) == epochs


@pytest.fixture
def trained(flags, tmp_path, undrawn, monkeypatch):
    """A run of step 7; part 1, which has a test of its own, gets 320 digits."""
    digits = small_digits(0)
    digits = digits._replace(train_images=digits.train_images[:320], train_labels=digits.train_labels[:320])
    monkeypatch.setattr(step7a_look_inside, "small_digits", lambda seed: digits)
    step7_cnn.main([*flags, "--epochs", "1", "--batch-size", "8", "--no-baselines"])
    return tmp_path / "runs" / "step7_cnn" / "mel_seed0" / "best.pt"


def test_a_clip_through_the_genre_cnn(flags, trained, tiny_data, tmp_path, capsys):
    result = look(flags, "--seed", "3")  # no run of that seed: the newest one of another
    printed = capsys.readouterr().out
    total = sum(
        tensor.numel()
        for name, tensor in read_checkpoint(trained)[0].items()
        if "running" not in name and "num_batches" not in name
    )
    assert f"parameters in total: {total}\n" in printed and "16x3x3x1+16 = 160" in printed and "stage 4 (" in printed
    assert str(trained) in printed and "occlusion  : " in printed and " s, " in printed and result["clip"] in printed
    assert printed.splitlines()[-1].endswith(
        f" clip={result['clip']} true={result['true']} predicted={result['predicted']}"
    )
    folder = tmp_path / "runs" / "step7a_look_inside" / "digits_seed3"
    assert {path.name for path in folder.glob("*.png")} == FIGURES | GENRE_FIGURES
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["metrics"]["genre"]["clip"] == result["clip"] and metrics["result"] == result

    result = look(flags, "--checkpoint", trained, "--clip", "2503.fused.full.npy")
    assert result["clip"] == "2503" and result["true"] == "Ελληνικά"


@pytest.mark.soak
def test_mnist_where_its_files_are(flags, tmp_path, undrawn, capsys):
    assert set(look(flags, "--mnist", write_mnist(tmp_path / "mnist"))) == {"digits_acc"}
    assert "80 to train on, 20 held out" in capsys.readouterr().out
    assert (tmp_path / "runs" / "step7a_look_inside" / "mnist_seed0" / "metrics.json").exists()


def test_errors_are_one_sentence_and_come_before_training(flags, trained, tiny_data, tmp_path, capsys):
    capsys.readouterr()
    weights, metadata = read_checkpoint(trained)
    lstm, others = tmp_path / "lstm.pt", tmp_path / "others.pt"
    save_checkpoint(lstm, weights, {**metadata, "architecture": ["lstm", "beat"]})
    save_checkpoint(others, weights, {**metadata, "classes": ["Jazz", "Rock"]})
    (tmp_path / "half.pt").write_bytes(trained.read_bytes()[:1000])
    for arguments, words in (
        (["--clip", "77"], "--clip 77: a clip of the genre test split was expected"),
        (["--clip", "1000"], "--clip 1000"),  # of the training split
        (["--checkpoint", lstm], r"lstm\.pt: weights of the network"),
        (["--checkpoint", others], r"others\.pt: a network for Rock, Ελληνικά was expected"),
        (["--checkpoint", tmp_path / "half.pt"], r"half\.pt: a checkpoint"),
        (["--checkpoint", tmp_path / "none.pt"], r"none\.pt: a checkpoint was expected"),
        (["--mnist", tmp_path / "none"], "none: MNIST's file train-images"),
    ):
        with pytest.raises(LabError, match=words) as refusal:
            look(flags, *arguments)
        assert "\n" not in str(refusal.value) and "epoch : 0" not in capsys.readouterr().out


def test_one_short_clip_and_no_genre_folder(flags, trained, tiny_data, tmp_path, capsys):
    path = tiny_data / "fma_genre_spectrograms" / "test" / "1500.fused.full.npy"
    np.save(path, np.load(path)[:, :3])  # fewer frames than four poolings need
    assert look(flags, "--clip", "1500", "--checkpoint", trained)["clip"] == "1500"
    shutil.rmtree(tiny_data / "fma_genre_spectrograms")
    capsys.readouterr()
    assert set(look(flags, "--checkpoint", trained)) == {"digits_acc"}
    assert "has no fma_genre_spectrograms" in capsys.readouterr().out
