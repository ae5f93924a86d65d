"""The tuned recipe's machines by cross-validation on a data folder: what the kernel machine, the trees and the thirds
of clips bring.

    python -m benchmarks.machines --data DIR

Genres and emotions by five folds of the labelled clips; genres also learnt from the test split and tested on the
training split: fewer clips to learn from and, where the splits share no artist, no artist known. How the test split itself
is scored is step 7's to tell.
"""

import argparse
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from common.baselines import FOLDS
from common.cli import run_script
from common.dataset import SpectrogramDataset, clip_labels, genre_splits
from common.labels import AXES
from common.locations import find_data
from common.metrics import rank_correlation
from extras.demo.folder import demo_folder
from extras.tuned.kernel_and_trees import TREES_SHARE, machine_probabilities, machine_values, song_statistics

SHARES = {"kernel machine": 0.0, "trees": 1.0, "both": TREES_SHARE}  # of the trees


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: as in the steps)")
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    splits = [
        *genre_splits(data.genres(), data.class_mapping, "fused"),
        SpectrogramDataset(data.emotions(), features="fused", axis=AXES),
    ]
    train, test, emotions = (
        Side(song_statistics(each), song_statistics(each, True), clip_labels(each)) for each in splits
    )
    print(
        f"data: {data.path}; {len(train.labels)} and {len(test.labels)} clips with genres, {len(emotions.labels)} with emotions"
    )
    print(
        "| machines | they hear | genres, folds: accuracy, cross entropy | learnt from the test split | emotions, folds: mean rho |"
    )
    print("|---|---|---|---|---|")
    with threadpool_limits(1):
        for heard, count, taught in (
            ("whole clips", 1, "plain"),
            ("their thirds too", None, "plain"),
            ("remastered", None, "remastered"),
        ):
            for name, share in SHARES.items():
                within = folds(train, count, taught)
                across = [(*part(test, taught, count), *part(train, "plain", count))]
                emotional = folds(emotions, count, taught)
                cells = genre_score(within, share), genre_score(across, share), emotion_score(emotional, share)
                print(f"| {name} | {heard} | {' | '.join(cells)} |", flush=True)


class Side(NamedTuple):
    """What song_statistics gives of a split's clips, as they are and remastered, and their labels."""

    plain: dict
    remastered: dict
    labels: np.ndarray


def part(split, kind, count, rows=slice(None)):
    """(families, labels) of these rows of a Side, with the first `count` pieces of every clip, None for all."""
    return {family: each[rows, :count] for family, each in getattr(split, kind).items()}, split.labels[rows]


def folds(split, count, taught):
    """[(known families, known labels, unknown families, unknown labels)], drawn once; taught: the kind of clips to
    learn from.
    """
    from sklearn.model_selection import KFold

    drawn = KFold(FOLDS, shuffle=True, random_state=0).split(split.labels)
    return [(*part(split, taught, count, known), *part(split, "plain", count, unknown)) for known, unknown in drawn]


def genre_score(tasks, share):
    """Accuracy and cross entropy over all unknown clips of these tasks, as text."""
    right, losses = [], []
    for known, targets, unknown, true in tasks:
        found = machine_probabilities(known, targets, unknown, share)
        right.extend(found.argmax(axis=1) == true)
        losses.extend(-np.log(found[np.arange(len(true)), true] + 1e-3))  # trees alone may exclude a class
    return f"{np.mean(right):.3f}, {np.mean(losses):.3f}"


def emotion_score(tasks, share):
    """The rank correlation's mean over axes and tasks, as text."""
    found = []
    for known, targets, unknown, true in tasks:
        values = machine_values(known, targets, unknown, share)
        found.append([rank_correlation(*pair) for pair in zip(true.T, values.T, strict=True)])
    return f"{np.mean(found):.3f}"


if __name__ == "__main__":
    run_script(main)
