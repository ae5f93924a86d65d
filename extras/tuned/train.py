"""The tuned recipe of compete.py: what to do differently from the write-up when the score counts.

Networks on every labelled clip that the test does not need, with a schedule that is fixed beforehand, so that nothing
is left for validation to pick; several of them, averaged; and beside them kernel ridge and extra trees on statistics,
which err elsewhere (extras/tuned/kernel_and_trees.py). What each choice bought: benchmarks/ACCURACY.md.
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
    "lr": 1e-3,  # at its peak, after a tenth of the epochs; from there it falls along a cosine to 0
    "weight_decay": 0.01,  # AdamW's, times the learning rate
    "networks": 2,  # their outputs are averaged: one hears clips without their mastering, the other as they are
    # share of a clip's own mean over time that the first network takes from each band, and so how its album was
    # mastered
    "centred": 1.0,
    "dropout": 0.2,
    "label_smoothing": 0.1,  # genres are a matter of opinion
    "rank_loss": 0.5,  # the emotions' loss: this share of it is what the correlation lacks to 1, the rest squared error
    "frames": 430,  # about so many are left of a clip: neighbours are averaged, 3 to 1 at the lab's rate
    "lstm_frames": 215,  # the same for an LSTM
    "machine": 0.5,  # share of kernel ridge and trees beside the networks; the score hardly differs from .4 to .6
}


def train_networks(run, build, train_set, loss_function, seed, epochs, batch_size, lr, device, recipe=RECIPE, name=""):
    """Trains as many networks as the recipe says on a dataset, each from a seed of its own: ([network], the last one's
    history).

    build(centred): makes one with new weights; only every second one is centred, so that they err in different places.
    Saves each as best-<name><number>.pt; a dry run trains one. seed, epochs, batch_size, lr, device: as a step's
    arguments.
    """
    models, history = [], []
    for number in range(recipe["networks"] if run.metadata["mode"] == "full" else 1):
        torch.manual_seed(seed + 1000 * number)
        model = build(centred=recipe["centred"] if number % 2 == 0 else 0.0).to(device)
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
    """(its architecture for a checkpoint, build(centred) of a network for classes); kind: see tuned_backbone."""
    architecture, backbone = backbone_for(kind, train_set, recipe)
    return architecture, lambda centred=0.0: Classifier(backbone(centred=centred), num_classes)


def emotion_network(train_set, recipe=RECIPE):
    """(its architecture for a checkpoint, build(centred) of a network for all axes of the labels).

    Its head begins at the mean of the labels and in the axes' own units.
    """
    labels = torch.from_numpy(clip_labels(train_set))
    architecture, backbone = backbone_for("tuned-cnn", train_set, recipe)

    def build(centred=0.0):
        model = MultitaskRegressor(backbone(centred=centred), labels.shape[1])
        with torch.no_grad():
            model.head.weight.mul_(labels.std(dim=0)[:, None])
            model.head.bias.copy_(labels.mean(dim=0))
        return model

    return [*architecture, "multitask"], build


def backbone_for(kind, train_set, recipe):
    """(architecture, a function that makes the network below the head with new weights), its input standardised by
    these clips.
    """
    base, rows = unwrap(train_set)
    every = max(
        1, round(base.max_length / recipe["lstm_frames" if "lstm" in kind else "frames"])
    )  # frames that become one
    mean, deviation = row_scale([base.clips[base.ids[row]][:, base.columns] for row in rows])
    backbone = partial(tuned_backbone, kind, base.feat_dim, every, mean, deviation, dropout=recipe["dropout"])
    return [kind, "mel", every], backbone


def row_scale(clips):
    """Mean and standard deviation (F,) over all frames of clips (T, F); a constant column has deviation 1."""
    count, total, squares = 0, 0.0, 0.0
    for clip in clips:
        clip = clip.astype(np.float64)
        count, total, squares = count + len(clip), total + clip.sum(axis=0), squares + (clip**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation[deviation < 1e-3] = 1
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def one_cycle(epoch, epochs):
    """The learning rate of an epoch as a share of its peak: up along a line for a tenth of the epochs, then down to 0
    along a cosine.
    """
    rise = max(1, epochs // 10)
    if epoch < rise:
        return (epoch + 1) / rise
    return 1 - 0.5 * (1 - math.cos(math.pi * (epoch - rise) / max(1, epochs - rise)))


def emotion_loss(train_set, recipe=RECIPE):
    """The loss of outputs and targets (B, axes) for axes as far spread as this dataset's labels."""
    scale = torch.from_numpy(clip_labels(train_set)).std(dim=0).clamp(min=1e-3)
    return partial(error_and_correlation_loss, scale=scale, share=recipe["rank_loss"])


def error_and_correlation_loss(outputs, targets, scale, share):
    """Squared error in units of the axes' deviations, and what the batch's correlations lack to 1: the score asks for
    order alone.

    outputs, targets (B, axes); scale (axes,); the mean over the axes of both, the second weighted by `share`, the first
    by the rest.
    """
    scale = scale.to(outputs.device)
    error = ((outputs - targets) / scale).square().mean()
    ours, theirs = outputs - outputs.mean(dim=0), targets - targets.mean(dim=0)
    sizes = (ours.square().sum(dim=0) * theirs.square().sum(dim=0) + 1e-8 * scale**4).sqrt()
    return (1 - share) * error + share * (1 - (ours * theirs).sum(dim=0) / sizes).mean()
