"""The two models without a network on a data folder: scores and seconds, for the genres and for each axis of the seed's slices.

    python -m benchmarks.baselines
    python -m benchmarks.baselines --data DIR --seed 1
"""

import argparse
import time

from common.baselines import FOLDS, clip_statistics, kernel_predictions, linear_predictions, mean_and_deviation, statistics_of
from common.cli import run_script
from common.dataset import SpectrogramDataset, clip_ids, clip_labels, emotion_slices, genre_sides, without
from common.labels import AXES
from common.locations import find_data
from common.metrics import spearman

MODELS = {"linear": (linear_predictions, mean_and_deviation), "kernel": (kernel_predictions, clip_statistics)}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: as in the steps)")
    parser.add_argument("--seed", type=int, default=0, help="of the emotion slices (default: %(default)s)")
    args = parser.parse_args(argv)
    data = find_data(args.data)
    print(f"data: {data.path}; strengths by {FOLDS} folds among the known clips")
    known, unknown = genre_sides(data.genres(), data.class_mapping, "mel")
    report("genres, accuracy", known, unknown, clip_labels(known), clip_labels(unknown), classify=True)
    labelled = SpectrogramDataset(data.emotions(), features="mel", axis=AXES)
    unknown = emotion_slices(labelled, 32, seed=args.seed)[2].dataset
    known = without(labelled, clip_ids(unknown))
    for number, axis in enumerate(AXES):
        targets, true = clip_labels(known)[:, number], clip_labels(unknown)[:, number]
        spread = targets.std() or 1.0
        report(f"{axis}, rank correlation", known, unknown, (targets - targets.mean()) / spread, true, classify=False)


def report(title, known, unknown, targets, true, classify):
    """One line: each model's score on the unknown clips, the seconds that it took from the mapped clips on, and the CPU's."""
    parts = []
    for name, (predictions, statistics) in MODELS.items():
        start = time.perf_counter(), time.process_time()
        predicted = predictions(statistics_of(known, statistics), targets, statistics_of(unknown, statistics), classify)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        score = (predicted == true).mean() if classify else spearman(true, predicted)
        parts.append(f"{name} {score:.4f} in {wall:.1f} s ({cpu:.1f} s of CPU)")
    print(f"{title}, {len(known)} clips to fit, {len(unknown)} to test: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    run_script(main)
