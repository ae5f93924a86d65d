"""The tuned recipe's machines by cross-validation on a data folder: what the kernel machine, the trees and the thirds of clips each bring.

    python -m benchmarks.machines --data DIR

Genres and emotions by five folds of the labelled clips; genres also learnt from the test side and tested on the training side: fewer
clips to learn from and, where the sides share no artist, no artist known. How the test side itself is scored is step 7's to tell.
"""

import argparse

import numpy as np
from threadpoolctl import threadpool_limits

from common.baselines import FOLDS
from common.cli import run_script
from common.dataset import SpectrogramDataset, clip_labels, genre_sides
from common.labels import AXES
from common.locations import find_data
from common.machines import TREES_SHARE, machine_probabilities, machine_values, song_statistics
from common.metrics import rank_correlation

SHARES = {"kernel machine": 0.0, "trees": 1.0, "both": TREES_SHARE}  # of the trees


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: as in the steps)")
    args = parser.parse_args(argv)
    data = find_data(args.data)
    sides = [*genre_sides(data.genres(), data.class_mapping, "fused"), SpectrogramDataset(data.emotions(), features="fused", axis=AXES)]
    train, test, emotions = ((song_statistics(dataset), clip_labels(dataset)) for dataset in sides)
    print(f"data: {data.path}; {len(train[1])} and {len(test[1])} clips with genres, {len(emotions[1])} with emotions")
    print("| machines | they hear | genres, folds: accuracy, cross entropy | learnt from the test side | emotions, folds: mean rho |")
    print("|---|---|---|---|---|")
    with threadpool_limits(1):
        for heard, count in (("whole clips", 1), ("their thirds too", None)):
            for name, share in SHARES.items():
                one, other, values = (pieces_of(side, count) for side in (train, test, emotions))
                cells = genre_score(folds(one), share), genre_score([(*other, *one)], share), emotion_score(folds(values), share)
                print(f"| {name} | {heard} | {' | '.join(cells)} |", flush=True)


def pieces_of(side, count):
    """(families, labels) with the first `count` pieces of every clip, None for all."""
    return {family: each[:, :count] for family, each in side[0].items()}, side[1]


def folds(side):
    """[(known families, known labels, unknown families, unknown labels)], drawn once."""
    from sklearn.model_selection import KFold

    families, labels = side

    def at(rows):
        return {family: each[rows] for family, each in families.items()}, labels[rows]

    return [(*at(known), *at(unknown)) for known, unknown in KFold(FOLDS, shuffle=True, random_state=0).split(labels)]


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
