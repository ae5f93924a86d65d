"""Scores and seconds of the two models without a network, for the genres and for each axis of the emotions.

python -m benchmarks.baselines
python -m benchmarks.baselines --data DIR --seed 1
"""

import argparse
import time

from common.baselines import FOLDS, MODELS, model_predictions
from common.cli import run_script
from common.comparison import fraction_correct
from common.dataset import SpectrogramDataset, clip_ids, clip_labels, emotion_slices, genre_splits, without
from common.labels import AXES
from common.locations import find_data
from common.metrics import rank_correlation
from extras.demo.folder import demo_folder


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: as in the steps)")
    parser.add_argument("--seed", type=int, default=0, help="of the emotion splits (default: %(default)s)")
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    print(f"data: {data.path}; regularisation by {FOLDS} folds of the training clips")
    report("genres, accuracy", *genre_splits(data.genres(), data.class_mapping, "mel"), classify=True)
    for axis in AXES:
        labelled = SpectrogramDataset(data.emotions(), features="mel", axis=axis)
        test_set = emotion_slices(labelled, 32, seed=args.seed)[2].dataset
        report(f"{axis}, rank correlation", without(labelled, clip_ids(test_set)), test_set, classify=False)


def report(title, train_set, test_set, classify):
    """Prints each model's score on the test clips, its seconds, reading of files not included, and CPU seconds."""
    parts = []
    for name in MODELS:
        start = time.perf_counter(), time.process_time()
        predicted = model_predictions(name, train_set, test_set, classify)
        score = (fraction_correct if classify else rank_correlation)(clip_labels(test_set), predicted)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        parts.append(f"{name} {score:.4f} in {wall:.1f} s ({cpu:.1f} s of CPU)")
    print(f"{title}, {len(train_set)} training clips, {len(test_set)} test clips: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    run_script(main)
