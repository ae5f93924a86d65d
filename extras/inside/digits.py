"""Handwritten digits for step 7a, scikit-learn's or MNIST's from its four files, and ConvNetJS's network for them."""

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

CROP = 24  # the network's input is 24 x 24 pixels, as in ConvNetJS
BATCH_SIZE = 32
LEARNING_RATE = 5e-3  # Adam's, falling linearly to 0, since the last epoch's network is the one that is shown
SIZE = 28  # images are 28 x 28 pixels, as in MNIST
BOX = 20  # MNIST's digits fill a box of 20 x 20 pixels, with an empty margin around it that a crop may cut
UNSIGNED_BYTE = 0x08  # the data type of all of MNIST's files


class Digits(NamedTuple):
    """Images (n, 28, 28) float32 in 0..1, ink is 1, and labels (n,) int64 in 0..9, for training and held out."""

    description: str
    train_images: np.ndarray
    train_labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray


def small_digits(seed, held_out=0.2):
    """scikit-learn's 1797 digits of 8 x 8 pixels, resampled to 20 x 20 in the middle of 28 x 28.

    held_out: fraction of the digits that is held out, drawn by `seed`. Resampled linearly (order 1), since splines of
    higher order overshoot 0..1.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16  # (n, 64) in 0..16 -> (n, 8, 8) in 0..1
    images = zoom(images, (1, BOX / 8, BOX / 8), order=1)
    margin = (SIZE - BOX) // 2
    images = np.pad(images, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    held, train = np.split(order, [round(held_out * len(order))])
    labels = labels.astype(np.int64)
    text = f"scikit-learn's digits, 8x8 pixels resampled linearly to {BOX}x{BOX} in {SIZE}x{SIZE}"
    return Digits(text, images[train], labels[train], images[held], labels[held])


def mnist_digits(folder):
    """MNIST from its four idx files in `folder`, gzipped or not; its own test split is held out.

    Raises LabError, naming the file, if one is missing, damaged or not MNIST's.
    """
    folder = Path(folder).expanduser()
    arrays = []
    for split in ("train", "t10k"):
        image_file = find_idx(folder, f"{split}-images-idx3-ubyte")
        label_file = find_idx(folder, f"{split}-labels-idx1-ubyte")
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.shape[1:] != (SIZE, SIZE) or not len(images):
            raise LabError(f"{image_file}: images of {SIZE} x {SIZE} pixels were expected, not shape {images.shape}")
        if labels.shape != images.shape[:1]:
            raise LabError(
                f"{label_file}: {len(images)} labels were expected, one for each image, not shape {labels.shape}"
            )
        if labels.max() > 9:
            raise LabError(f"{label_file}: labels from 0 to 9 were expected, but one is {labels.max()}")
        arrays += [images.astype(np.float32) / 255, labels.astype(np.int64)]
    return Digits(f"MNIST in {folder}", *arrays)


def find_idx(folder, name):
    """The file of this name in a folder, gzipped or not, with '.' or '-' before 'idx'; LabError where there is none."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for path in (folder / candidate, folder / f"{candidate}.gz"):
            if path.is_file():
                return path
    raise LabError(f"{folder}: MNIST's file {name} was expected there, gzipped or not")


def read_idx(path):
    """An idx file as an array of uint8.

    Its format: two zero bytes, the data type, the number of dimensions, each dimension in 4 bytes, then the values.
    """
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            zeros, kind, dimensions = file.read(2), file.read(1), file.read(1)
            if zeros != b"\0\0" or kind != bytes([UNSIGNED_BYTE]) or not dimensions or not 1 <= dimensions[0] <= 3:
                raise LabError("an idx file of unsigned bytes was expected, but its first bytes are of something else")
            header = file.read(4 * dimensions[0])
            if len(header) < 4 * dimensions[0]:
                raise LabError("it ends within its header")
            shape = tuple(np.frombuffer(header, ">u4").tolist())
            body = file.read(math.prod(shape) + 1)  # one more than expected
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except Exception as error:  # damaged bytes make gzip and zlib raise nearly anything
        raise LabError(f"{path}: a readable idx file was expected ({reason(error)})") from error
    if len(body) != math.prod(shape):
        found = "more" if len(body) > math.prod(shape) else len(body)
        raise LabError(f"{path}: {math.prod(shape)} bytes were expected after its header, but there are {found}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def random_crops(images, size, rng):
    """A square of every image, each at a random position of its own: (n, H, W) -> (n, size, size)."""
    # (n, H - size + 1, W - size + 1, size, size)
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    down, across = (rng.integers(0, positions, len(images)) for positions in windows.shape[1:3])
    return windows[np.arange(len(images)), down, across]


def centre_crops(images, size):
    """The square in the middle of every image: (n, H, W) -> (n, size, size)."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return images[:, top : top + size, left : left + size]


def held_out_tensors(digits, size):
    """The centre crops of the held-out digits as a tensor (n, 1, size, size), and their labels (n,)."""
    return torch.from_numpy(centre_crops(digits.held_images, size)).unsqueeze(1), torch.from_numpy(digits.held_labels)


def digits_network():
    """The network of ConvNetJS's MNIST demo: (B, 1, 24, 24) -> logits (B, 10).

    Its softmax is left to the loss. Source: https://cs.stanford.edu/people/karpathy/convnetjs/demo/mnist.html
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
    """(trained network, its history). The last epoch is kept: the accuracy on held-out digits is only reported."""
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
    seconds = time.monotonic() - started
    print(f"trained    : {len(history)} epochs in {seconds:.1f} s; the network of the last epoch is shown")
    return model, history
