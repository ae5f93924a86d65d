"""What tests/test_sentences.py needs: data, other runs' predictions rewritten, and the comparison by hand."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
from runs import predictions, read_json
from small_data import EMOTIONS, GENRES, clip, write_clips

SEEDS = (3, 4)
CLASS_OF = {"Folk": "Folk", "Jazz": "Jazz", "Ρεμπέτικο": "Ελληνικά"}
ROUNDS = 4000


def folder_of(step, seed, *choices):
    """Where a run lies: step and its choices, such as ("step5_lstm", 0, "mel", "cross-entropy")."""
    return Path(step, "_".join([*choices, f"seed{seed}"]))


# Data: as many test clips as a comparison needs, each of few frames


def write_data(root):
    """Two genre folders of 42 training and 40 test clips, two of 110 clips with emotions, which loudness tells."""
    rng = np.random.default_rng(5)
    root.mkdir()
    (root / "class_mapping.json").write_text(json.dumps(CLASS_OF, ensure_ascii=False), encoding="utf-8")
    genres = {
        split: [list(CLASS_OF)[k] for k in rng.integers(0, 3, count)] for split, count in (("train", 42), ("test", 40))
    }
    for tail, lengths in (("", (16, 22)), ("_beat", (3, 7))):
        for split, first in (("train", 1000), ("test", 2000)):
            count, names = len(genres[split]), genres[split]
            clips = {str(first + k): clip(rng, int(rng.integers(*lengths)), 0.0) for k in range(count)}
            write_clips(root / f"{GENRES}{tail}" / split, clips)
            lines = ["Id\tGenre", *(f"{ident}.fused.full.npy\t{names[k]}" for k, ident in enumerate(clips))]
            (root / f"{GENRES}{tail}" / f"{split}_labels.txt").write_text("\n".join(lines), encoding="utf-8")
        energy = np.random.default_rng(6).permutation(110) / 110
        values = np.stack([energy**2, 1 - energy, np.random.default_rng(7).uniform(size=110)], axis=1)
        clips = {
            str(3000 + k): clip(rng, int(rng.integers(*lengths)), 0.0, level=16 * (energy[k] - 0.5)) for k in range(110)
        }
        write_clips(root / f"{EMOTIONS}{tail}" / "train", clips)
        lines = [
            "Id,valence,energy,danceability",
            *(",".join([i, *(f"{v:.4f}" for v in row)]) for i, row in zip(clips, values, strict=True)),
        ]
        (root / f"{EMOTIONS}{tail}" / "train_labels.txt").write_text("\n".join(lines))
    return root


# Rewriting what other runs have left behind


def rewrite(root, who, outcome, like=None, val_accuracy=None):
    """Gives the test split of a run, for every seed, another outcome, "perfect", "wrong" or that of the run `like`.

    The val rows get the opposite one, so that it shows where they are counted too.
    """
    step, *choices = who
    for seed in SEEDS:
        path = root / folder_of(step, seed, *choices) / "predictions.csv"
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        theirs = like and {
            (row["id"], row.get("axis")): row["predicted"]
            for row in predictions(root / folder_of(like[0], seed, *like[1:]))
        }
        names = sorted({row["true"] for row in rows})
        for row in rows:
            right = (outcome == "perfect") == (row["split"] == "test")
            if like and row["split"] == "test":
                row["predicted"] = theirs[row["id"], row.get("axis")]
            elif "axis" in row:
                row["predicted"] = row["true"] if right else str(1 - float(row["true"]))
            else:
                row["predicted"] = row["true"] if right else names[names.index(row["true"]) - 1]
            row.update({name: float(name == f"p({row['predicted']})") for name in row if name.startswith("p(")})
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        metrics = read_json(path.parent / "metrics.json")
        test = [row for row in rows if row["split"] == "test"]
        if "axis" not in rows[0]:
            right = float(np.mean([row["true"] == row["predicted"] for row in test]))
            assert metrics["result"]["test_acc"] == metrics["metrics"]["accuracy"]
            metrics["result"]["test_acc"] = metrics["metrics"]["accuracy"] = right
            if val_accuracy is not None:
                assert 0 <= metrics["metrics"]["val_accuracy"] <= 1
                metrics["metrics"]["val_accuracy"] = val_accuracy
        (path.parent / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def add_decoys(root, who):
    """Copies of a run before it is rewritten, of another mode, format, data or seed: they must not be compared."""
    step, *choices = who
    for seed in SEEDS:
        source = root / folder_of(step, seed, *choices)
        for name, value in {"mode": "quick", "format": None, "data": "0123456789abcdef", "seed": 77}.items():
            copy = shutil.copytree(
                source, source.with_name(f"{source.name}_{name}"), ignore=shutil.ignore_patterns("*.pt")
            )
            metadata = read_json(copy / "metrics.json")
            assert metadata.get(name) != value
            metadata[name] = value
            if "val_accuracy" in metadata["metrics"]:
                metadata["metrics"]["val_accuracy"] = 0.99
            (copy / "metrics.json").write_text(json.dumps(metadata), encoding="utf-8")


# The same comparison, by hand


def by_hand(root, pairs, seeds=SEEDS):
    """(difference, low, high) of pairs [(first, second, axis or None)] of runs, mean over pairs and seeds."""
    tables = []
    for seed in seeds:
        columns = []
        for first, second, axis in pairs:
            ours, theirs = (
                {
                    row["id"]: (row["true"], row["predicted"])
                    for row in predictions(root / folder_of(step, seed, *choices), axis=axis)
                }
                for step, *choices in (first, second)
            )
            assert ours.keys() == theirs.keys() and all(ours[ident][0] == theirs[ident][0] for ident in ours)
            columns.append((axis, [ours[ident] for ident in ours], [theirs[ident][1] for ident in ours]))
        tables.append((list(ours), columns))
    ids = sorted({ident for each, _ in tables for ident in each})
    rng = np.random.default_rng(99)
    times = rng.multinomial(len(ids), [1 / len(ids)] * len(ids), ROUNDS)  # (rounds, clips)
    gaps, scores = [], []
    for its_ids, columns in tables:
        drawn = times[:, [ids.index(ident) for ident in its_ids]]
        both = (
            [weighted_gap(drawn, *each) for each in columns],
            [weighted_gap(np.ones((1, len(its_ids))), *each) for each in columns],
        )
        gaps.append(np.mean(both[0], axis=0))
        scores.append(np.mean(both[1]))
    chosen = rng.integers(0, len(seeds), (len(seeds), ROUNDS))
    means = np.mean([np.choose(which, gaps) for which in chosen], axis=0)
    return float(np.mean(scores)), *np.nanpercentile(means, [2.5, 97.5])


def weighted_gap(times, axis, ours, theirs):
    """Our score minus theirs, clips counted `times` (rounds, n): ours [(true, predicted)], theirs [predicted]."""
    true, mine = zip(*ours, strict=True)
    if axis is None:
        gain = np.array(true) == np.array(mine), np.array(true) == np.array(theirs)
        return times @ (gain[0].astype(float) - gain[1]) / times.sum(axis=1)
    true, mine, theirs = (np.array([float(value) for value in column]) for column in (true, mine, theirs))
    return weighted_correlation(times, true, mine) - weighted_correlation(times, true, theirs)


def weighted_correlation(times, one, other):
    """Spearman's of values that stand there so many times, ties by their average rank."""
    ranks = [
        times @ (values[:, None] < values) + (times @ (values[:, None] == values) + 1) / 2 for values in (one, other)
    ]
    centred = [each - (times * each).sum(axis=1, keepdims=True) / times.sum(axis=1, keepdims=True) for each in ranks]
    both, *squares = ((times * a * b).sum(axis=1) for a, b in (centred, [centred[0]] * 2, [centred[1]] * 2))
    return both / np.sqrt(squares[0] * squares[1])
