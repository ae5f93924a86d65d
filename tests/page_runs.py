"""Reads build_report.py's page, and makes runs whose saved numbers all differ from each other."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
from reading_runs import AXIS
from runs import SPLIT_COLUMN, predictions, read_json, shared_run
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from small_data import AXES, CLASSES
from warm import warm_script

KEYS = ("precision", "recall", "f1")
AVERAGES = ("micro", "macro", "weighted")
SUPPORT = {"Blues": 40, "Classical": 40, "Electronic": 80, "Folk": 80, "Hip-Hop": 40}  # test clips of the lab's classes
SUPPORT |= {"Jazz": 40, "Metal": 78, "Pop": 40, "Rock": 103, "Trip-Hop": 34}
# the sentence behind a question: yes, no or not significant, the difference and its interval
SENTENCE = re.compile(r"\? ([\w ]+?), [a-z ]+([+-][\d.]+) [^+-]*?([+-][\d.]+) to ([+-][\d.]+)")
# whether runs of steps 8 to 10 predict valence, energy and danceability (1) or their negative (-1), both with noise
DIRECTIONS = {
    "lstm_": (-1, 1, 1),
    "transfer_seed": (0, 1, 0),
    "scratch_seed": (0, -1, 0),
    "step10": (-1, 1, 1),
    "cnn_": (1, -1, 1),
}
# step 1's clips of each genre: one class of two genres, the last dropped
COUNTS = {"Rock": 7, "Psych-Rock": 4, "Blues": 9, "Jazz": 13, "Indie-Rock": 12}


class Page(HTMLParser):
    """tables: [(section, caption, rows with the head first)]; answers: {question: text}; header: {name: text}."""

    def __init__(self, text):
        super().__init__()
        self.section, self.caption, self.tables, self.answers, self.header = "", "", [], {}, {}
        self.name, self.text = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.section = attributes["id"] if tag == "section" else self.section
        if tag == "table":
            self.tables.append((self.section, self.caption, []))
        if tag == "tr":
            self.tables[-1][2].append([])
        if tag in ("th", "td", "figcaption", "strong", "dt", "dd", "p"):
            self.text = ""

    def handle_data(self, data):
        self.text += data

    def handle_endtag(self, tag):
        text = self.text.strip()
        if tag in ("th", "td"):
            self.tables[-1][2][-1].append(text)
        if tag == "figcaption":
            self.caption = text
        if tag in ("strong", "dt"):
            self.name, self.text = text.partition(":")[0], ""
        if tag == "dd":
            self.header[self.name] = text
        if tag == "p" and text:
            self.answers[self.name] = f"{self.answers.get(self.name, '')} {text}"

    def table(self, section, word):
        (rows,) = [rows for where, caption, rows in self.tables if where == section and word in caption]
        return rows

    def row(self, section, word, label):
        """The cells after the label of the row with this label."""
        (row,) = [row for row in self.table(section, word) if row[0] == label]
        return row[1:]


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def swapped(value, words):
    """A JSON value with these words of its texts replaced."""
    text = json.dumps(value, ensure_ascii=False)
    for old, new in words.items():
        text = text.replace(old, new)
    return json.loads(text)


def copy_runs(real, root, lab):
    """Copies the real runs as ones of the data `lab`; adds seed 1 of steps 5, 7 and 8 and the other axes of step 8."""
    copies = [(path, path.parent.name, path.name, {}, 0) for path in real.glob("step*/*") if path.is_dir()]
    for path, step, name, *_ in list(copies):
        if step == "step8_regression":
            copies += [(path, step, name.replace(AXIS, axis), {AXIS: axis}, 0) for axis in AXES if axis != AXIS]
        if step in ("step5_lstm", "step7_cnn", "step8_regression"):
            copies.append((path, step, name.replace("seed0", "seed1"), {"seed0": "seed1"}, 1))
    for path, step, name, words, seed in copies:
        folder = root / step / name
        shutil.copytree(path, folder)
        write(folder / "metrics.json", {**swapped(read_json(folder / "metrics.json"), words), "seed": seed, **lab})
        if AXIS in words:
            rows = [{**row, "axis": words[AXIS]} for row in predictions(folder)]
            write_predictions(folder, rows)


def write_predictions(folder, rows):
    """predictions.csv of these test rows, and of validation rows with other predictions, which must not count."""
    rows = [{key: row[key] for key in ("id", SPLIT_COLUMN, "axis", "true", "predicted") if key in row} for row in rows]
    other = {row["predicted"]: row["predicted"] for row in rows}
    turned = dict(zip(other, list(other)[1:] + list(other)[:1], strict=True))
    val = [{**row, "id": f"v{row['id']}", SPLIT_COLUMN: "val", "predicted": turned[row["predicted"]]} for row in rows]
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(val[::2] + rows + val[1::2])


def trained(root):
    return [path for path in sorted(root.glob("step*/*")) if (path / "predictions.csv").exists()]


def rewrite(root, predict, shared_ids):
    """New predictions for each run, predict(its folder, rng, true values, axis or ""), and the metrics that follow."""
    for number, folder in enumerate(trained(root)):
        rng = np.random.default_rng((5, number))
        metrics, rows, axes = read_json(folder / "metrics.json"), predictions(folder), ("",)
        if "axis" in rows[0]:  # the LSTMs' clips are made those of the CNNs, else there is nothing to compare
            axes = dict.fromkeys(row["axis"] for row in rows)
            rows = [{**shared_ids[axis, k], "axis": axis} for axis in axes for k in range(len(rows) // len(axes))]
        for axis in axes:
            chosen = [row for row in rows if row.get("axis", "") == axis]
            for row, value in zip(chosen, predict(folder, rng, [row["true"] for row in chosen], axis), strict=True):
                row["predicted"] = str(value)
        write_predictions(folder, rows)
        history = read_json(folder / "history.json")
        write(
            folder / "history.json",
            [{k: float(rng.uniform(0, 2)) if isinstance(v, float) else v for k, v in e.items()} for e in history],
        )
        if axes == ("",):
            metrics["metrics"] |= genre_metrics(rows)
            metrics["result"] |= {
                "test_acc": metrics["metrics"]["accuracy"],
                "test_f1_macro": metrics["metrics"]["macro"]["f1"],
            }
        else:
            saved = metrics["metrics"] if len(axes) > 1 else {next(iter(axes)): metrics["metrics"]}
            result = metrics["result"] if len(axes) > 1 else {next(iter(axes)): metrics["result"]}
            for axis in axes:
                true, predicted = columns([row for row in rows if row["axis"] == axis])
                saved[axis]["spearman"] = result[axis]["spearman"] = float(spearmanr(true, predicted)[0])
                saved[axis] |= {
                    "mse": float(np.mean((true - predicted) ** 2)),
                    "mse_constant": float(rng.uniform(0, 0.3)),
                }
        metrics["used"] = {
            **metrics["used"],
            "seconds": float(rng.integers(60, 300)),
            "epoch_seconds": float(rng.uniform(1, 9)),
        }
        write(folder / "metrics.json", metrics)


def columns(rows):
    return [np.array([float(row[name]) for row in rows]) for name in ("true", "predicted")]


def genre_metrics(rows):
    true, predicted = ([row[name] for row in rows] for name in ("true", "predicted"))

    def scores(average):
        return precision_recall_fscore_support(true, predicted, labels=CLASSES, average=average, zero_division=0)

    by_class = {
        name: {**dict(zip(KEYS, map(float, each[:3]), strict=True)), "support": int(each[3])}
        for name, each in zip(CLASSES, np.array(scores(None)).T, strict=True)
    }
    averages = {name: dict(zip(KEYS, map(float, scores(name)[:3]), strict=True)) for name in AVERAGES}
    confusion = confusion_matrix(true, predicted, labels=CLASSES)
    return {
        "accuracy": float(np.trace(confusion) / len(rows)),
        **averages,
        "classes": by_class,
        "confusion": confusion.tolist(),
    }


def unlike(folder, rng, true, axis):
    """Predictions that differ in every run: genres shifted by 0, 1 or 2 classes, emotions as in DIRECTIONS."""
    if not axis:
        steps = rng.choice(3, len(true), p=(0.5, 0.35, 0.15))
        return [CLASSES[(CLASSES.index(name) + step) % 3] for name, step in zip(true, steps, strict=True)]
    directions = next(found for word, found in DIRECTIONS.items() if word in f"{folder.parent.name}/{folder.name}")
    values = np.array(true, dtype=float)
    ranks = values.argsort().argsort() - (len(true) - 1) / 2
    return values.mean() + 0.1 * (directions[AXES.index(axis)] * ranks + rng.normal(0, 0.7, len(true)))


def build(folder, real, lab, predict):
    """Done of build_report.py on such runs; they and its report are in folder/runs."""
    copy_runs(real, folder / "runs", lab[1])
    true = [row for axis in AXES for row in predictions(real / "step10_multitask" / "cnn_seed0", axis=axis)]
    shared_ids = {(axis, k): row for axis in AXES for k, row in enumerate(row for row in true if row["axis"] == axis)}
    rewrite(folder / "runs", predict, shared_ids)
    for path in folder.glob("runs/step1_visualize/*/metrics.json"):
        metrics = read_json(path)
        metrics["metrics"] = {"clips_per_genre": COUNTS, "imbalance": [13 / 4, 13 / 9]}
        write(path, metrics)
    return warm_script("build_report.py", "--data", lab[0], "--out", folder / "runs", root=folder / "runs")


def lab_data(shared_folder):
    """(a folder with the lab's label files alone, what the metadata of runs on it says of their data)."""

    def make(folder):
        genres, emotions = (folder / "data" / name for name in ("fma_genre_spectrograms", "multitask_dataset"))
        genres.mkdir(parents=True)
        emotions.mkdir()
        names = [name for name, count in SUPPORT.items() for _ in range(count)]
        lines = ["Id\tGenre", *(f"{1000 + k}.fused.full.npy.gz\t{name}" for k, name in enumerate(names)), ""]
        (genres / "test_labels.txt").write_text("\n".join(lines), encoding="utf-8")
        lines = ["Id,valence,energy,danceability", *(f"{9000 + k},0.1,0.2,0.3" for k in range(1122)), ""]
        (emotions / "train_labels.txt").write_text("\n".join(lines), encoding="utf-8")
        flags = ["--data", folder / "data", "--out", folder / "runs", "--headers"]
        return warm_script("step0_data.py", *flags, root=folder / "runs", expect=1)

    done = shared_run(shared_folder, "page-lab", make)
    metrics = read_json(next(done.root.glob("step0_data/*/metrics.json")))
    return done.root.parent / "data", {key: metrics[key] for key in ("data", "data_path", "class_mapping")}
