"""Kernel ridge and extra trees of the tuned recipe, and what the thirds of clips add, by cross-validation.

    python -m benchmarks.kernel_and_trees --data DIR

Genres and emotions by five folds of the labelled clips. Genres are also trained on the test split and tested on the
training split: fewer training clips and, where the splits share no artist, only unseen artists. The score on the test
split itself is printed by compete.py.
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
from extras.tuned.kernel_and_trees import TREES_WEIGHT, axis_values, class_probabilities, song_statistics

WEIGHTS = {"kernel ridge": 0.0, "extra trees": 1.0, "both": TREES_WEIGHT}  # of the trees
# name: how many pieces of each clip, None for all, and the statistics to train on
INPUTS = {
    "whole clips": (1, "plain"),
    "and their thirds": (None, "plain"),
    "and thirds with EQ augmentation": (None, "tilted"),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: as in the steps)")
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    datasets = [
        *genre_splits(data.genres(), data.class_mapping, "fused"),
        SpectrogramDataset(data.emotions(), features="fused", axis=AXES),
    ]
    train, test, emotions = (
        Statistics(song_statistics(each), song_statistics(each, tilt=True), clip_labels(each)) for each in datasets
    )
    sizes = f"{len(train.labels)} and {len(test.labels)} clips with genres, {len(emotions.labels)} with emotions"
    print(f"data: {data.path}; {sizes}")
    columns = "genres, folds: accuracy, cross entropy | genres, trained on the test split: the same | emotions, folds: mean rho"
    print(f"| model | trained on | {columns} |")
    print("|---|---|---|---|---|")
    with threadpool_limits(1):
        for input_name, (count, kind) in INPUTS.items():
            for name, weight in WEIGHTS.items():
                within = folds(train, count, kind)
                across = [(*part(test, kind, count), *part(train, "plain", count))]
                emotional = folds(emotions, count, kind)
                cells = genre_score(within, weight), genre_score(across, weight), emotion_score(emotional, weight)
                print(f"| {name} | {input_name} | {' | '.join(cells)} |", flush=True)


class Statistics(NamedTuple):
    """What song_statistics returns for some clips, without and with spectral tilt, and the clips' labels."""

    plain: dict
    tilted: dict
    labels: np.ndarray


def part(statistics, kind, count, indices=slice(None)):
    """(families, labels) of these clips, with the first `count` pieces of each, None for all; kind: plain or tilted."""
    families = {family: each[indices, :count] for family, each in getattr(statistics, kind).items()}
    return families, statistics.labels[indices]


def folds(statistics, count, kind):
    """[(train families, train labels, test families, test labels)] of fixed folds; kind: of the training clips."""
    from sklearn.model_selection import KFold

    splits = KFold(FOLDS, shuffle=True, random_state=0).split(statistics.labels)
    return [(*part(statistics, kind, count, train), *part(statistics, "plain", count, test)) for train, test in splits]


def genre_score(tasks, weight):
    """Accuracy and cross entropy over the test clips of all tasks, as text."""
    right, losses = [], []
    for train, targets, test, true in tasks:
        found = class_probabilities(train, targets, test, weight)
        right.extend(found.argmax(axis=1) == true)
        losses.extend(-np.log(found[np.arange(len(true)), true] + 1e-3))  # trees alone may give a probability of 0
    return f"{np.mean(right):.3f}, {np.mean(losses):.3f}"


def emotion_score(tasks, weight):
    """Rank correlation, mean over axes and tasks, as text."""
    found = []
    for train, targets, test, true in tasks:
        values = axis_values(train, targets, test, weight)
        found.append([rank_correlation(*pair) for pair in zip(true.T, values.T, strict=True)])
    return f"{np.mean(found):.3f}"


if __name__ == "__main__":
    run_script(main)
