"""--recipe tuned: what to do differently from the write-up when the score counts, for steps 5, 7 and 10.

Networks on every labelled clip that the test does not need, with a schedule that is fixed beforehand, so that nothing is left for
validation to pick; several of them, averaged; and beside them a kernel machine and trees on statistics, which err elsewhere
(extras/tuned/kernel_and_trees.py). What each choice bought: benchmarks/ACCURACY.md.
"""

import math
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from common.cli import reading_options
from common.dataset import SpectrogramDataset, clip_ids, clip_labels, emotion_slices, make_loader, rows_of, without
from common.errors import LabError
from common.labels import AXES
from common.models import Classifier, MultitaskRegressor
from common.progress import progress
from common.recipes import changes_told, tuned_choices
from common.report import axis_results, axis_rows, print_genre_facts, print_header, report_axis, report_baselines, report_genres
from common.resume import resumable
from common.submission import write_submission
from common.training import BestEpoch, evaluate, train_epoch
from extras.speed.accelerate import accelerate
from extras.tuned.augment import Augment, Augmented
from extras.tuned.kernel_and_trees import machine_probabilities, machine_values, song_statistics
from extras.tuned.networks import tuned_backbone


def tuned_genres(args, run, folder, kind, features, columns, train_side, test_set):
    """Trains on the whole training side, scores the test side once: the rows for the RESULT lines.

    folder: that the clips are of; kind: of network, see tuned_backbone; features: the step's name for these columns. In a full run of
    the CNN the machines join the networks: a row for members=network and one for members=all; else the first alone.
    """
    classes, tuned = train_side.label_transformer.classes_, tuned_choices(args)
    train_side = share_of(train_side, tuned["clips"], args.seed)
    if args.mode == "full" and len(set(clip_labels(train_side))) < len(classes):
        raise LabError(f"--change clips={tuned['clips']}: a share with clips of all {len(classes)} classes was expected")
    run.facts |= {"architecture": [kind, columns, frames_averaged(kind, train_side, tuned)], "classes": classes}
    run.facts["seen"] = clip_ids(train_side)
    run.facts |= {"features": features, "loss": "cross-entropy"}
    build = partial(genre_network, backbone_for(kind, train_side, tuned), len(classes))
    print_genre_facts(classes, train_side, None, test_set, build())
    loss_function = nn.CrossEntropyLoss(label_smoothing=tuned["label_smoothing"])
    tests, history = train_networks(args, run, build, train_side, test_set, loss_function, num_classes=len(classes))
    networks = tests[0]._replace(outputs=torch.stack([each.outputs.softmax(dim=1) for each in tests]).mean(dim=0).log())
    both = "cnn" in kind and args.mode == "full"
    title = f"tuned {kind.removeprefix('tuned-').upper()} on {features}, {len(tests)} networks"
    metrics = {"network": report_genres(run, title, classes, test_set, networks, suffix="_network" * both)}
    if both:
        known, unknown = song_statistics(train_side, remastered=True), song_statistics(test_set)
        machine = torch.from_numpy(machine_probabilities(known, clip_labels(train_side), unknown)).log().float()
        # the geometric mean: who is sure that it is not this class is heard
        together = networks._replace(outputs=networks.outputs.lerp(machine, tuned["machine"]).log_softmax(dim=1))
        metrics["all"] = report_genres(run, "networks, kernel machine and trees", classes, test_set, together)
    best = metrics.get("all", metrics["network"])
    best["baselines"] = report_baselines(args, run, folder, train_side, test_set, metrics["network"]["accuracy"])
    told = changes_told(args)
    rows = [{**told, "members": name, "test_acc": each["accuracy"], "test_f1_macro": each["macro"]["f1"]} for name, each in metrics.items()]
    run.finish(rows[-1], {**best, "members": metrics}, history)
    return rows


def tuned_multitask(args, data, run):
    """Trains on all labelled clips but the test slice and scores that once: the rows for the RESULT lines, as tuned_genres.

    What --submit writes comes from networks and a machine of their own, fitted on the test slice too.
    """
    print_header("Step 10: three axes at once by the tuned recipe", data, args, run)
    labelled = SpectrogramDataset(data.emotions(), features="mel", axis=AXES, **reading_options(args))
    test_set = emotion_slices(labelled, args.batch_size, seed=args.seed)[2].dataset
    tuned = tuned_choices(args)
    known = share_of(without(labelled, clip_ids(test_set)), tuned["clips"], args.seed)
    every = frames_averaged("tuned-cnn", known, tuned)
    run.facts |= {"architecture": ["tuned-cnn", "mel", every, "multitask"], "classes": list(AXES)}
    print(f"clips      : {len(known)} to train on, none to validate with (nothing is picked), {len(test_set)} to test")
    values, tests, history = emotion_values(args, run, known, test_set)
    metrics = {}
    for members, outputs in values.items():
        test, suffix = tests[0]._replace(outputs=outputs), "_network" if members != "all" else ""
        print(f"\nmembers={members}")
        metrics[members] = {
            axis: report_axis(run, f"tuned, {members}, {axis}", axis, k, test, known, suffix) for k, axis in enumerate(AXES)
        }
        run.save_predictions(axis_rows("test", AXES, test_set, test), suffix)
    for number, axis in enumerate(AXES):
        print(f"{axis}, the networks beside others")
        rho = metrics["network"][axis]["spearman"]
        metrics["network"][axis]["baselines"] = report_baselines(args, run, data.emotions(), known, test_set, rho, axis, number)
    found = {name: {axis: {"spearman": each["spearman"]} for axis, each in by_axis.items()} for name, by_axis in metrics.items()}
    run.finish(found[members], {**metrics[members], "members": metrics}, history)
    if args.submit:
        hidden = SpectrogramDataset(data.emotions(), None, False, labelled.max_length, "mel", axis=AXES, **reading_options(args))
        submitted = emotion_values(args, run, share_of(labelled, tuned["clips"], args.seed), hidden, "submit")[0]
        rows = submitted.get(args.members, submitted["network"]).tolist()
        write_submission(args.submit, hidden.ids, rows, args.submit_header, args.submit_suffix)
        print(f"submission : {args.submit}, {len(rows)} clips of the unlabelled test side")
    rows = []
    for name, result in found.items():
        print(f"\nmembers={name}")
        rows += axis_results(result, {**changes_told(args), "members": name})
    return rows


def emotion_values(args, run, known, unknown, name=""):
    """({"network" and, in a full run, "all": values (n, axes) of `unknown`}, the networks' Evaluations of it, a history of training)."""
    run.facts["seen"] = clip_ids(known)
    labels, tuned = torch.from_numpy(clip_labels(known)), tuned_choices(args)
    scale = labels.std(dim=0).clamp(min=1e-3)
    build = partial(emotion_network, backbone_for("tuned-cnn", known, tuned), labels)
    loss_function = partial(concordance_loss, scale=scale, share=tuned["rank_loss"])
    tests, history = train_networks(args, run, build, known, unknown, loss_function, name)
    values = {"network": torch.stack([each.outputs for each in tests]).mean(dim=0)}
    if args.mode == "full":
        machine = machine_values(song_statistics(known, remastered=True), labels.numpy(), song_statistics(unknown))
        values["all"] = values["network"].lerp(torch.from_numpy(machine).float(), tuned["machine"])
    return values, tests, history


def train_networks(args, run, build, known, unknown, loss_function, name="", num_classes=None):
    """Trains as many networks as the recipe says on `known`; returns (their Evaluations of `unknown`, the last one's history).

    build(centred): makes one with new weights; only every second one is centred, so that they err in different places.
    name: before the numbers of their files; num_classes: of genres, None for values.
    """
    found, history, tuned = [], [], tuned_choices(args)
    count = tuned["networks"] if args.mode == "full" else 1
    for number in range(count):
        torch.manual_seed(args.seed + 1000 * number)
        model = build(centred=tuned["centred"] if number % 2 == 0 else 0.0).to(args.device)
        model = accelerate(model, args.device)
        loader = make_loader(known, args.batch_size, shuffle=True, seed=args.seed + 1000 * number)
        optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=tuned["weight_decay"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, epochs=args.epochs, fall=tuned["cycle"]))
        last, history = BestEpoch(model), []
        print(f"network {name}{number}")
        augmented = Augmented(loader, Augment(tuned["crop"], tuned["mixup"], num_classes))
        epochs = resumable(range(args.epochs), run, model, optimizer, loader, last, history, schedule, name=f"-{name}{number}")
        for epoch in progress(epochs, "epochs", "epoch"):
            loss = train_epoch(model, augmented, loss_function, optimizer, args.device)
            schedule.step()
            print(f"epoch : {epoch} ,training loss = {loss}")
            history.append({"epoch": epoch, "train_loss": loss})
            last.update(epoch, epoch, model)
        run.save_best(last, f"best-{name}{number}")
        found.append(evaluate(model, make_loader(unknown, args.batch_size), loss_function, args.device))
    return found, history


def genre_network(backbone, num_classes, **choices):
    return Classifier(backbone(**choices), num_classes)


def emotion_network(backbone, labels, **choices):
    """Its head begins at the mean of the labels (n, axes) and in the axes' own units."""
    model = MultitaskRegressor(backbone(**choices), labels.shape[1])
    with torch.no_grad():
        model.head.weight.mul_(labels.std(dim=0)[:, None])
        model.head.bias.copy_(labels.mean(dim=0))
    return model


def share_of(dataset, share, seed):
    """This share of a dataset's clips, drawn at random; the dataset itself for 1. LabError where it is fewer than two clips."""
    taken = round(share * len(dataset))
    if taken < 2:
        raise LabError(f"--change clips={share}: a share of at least two of the {len(dataset)} clips was expected")
    return dataset if share == 1 else Subset(dataset, np.random.default_rng(seed).permutation(len(dataset))[:taken].tolist())


def frames_averaged(kind, dataset, tuned):
    """How many neighbouring frames become one, from the length of the clips."""
    return max(1, round(rows_of(dataset)[0].max_length / tuned["lstm_frames" if "lstm" in kind else "frames"]))


def backbone_for(kind, dataset, tuned):
    """A function that makes the network below the head, with new weights, its input standardised by these clips' frames."""
    base, rows = rows_of(dataset)
    mean = deviation = None
    if tuned["standardised"]:
        mean, deviation = row_scale([base.clips[base.ids[row]][:, base.columns] for row in rows])
    every = frames_averaged(kind, dataset, tuned)
    return partial(tuned_backbone, kind, base.feat_dim, every, mean, deviation, dropout=tuned["dropout"])


def row_scale(clips):
    """Mean and deviation (F,) over all frames of clips (T, F); a constant row has deviation 1."""
    count, total, squares = 0, 0.0, 0.0
    for clip in clips:
        clip = clip.astype(np.float64)
        count, total, squares = count + len(clip), total + clip.sum(axis=0), squares + (clip**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation[deviation < 1e-3] = 1
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def one_cycle(epoch, epochs, fall):
    """The learning rate of an epoch as a share of its height: up along a line for a tenth of the epochs, then down by `fall` of it along a
    cosine."""
    rise = max(1, epochs // 10)
    if epoch < rise:
        return (epoch + 1) / rise
    return 1 - fall * 0.5 * (1 - math.cos(math.pi * (epoch - rise) / max(1, epochs - rise)))


def concordance_loss(outputs, targets, scale, share):
    """Squared error in units of the axes' deviations, and what the batch's correlations lack to 1: the score asks for order alone.

    outputs, targets (B, axes); scale (axes,); the mean over the axes of both, the second weighted by `share`, the first by the rest.
    """
    scale = scale.to(outputs.device)
    error = ((outputs - targets) / scale).square().mean()
    ours, theirs = outputs - outputs.mean(dim=0), targets - targets.mean(dim=0)
    sizes = (ours.square().sum(dim=0) * theirs.square().sum(dim=0) + 1e-8 * scale**4).sqrt()
    return (1 - share) * error + share * (1 - (ours * theirs).sum(dim=0) / sizes).mean()
