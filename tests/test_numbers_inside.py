"""step7a_look_inside.py: the digits network trained again, and every number on the genre CNN from its weights."""

import re

import numpy as np
import pytest
import torch
from by_hand import CNN, Headed, halved, read_weights
from reading_runs import reading_runs
from runs import numbers, read_json
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from small_data import CLASSES, GENRES
from test_numbers_predict import DROP, HOP, RATE, REGION, drops, hertz, mean_map
from torch import nn
from torch.nn import functional

CROP, BATCH, LR, EPOCHS = 24, 32, 5e-3, 2
WRITEUP_PROBABILITY = 0.98764  # the digit shown has about this probability
RANGE = re.compile(r"max (activation|gradient): (\S+), min: (\S+)")
STAGES = ("Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU")


@pytest.fixture(scope="session")
def done(shared_folder, small):
    return reading_runs(shared_folder, small)


@pytest.fixture(scope="session")
def log(done):
    return next(done.root.glob("step7a_look_inside/*/log.txt")).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="session")
def saved(done):
    return read_json(next(done.root.glob("step7a_look_inside/*/metrics.json")))


def ranges(log, name):
    """(first line, {"activation": (max, min), "gradient": ...}, [parameters]) of the layer of this name."""
    (start,) = [k for k, line in enumerate(log) if line.startswith(f"{name} (")]
    block = log[start : start + 5]
    end = block.index("") if "" in block else 5
    found = {what: tuple(map(float, pair)) for line in block[:end] for what, *pair in RANGE.findall(line)}
    return log[start], found, [int(line.split()[-1]) for line in block[:end] if line.startswith("parameters")]


def check_range(found, values):
    assert found == pytest.approx((values.max().item(), values.min().item()), rel=2e-3, abs=6e-6)


@pytest.fixture(scope="session")
def digits():
    """(trained network, training losses, held-out accuracies, images, labels), as the step describes them."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.pad(zoom(pixels.reshape(-1, 8, 8) / 16, (1, 2.5, 2.5), order=1), ((0, 0), (4, 4), (4, 4))).astype(
        np.float32
    )
    order = np.random.default_rng(0).permutation(len(labels))
    held, train = order[: round(0.2 * len(order))], order[round(0.2 * len(order)) :]
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3),
    ]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))
    optimizer, rng = torch.optim.Adam(model.parameters()), np.random.default_rng(0)
    x, y = torch.from_numpy(images[held][:, None, 2:26, 2:26].copy()), torch.from_numpy(labels[held])
    losses, accuracies = [], []
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = LR * (1 - epoch / EPOCHS)
        order, total = rng.permutation(len(train)), 0.0
        for start in range(0, len(order), BATCH):
            rows = train[order[start : start + BATCH]]
            down, across = (rng.integers(0, 28 - CROP + 1, len(rows)) for _ in range(2))
            crops = [images[row, d : d + CROP, a : a + CROP] for row, d, a in zip(rows, down, across, strict=True)]
            loss = functional.cross_entropy(
                model(torch.from_numpy(np.stack(crops))[:, None]), torch.from_numpy(labels[rows])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(train))
        with torch.no_grad():
            accuracies.append((model(x).argmax(1) == y).double().mean().item())
    return model, losses, accuracies, x, y


def test_the_digits_network(done, log, saved, digits):
    model, losses, accuracies, x, y = digits
    assert losses[-1] > 0.1 and 0.5 < accuracies[-1] < 1
    history = read_json(next(done.root.glob("step7a_look_inside/*/history.json")))
    assert [row["train_loss"] for row in history] == pytest.approx(losses, rel=5e-3)
    assert [row["held_acc"] for row in history] == pytest.approx(accuracies, abs=0.012)
    assert saved["result"]["digits_acc"] == history[-1][
        "held_acc"
    ] and f"= {100 * history[-1]['held_acc']} %" in "\n".join(log)
    assert numbers(next(line for line in log if line.startswith("epoch :")))[-1] == history[0]["train_loss"]
    assert next(numbers(line) for line in log if line.startswith("digits ")) == [
        len(load_digits().target) - len(y),
        len(y),
    ]
    assert done.results[-1]["digits_acc"] == f"{history[-1]['held_acc']:.4f}"

    number, true, predicted, probability = numbers(
        next(line for line in log if line.startswith("held-out digit")).replace("-", " ")
    )
    chances = model(x).softmax(1)
    assert true == predicted == y[int(number)] and probability == pytest.approx(
        chances[int(number)].max().item(), abs=2e-3
    )
    right = chances.max(1)[0][chances.argmax(1) == y]
    assert abs(probability - WRITEUP_PROBABILITY) <= (right - WRITEUP_PROBABILITY).abs().min() + 2e-3

    image = x[int(number)][None].clone().requires_grad_()
    outputs = [image]
    for layer in model:
        outputs.append(layer(outputs[-1]))
        outputs[-1].retain_grad()
    functional.cross_entropy(outputs[-1], torch.tensor([int(true)])).backward()
    indices = {"input": 0, "conv": 1, "relu": 2, "pool": 3, "fc": 8}  # the first of two layers of a name
    text = "\n".join(log).partition("Part 2")[0].splitlines()
    for name, index in indices.items():
        first = next(k for k, line in enumerate(text) if line.startswith(f"{name} ("))
        _, found, parameters = ranges(text[first : first + 6], name)
        assert found["activation"] == pytest.approx(
            (outputs[index].max().item(), outputs[index].min().item()), rel=0.03, abs=1e-4
        )
        gradient = outputs[index].grad
        assert found["gradient"] == pytest.approx((gradient.max().item(), gradient.min().item()), rel=0.15, abs=2e-4)
        counted = sum(each.numel() for each in model[index - 1].parameters()) if index else 0
        assert parameters == ([counted] if counted else [])
    _, found, _ = ranges(text, "softmax")
    assert found["activation"] == pytest.approx((probability, chances[int(number)].min().item()), rel=0.2, abs=1e-5)
    assert found["gradient"] == (0, 0)


def test_the_genre_cnn(done, log, saved, small):
    weights, _ = read_weights(done.root / "step7_cnn" / "mel_seed0" / "best.pt")
    model = Headed(CNN(), len(CLASSES))
    model.load_state_dict(weights)
    model.eval()
    labels = small.genres[GENRES, "test"]

    def image(ident):
        return torch.from_numpy(halved(small.frames[GENRES, "test"][ident].T)[:, :128])

    def logits(clip):
        return model(clip[None], torch.tensor([len(clip)]))[0]

    ident = next(ident for ident in labels if CLASSES[logits(image(ident)).argmax()] == labels[ident])
    assert ident != min(labels)  # so that the order of the label file counts
    clip = image(ident)
    chances = logits(clip).softmax(0)
    predicted = CLASSES[chances.argmax()]
    assert {"clip": ident, "true": labels[ident], "predicted": predicted}.items() <= saved["result"].items()
    line = next(line for line in log if line.startswith("clip "))
    assert ident in line and numbers(line)[-1] == pytest.approx(chances.max().item(), abs=6e-4)

    x, kept = clip[None, None], []
    counts = {}
    for number, stage in enumerate(model.backbone.stages, start=1):
        for kind, layer in zip(STAGES, stage, strict=True):
            assert type(layer).__name__ == kind
            x = layer(x)
            counts[number, kind] = sum(each.numel() for each in layer.parameters()), tuple(x.shape[1:])
        x.retain_grad()
        kept.append(x)
    functional.cross_entropy(
        model.head(x.mean(dim=2).flatten(1)), torch.tensor([CLASSES.index(labels[ident])])
    ).backward()
    for number, output in enumerate(kept, start=1):
        head, found, _ = ranges(log, f"stage {number}")
        channels, frames, bands = output.shape[1:]
        assert f"({frames}x{bands}x{channels})" in head
        check_range(found["activation"], output)
        check_range(found["gradient"], output.grad)
    table = {row["layer"]: row for row in saved["metrics"]["genre"]["layers"]}
    words = {"Conv2d": "conv 3x3", "BatchNorm2d": "batch norm", "MaxPool2d": "max pool 2x2", "ReLU": "ReLU"}
    for (number, kind), (count, (channels, frames, bands)) in counts.items():
        row = table[f"stage {number} {words[kind]}"]
        assert row["count"] == count and row["output"] == f"{frames}x{bands}x{channels}"
        assert not count or row["parameters"].endswith(f"= {count}")
    total = next(numbers(line) for line in log if line.startswith("parameters in total"))
    assert total == [sum(each.numel() for each in model.parameters())]


def test_occlusion(done, log, saved, small):
    """The drop of every hidden region from the weights; the map drawn is their mean at each frame and band."""
    weights, _ = read_weights(done.root / "step7_cnn" / "mel_seed0" / "best.pt")
    model = Headed(CNN(), len(CLASSES))
    model.load_state_dict(weights)
    model.eval()
    ident = saved["result"]["clip"]
    window = halved(small.frames[GENRES, "test"][ident].T)[:, :128]
    target = CLASSES.index(saved["result"]["predicted"])
    found = drops(model, window, target)
    (start, stop), (low, high), drop = max(found, key=lambda region: region[2])
    assert saved["metrics"]["genre"]["drop"] == pytest.approx(drop, abs=1e-5) and drop > 0
    first = next(k for k, line in enumerate(log) if line.startswith("occlusion"))
    assert numbers(log[first])[0] == len(found)
    begin, end, *tones = map(float, REGION.search(log[first + 1]).groups())
    assert [begin, end] == pytest.approx([frame * HOP / RATE for frame in (start, stop)], abs=0.06)
    assert tones == pytest.approx([max(0, hertz(band - 0.5)) for band in (low, high)], abs=1)
    assert float(DROP.search(log[first + 1].rstrip(","))[1]) == pytest.approx(drop, abs=6e-5)
    before, after = numbers(log[first + 2])
    with torch.no_grad():
        chance = model(torch.from_numpy(window[None]), torch.tensor([len(window)])).softmax(1)[0, target].item()
    assert [before, after] == pytest.approx([chance, chance * np.exp(-drop)], abs=6e-5)
    expected = mean_map(found, window.shape).T
    drawn = np.load(done.root.parent / "inside.npz")
    assert any(each.shape == expected.shape and np.allclose(each, expected, atol=1e-5) for each in drawn.values())
