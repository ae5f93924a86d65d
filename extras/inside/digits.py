"""Handwritten digits for step 7a, scikit-learn's or, where its four files lie at hand, MNIST's; and ConvNetJS's network
for them.
"""

import gzip
import math
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from common.errors import LabError, reason
from common.metrics import accuracy
from common.progress import progress
from extras.inside.measure import logits_of

CROP = 24  # pixels a side that the network sees, as in ConvNetJS
BATCH_SIZE = 32
LEARNING_RATE = 5e-3  # Adam's, falling to 0 in equal steps, since the last epoch is the one that is looked at
SIDE = 28  # pixels, as in MNIST
BOX = 20  # pixels: MNIST's digits fill a box of this side, with an empty margin around it that a crop may cut into
UNSIGNED_BYTE = 0x08  # the only type of number that MNIST's files hold


class Digits(NamedTuple):
    """Images (n, 28, 28) float32 in 0..1, ink 1 on paper 0, and labels (n,) int64 in 0..9, to train with and held out."""

    description: str
    train_images: np.ndarray
    train_labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray


def small_digits(seed, held_out=0.2):
    """scikit-learn's 1797 digits of 8 x 8 pixels, resampled to 20 x 20 in a frame of 28 x 28; `seed` draws the share
    that is held out.

    Resampled linearly (order 1), since splines of higher order overshoot 0..1.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16  # (n, 64) in 0..16 -> (n, 8, 8) in 0..1
    images = zoom(images, (1, BOX / 8, BOX / 8), order=1)
    margin = (SIDE - BOX) // 2
    images = np.pad(images, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    held, train = np.split(order, [round(held_out * len(order))])
    labels = labels.astype(np.int64)
    text = f"scikit-learn's digits, 8x8 pixels resampled linearly to {BOX}x{BOX} in {SIDE}x{SIDE}"
    return Digits(text, images[train], labels[train], images[held], labels[held])


def mnist_digits(folder):
    """MNIST from its four idx files in `folder`, gzipped or not; its own test side is held out.

    Raises LabError, naming the file, when one is missing, damaged, or holds something else.
    """
    folder = Path(folder).expanduser()
    sides = []
    for side in ("train", "t10k"):
        image_file, label_file = (
            find_idx(folder, f"{side}-images-idx3-ubyte"),
            find_idx(folder, f"{side}-labels-idx1-ubyte"),
        )
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.shape[1:] != (SIDE, SIDE) or not len(images):
            raise LabError(
                f"{image_file}: images of {SIDE} x {SIDE} pixels were expected, not an array of shape {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise LabError(
                f"{label_file}: {len(images)} labels were expected, one for each image, not an array of shape {labels.shape}"
            )
        if labels.max() > 9:
            raise LabError(f"{label_file}: labels from 0 to 9 were expected, but one is {labels.max()}")
        sides += [images.astype(np.float32) / 255, labels.astype(np.int64)]
    return Digits(f"MNIST in {folder}", *sides)


def find_idx(folder, name):
    """The file of this name in a folder, gzipped or not, with '.' or '-' before 'idx'; LabError where there is none."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for path in (folder / candidate, folder / f"{candidate}.gz"):
            if path.is_file():
                return path
    raise LabError(f"{folder}: MNIST's file {name} was expected there, gzipped or not")


def read_idx(path):
    """An idx file (two zero bytes, type, number of dimensions, each dimension in 4 bytes, then the body) as an array of
    uint8.
    """
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            zeros, kind, dimensions = file.read(2), file.read(1), file.read(1)
            if zeros != b"\0\0" or kind != bytes([UNSIGNED_BYTE]) or not dimensions or not 1 <= dimensions[0] <= 3:
                raise LabError("an idx file of unsigned bytes was expected, but it does not begin like one")
            header = file.read(4 * dimensions[0])
            if len(header) < 4 * dimensions[0]:
                raise LabError("it ends within its header")
            shape = tuple(np.frombuffer(header, ">u4").tolist())
            body = file.read(math.prod(shape) + 1)  # one more than there should be
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except Exception as error:  # damaged bytes make gzip and zlib raise nearly anything
        raise LabError(f"{path}: a readable idx file was expected ({reason(error)})") from error
    if len(body) != math.prod(shape):
        found = "more" if len(body) > math.prod(shape) else len(body)
        raise LabError(f"{path}: {math.prod(shape)} bytes were expected behind its header, but there are {found}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def random_crops(images, side, rng):
    """A square of `side` pixels out of every image, each at a place of its own: (n, H, W) -> (n, side, side)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        images, (side, side), axis=(1, 2)
    )  # (n, places down, places across, side, side)
    down, across = (rng.integers(0, places, len(images)) for places in windows.shape[1:3])
    return windows[np.arange(len(images)), down, across]


def centre_crops(images, side):
    """The square of `side` pixels in the middle of every image: (n, H, W) -> (n, side, side)."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def held_out_tensors(digits, side):
    """The held-out digits' middle squares as a tensor (n, 1, side, side), and their labels (n,)."""
    return torch.from_numpy(centre_crops(digits.held_images, side)).unsqueeze(1), torch.from_numpy(digits.held_labels)


def digits_network():
    """The network of ConvNetJS's MNIST demo, https://cs.stanford.edu/people/karpathy/convnetjs/demo/mnist.html, without
    its softmax, which comes with the loss: (B, 1, 24, 24) -> logits (B, 10).
    """
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 8, 5, padding=2),  # (B, 8, 24, 24)
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2, 2),  # (B, 8, 12, 12)
        conv2=nn.Conv2d(8, 16, 5, padding=2),  # (B, 16, 12, 12)
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(3, 3),  # (B, 16, 4, 4)
        flatten=nn.Flatten(),
        fc=nn.Linear(256, 10),
    )
    return nn.Sequential(layers)


def train_digits(digits, epochs, seed):
    """(trained network, its history); held-out digits are only looked at, since the last epoch is kept whatever they say."""
    print(f"digits     : {len(digits.train_labels)} to train on, {len(digits.held_labels)} held out")
    torch.manual_seed(seed)
    model, rng, history = digits_network(), np.random.default_rng(seed), []
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    held_x, held_y = held_out_tensors(digits, CROP)
    started = time.monotonic()
    for epoch in progress(range(epochs), "digits", "epoch"):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - epoch / epochs)
        order, total = rng.permutation(len(digits.train_labels)), 0.0
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            x = torch.from_numpy(random_crops(digits.train_images[chosen], CROP, rng)).unsqueeze(1)  # (B, 1, 24, 24)
            loss = nn.functional.cross_entropy(model(x), torch.from_numpy(digits.train_labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        held_acc = accuracy(logits_of(model, held_x), held_y)
        print(f"epoch : {epoch} ,training loss = {total / len(order)}")
        print(f"Accuracy on held-out digits = {100 * held_acc} %")
        history.append({"epoch": epoch, "train_loss": total / len(order), "held_acc": held_acc})
    print(
        f"trained    : {len(history)} epochs in {time.monotonic() - started:.1f} s; the last epoch's network is the one shown"
    )
    return model, history
