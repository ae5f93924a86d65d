"""One side of one row, in a process of its own: python -m benchmarks.sides ROW SIDE FOLDER THREADS; a line on stdin, a
number on stdout.
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
from common.training import evaluate, train_epoch, use_huge_pages
from extras.speed.accelerate import accelerate

BATCH = 32
SECONDS = 30  # a full clip's
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def our_set(folder, cache=True):
    """The training side of a made-up genre folder in the lab's form."""
    return SpectrogramDataset(
        folder, CLASS_MAPPING, features="mel", read=cached(folder.parent / "cache") if cache else None
    )


def model_of(row, side):
    both = row == "lstm_both"
    if row.startswith("lstm"):
        return (
            accelerate(Classifier(LSTMBackbone(128, 128, 2, both), 10))
            if side == "ours"
            else UsualLSTM(both).to(DTYPES[side])
        )
    return accelerate(Classifier(CNNBackbone(), 10)) if side == "ours" else UsualCNN().to(DTYPES[side])


def epoch(row, side, folder):
    """One epoch of training, batches of 32, and how long it took."""
    model = model_of(row, side)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    if side == "ours":
        loader, loss = make_loader(our_set(folder), BATCH, shuffle=True, seed=0), nn.CrossEntropyLoss()
        return timed(lambda: train_epoch(model, loader, loss, optimizer))
    loader = usual_loader(UsualDataset(folder / "train"), BATCH)
    return timed(lambda: usual_epoch(model, loader, optimizer, DTYPES[side]))


def inference(row, side, folder):
    """Predictions for every clip of the folder."""
    model = model_of(row, side).eval()
    if side == "ours":
        loader = make_loader(our_set(folder), BATCH)
        return timed(lambda: evaluate(model, loader, nn.CrossEntropyLoss()))
    loader = usual_loader(UsualDataset(folder / "train"), BATCH)

    def predict():
        with torch.no_grad():
            return [model(x.to(DTYPES[side]), lengths).argmax(dim=1) for x, _, lengths in loader]

    return timed(predict)


def resident_steps(row, side, folder):
    """As many steps as an epoch has, on a batch that is there already."""
    model = model_of(row, side)
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


def products(row, side, folder):
    """The seconds that matrix products of an epoch's arithmetic take: three times the multiplications and additions of
    the forward pass.
    """
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    frames, bands, inputs, work = 1292, 128, 1, 0
    for outputs in (16, 32, 64, 128):
        work += 2 * frames * bands * 9 * inputs * outputs
        frames, bands, inputs = frames // 2, bands // 2, outputs
    clips = len(list((folder / "train").glob("*.npy")))

    def rate():
        start = time.perf_counter()
        for _ in range(8):
            a @ b
        return 3 * work * clips * (time.perf_counter() - start) / (8 * 2 * 2048**3)

    return rate


def ready(row, side, folder):
    """Until the first batch can be asked for, files or cache in the page cache."""
    return timed(lambda: our_set(folder) if side == "ours" else UsualDataset(folder / "train"))


def memory(row, side, folder):
    """MB of memory that no file backs: after the data are ready, and at its most during two steps of training."""
    start = anonymous_mb()
    dataset = our_set(folder) if side == "ours" else UsualDataset(folder / "train")
    data = anonymous_mb() - start
    model = model_of(row, side)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = iter(make_loader(dataset, BATCH) if side == "ours" else usual_loader(dataset, BATCH))
    most = 0.0
    for _ in range(2):
        x, y, lengths = next(batches)
        loss = nn.functional.cross_entropy(model(x if side == "ours" else x.to(DTYPES[side]), lengths), y)
        most = max(most, anonymous_mb())  # activations are at their most before the way back
        loss.backward()
        optimizer.step()
        most = max(most, anonymous_mb())
    return lambda: data if row == "memory_data" else most


def one_pass(row, side, folder):
    """Milliseconds a clip of one pass over the loader, and in row growth_memory the MB that no file backs after it."""
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
    row, side, folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    measure = KINDS[row](row, side, Path(folder))
    for _ in sys.stdin:
        print(measure(), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "ours":
        use_huge_pages()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
