"""The tuned recipe of compete.py: what it does differently from the write-up, for a better score.

Networks are trained on every labelled clip that the test does not need, by a fixed schedule, so that no validation set
is needed. Several of them are averaged and combined with kernel ridge and extra trees, which make other errors
(extras/tuned/kernel_and_trees.py). What each choice improves: benchmarks/ACCURACY.md.
"""

import math
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from common.dataset import clip_labels, make_loader, unwrap
from common.models import Classifier, MultitaskRegressor
from common.resume import resumable
from common.training import BestEpoch, train_epoch
from extras.speed.accelerate import accelerate
from extras.tuned.networks import tuned_backbone

RECIPE: dict = {
    "epochs": 20,  # 30 fit the training clips better and the test clips no better
    "lr": 1e-3,  # peak lr, reached after a tenth of the epochs; then a cosine down to 0
    "weight_decay": 0.01,  # AdamW's own default
    "networks": 2,  # their outputs are averaged; every second one without per-clip mean subtraction
    "subtract_mean": 1.0,  # per-clip mean subtraction, 0 to 1, against the mastering of albums: see FrontEnd
    "dropout": 0.2,
    "label_smoothing": 0.1,  # since genre labels are partly a matter of opinion
    "correlation_weight": 0.5,  # emotions' loss: weight of 1 - correlation; the rest is the weight of the squared error
    "frames": 430,  # about so many per clip, after neighbours are averaged: 3 to 1 for the lab's clips
    "lstm_frames": 215,  # the same for an LSTM
    "kernel_and_trees": 0.5,  # their weight in the ensemble with the networks; .4 to .6 score almost the same
}


def train_networks(run, build, train_set, loss_function, seed, epochs, batch_size, lr, device, recipe=RECIPE, name=""):
    """Trains the recipe's number of networks, each from its own seed; returns ([network], the last one's history).

    build(subtract_mean): a network with new weights. Only every second network subtracts the mean, so that they make
    different errors. Each is saved as best-<name><number>.pt; a dry run trains one. seed, epochs, batch_size, lr,
    device: as the arguments of a step.
    """
    models, history = [], []
    for number in range(recipe["networks"] if run.metadata["mode"] == "full" else 1):
        torch.manual_seed(seed + 1000 * number)
        model = build(subtract_mean=recipe["subtract_mean"] if number % 2 == 0 else 0.0).to(device)
        model = accelerate(model, device)
        loader = make_loader(train_set, batch_size, shuffle=True, seed=seed + 1000 * number)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=recipe["weight_decay"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, epochs=epochs))
        last, history = BestEpoch(model), []
        print(f"network {name}{number}")
        left = resumable(range(epochs), run, model, optimizer, loader, last, history, schedule, name=f"-{name}{number}")
        for epoch in tqdm(left, "epochs", unit="epoch", disable=None):
            loss = train_epoch(model, loader, loss_function, optimizer, device)
            schedule.step()
            print(f"epoch : {epoch} ,training loss = {loss}")
            history.append({"epoch": epoch, "train_loss": loss})
            last.update(epoch, epoch, model)
        run.save_best(last, f"best-{name}{number}")
        models.append(model)
    return models, history


def genre_network(train_set, kind, num_classes, recipe=RECIPE):
    """(architecture for the checkpoint, build(subtract_mean) -> Classifier); kind: see tuned_backbone."""
    architecture, backbone = backbone_for(kind, train_set, recipe)
    return architecture, lambda subtract_mean=0.0: Classifier(backbone(subtract_mean=subtract_mean), num_classes)


def emotion_network(train_set, recipe=RECIPE):
    """(architecture for the checkpoint, build(subtract_mean) -> MultitaskRegressor for all axes of the labels).

    The head starts with the mean of the labels as bias, and its weights are scaled by their standard deviation.
    """
    labels = torch.from_numpy(clip_labels(train_set))
    architecture, backbone = backbone_for("tuned-cnn", train_set, recipe)

    def build(subtract_mean=0.0):
        model = MultitaskRegressor(backbone(subtract_mean=subtract_mean), labels.shape[1])
        with torch.no_grad():
            model.head.weight.mul_(labels.std(dim=0)[:, None])
            model.head.bias.copy_(labels.mean(dim=0))
        return model

    return [*architecture, "multitask"], build


def backbone_for(kind, train_set, recipe):
    """(architecture, function that makes a backbone with new weights), its input standardised by these clips."""
    base, indices = unwrap(train_set)
    frames = recipe["lstm_frames" if "lstm" in kind else "frames"]
    every = max(1, round(base.max_length / frames))  # so many frames are averaged to one
    mean, std = feature_mean_and_std([base.clips[base.ids[index]][:, base.columns] for index in indices])
    backbone = partial(tuned_backbone, kind, base.feat_dim, every, mean, std, dropout=recipe["dropout"])
    return [kind, "mel", every], backbone


def feature_mean_and_std(clips):
    """Mean and standard deviation (F,) over all frames of clips (T, F); the std of a constant feature is set to 1."""
    count, total, squares = 0, 0.0, 0.0
    for clip in clips:
        clip = clip.astype(np.float64)
        count, total, squares = count + len(clip), total + clip.sum(axis=0), squares + (clip**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < 1e-3] = 1
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def one_cycle(epoch, epochs):
    """Learning rate of an epoch as a fraction of the peak: linear warm-up for a tenth of the epochs, then a cosine."""
    warmup = max(1, epochs // 10)
    if epoch < warmup:
        return (epoch + 1) / warmup
    return 1 - 0.5 * (1 - math.cos(math.pi * (epoch - warmup) / max(1, epochs - warmup)))


def emotion_loss(train_set, recipe=RECIPE):
    """error_and_correlation_loss of outputs and targets (B, axes), scaled by the std of this dataset's labels."""
    scale = torch.from_numpy(clip_labels(train_set)).std(dim=0).clamp(min=1e-3)
    return partial(error_and_correlation_loss, scale=scale, weight=recipe["correlation_weight"])


def error_and_correlation_loss(outputs, targets, scale, weight):
    """(1 - weight) x mean squared error + weight x (1 - Pearson correlation over the batch), mean over the axes.

    outputs, targets (B, axes); scale (axes,): errors are divided by it. The correlation is there because the lab's
    score, a rank correlation, depends on the order of the clips alone.
    """
    scale = scale.to(outputs.device)
    error = ((outputs - targets) / scale).square().mean()
    ours, theirs = outputs - outputs.mean(dim=0), targets - targets.mean(dim=0)
    sizes = (ours.square().sum(dim=0) * theirs.square().sum(dim=0) + 1e-8 * scale**4).sqrt()
    return (1 - weight) * error + weight * (1 - (ours * theirs).sum(dim=0) / sizes).mean()
