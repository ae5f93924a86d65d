"""Measures one row of the table for one of the compared versions, in a process of its own.

    python -m benchmarks.contender ROW VERSION FOLDER THREADS

VERSION is "ours", or the usual implementation's dtype. Each line on stdin asks for one measurement, a number on stdout.
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.usual import UsualCNN, UsualDataset, UsualLSTM, usual_epoch, usual_loader
from common.cache import cached
from common.dataset import SpectrogramDataset, make_loader
from common.labels import CLASS_MAPPING
from common.models import Classifier, CNNBackbone, LSTMBackbone
from common.training import evaluate, train_epoch
from extras.speed.accelerate import accelerate

BATCH = 32
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def our_set(folder, cache=True):
    """The training split of a synthetic genre folder in the lab's format."""
    return SpectrogramDataset(
        folder, CLASS_MAPPING, features="mel", read=cached(folder.parent / "cache") if cache else None
    )


def model_of(row, version):
    both = row == "lstm_both"
    if row.startswith("lstm"):
        return (
            accelerate(Classifier(LSTMBackbone(128, 128, 2, both), 10))
            if version == "ours"
            else UsualLSTM(both).to(DTYPES[version])
        )
    return accelerate(Classifier(CNNBackbone(), 10)) if version == "ours" else UsualCNN().to(DTYPES[version])


def epoch(row, version, folder):
    """Seconds of one training epoch."""
    model = model_of(row, version)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    if version == "ours":
        loader, loss = make_loader(our_set(folder), BATCH, shuffle=True, seed=0), nn.CrossEntropyLoss()
        return timed(lambda: train_epoch(model, loader, loss, optimizer))
    loader = usual_loader(UsualDataset(folder / "train"), BATCH)
    return timed(lambda: usual_epoch(model, loader, optimizer, DTYPES[version]))


def inference(row, version, folder):
    """Seconds of predicting every clip of the folder."""
    model = model_of(row, version).eval()
    if version == "ours":
        loader = make_loader(our_set(folder), BATCH)
        return timed(lambda: evaluate(model, loader, nn.CrossEntropyLoss()))
    loader = usual_loader(UsualDataset(folder / "train"), BATCH)

    def predict():
        with torch.no_grad():
            return [model(x.to(DTYPES[version]), lengths).argmax(dim=1) for x, _, lengths in loader]

    return timed(predict)


def resident_steps(row, version, folder):
    """Seconds of as many training steps as an epoch has, all on one batch in memory."""
    model = model_of(row, version)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loader = make_loader(our_set(folder), BATCH)
    x, y, lengths = next(iter(loader))

    def steps():
        model.train()
        for _ in range(len(loader)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x, lengths), y).backward()
            optimizer.step()

    return timed(steps)


def products(row, version, folder):
    """Seconds of matrix products with the arithmetic of an epoch: three times that of the forward pass."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    frames, bands, inputs, work = 1292, 128, 1, 0
    for outputs in (16, 32, 64, 128):
        work += 2 * frames * bands * 9 * inputs * outputs
        frames, bands, inputs = frames // 2, bands // 2, outputs
    clips = len(list((folder / "train").glob("*.npy")))

    def measure():
        start = time.perf_counter()
        for _ in range(8):
            a @ b
        return 3 * work * clips * (time.perf_counter() - start) / (8 * 2 * 2048**3)

    return measure


def ready(row, version, folder):
    """Seconds until the dataset is ready, with files or cache in the page cache."""
    return timed(lambda: our_set(folder) if version == "ours" else UsualDataset(folder / "train"))


def memory(row, version, folder):
    """MB of anonymous memory: of the ready dataset, or the peak during two training steps."""
    start = anonymous_mb()
    dataset = our_set(folder) if version == "ours" else UsualDataset(folder / "train")
    data = anonymous_mb() - start
    model = model_of(row, version)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = iter(make_loader(dataset, BATCH) if version == "ours" else usual_loader(dataset, BATCH))
    most = 0.0
    for _ in range(2):
        x, y, lengths = next(batches)
        loss = nn.functional.cross_entropy(model(x if version == "ours" else x.to(DTYPES[version]), lengths), y)
        most = max(most, anonymous_mb())  # activations take most before the backward pass
        loss.backward()
        optimizer.step()
        most = max(most, anonymous_mb())
    return lambda: data if row == "memory_data" else most


def one_pass(row, version, folder):
    """Milliseconds per clip of one pass over the loader; in row growth_memory MB of anonymous memory after it."""
    start = anonymous_mb()
    loader = make_loader(our_set(folder), BATCH)

    def measure():
        begun = time.perf_counter()
        for _ in loader:
            pass
        spent = time.perf_counter() - begun
        return anonymous_mb() - start if row == "growth_memory" else 1000 * spent / len(loader.dataset)

    return measure


def anonymous_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def timed(function):
    def measure():
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return measure


KINDS = {
    "cnn_train": epoch, "lstm_one": epoch, "lstm_both": epoch, "lstm_beat": epoch, "cnn_inference": inference,
    "cnn_resident": resident_steps, "cnn_floor": products, "ready": ready, "memory_data": memory, "memory_all": memory,
    "growth_time": one_pass, "growth_memory": one_pass,
}  # fmt: skip


def main():
    row, version, folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    measure = KINDS[row](row, version, Path(folder))
    for _ in sys.stdin:
        print(measure(), flush=True)


if __name__ == "__main__":
    if sys.argv[2] != "ours":
        os.environ["THP_MEM_ALLOC_ENABLE"] = "0"  # importing accelerate has set it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
