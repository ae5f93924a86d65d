"""What a single file has in place of the project's own: shorter definitions of the same names, for extras/single_file/bundle.py alone.

No cache, no lock, no checkpoint to score, no demo music: what a coursework needs, with the same figures.
"""

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix, f1_score

from common.dataset import clip_labels
from common.errors import LabError
from common.labels import CLASS_MAPPING, CLASS_MAPPING_FILE, normal_name
from common.locations import EMOTIONS, GENRES
from common.run import result_line

QUICK_CLIPS = 160  # of each side in a dry run
LAB_TEST_CLIPS = 575  # of the lab's test side that its classes keep


class LabData(NamedTuple):
    """A data folder in the lab's layout: its path, genre to class, and whether that table or the music is not the lab's own."""

    path: Path
    class_mapping: dict
    own_table: bool
    demo: bool

    def genres(self, beat=False):
        return self.path / (f"{GENRES}_beat" if beat else GENRES)

    def emotions(self, beat=False):
        return self.path / (f"{EMOTIONS}_beat" if beat else EMOTIONS)


def find_data(path=None):
    """The data folder as LabData; one sentence where there is none."""
    root = Path(path or "data").resolve()
    if not any((root / f"{name}{tail}").is_dir() for name in (GENRES, EMOTIONS) for tail in ("", "_beat")):
        raise LabError(f"--data {root}: the lab's data folder was expected, with {GENRES} or {EMOTIONS} in it")
    return LabData(root, load_class_mapping(root), (root / CLASS_MAPPING_FILE).exists(), (root / "demo_music.json").exists())


def load_class_mapping(data):
    """The folder's own table of genre to class, null dropping the genre, where it has a class_mapping.json; else the lab's."""
    path = data / CLASS_MAPPING_FILE
    if not path.exists():
        return CLASS_MAPPING
    table = json.loads(path.read_text(encoding="utf-8-sig"))
    return {normal_name(genre): name and normal_name(name) for genre, name in table.items()}


def report_training(run, title, history, best, loss_name, references):
    """Says which epoch was kept and draws the learning curves."""
    kept = history[best.epoch]
    share = f", validation accuracy {100 * kept['val_acc']:.2f} %" if "val_acc" in kept else ""
    print(f"best epoch : {best.epoch} of 0 to {len(history) - 1}, picked by validation{share}, validation loss {kept['val_loss']:.4f}")
    run.save_figure("curves", curves_figure(history, loss_name, references, title, best.epoch))


def beside_writeup(data, args, test_clips):
    """How the write-up's figures relate to these: of the same clips only on the lab's own test side, whole."""
    same = args.mode == "full" and not data.demo and not data.own_table and test_clips == LAB_TEST_CLIPS
    return f"the write-up's figures are of the lab's {LAB_TEST_CLIPS} test clips, {'as these are' if same else 'these are of others'}"


class Run:
    """The folder that a run's figures and best weights go to, and facts about it."""

    def __init__(self, folder, facts):
        self.folder, self.facts = folder, facts

    def save_best(self, best, name="best"):
        torch.save({"weights": best.weights, "facts": json.dumps({**self.facts, "epoch": best.epoch})}, self.folder / f"{name}.pt")

    def save_figure(self, name, figure):
        figure.savefig(self.folder / f"{name}.png", dpi=110)
        plt.close(figure)

    def finish(self, result, metrics=None, history=None):
        """Keeps what was found as JSON, and returns the result."""
        found = {"result": result, "metrics": metrics, "history": history}
        (self.folder / "metrics.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
        return result


@contextmanager
def open_run(args, step, variant, data):
    """The folder ROOT/<step>/<variant>/ for one run."""
    folder = Path(args.out).resolve() / step / variant
    folder.mkdir(parents=True, exist_ok=True)
    yield Run(folder, {"step": step, "variant": variant, "mode": args.mode, "seed": args.seed, "data_path": str(data.path)})


def print_header(title, data, args, run):
    """The first lines of every run: what it is, on which data, with which arguments, and where it lies."""
    print(title)
    print(f"data       : {data.path}{', computer-composed demo music' * data.demo}")
    print(f"arguments  : {', '.join(f'{name}={value}' for name, value in vars(args).items())}")
    print(f"run folder : {run.folder}")


def step_parser(description, epochs=None, lr=None, batch_size=32):
    """The flags that the steps share. epochs, lr: the write-up's, or {model: the write-up's} in a step that trains several."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="the lab's data folder (default: data/ here)")
    parser.add_argument("--seed", type=int, default=0, help="split, initial weights and batch order (default: %(default)s)")
    parser.add_argument("--out", metavar="ROOT", default="runs", help="runs lie in ROOT/<step>/<variant>/ (default: %(default)s)")
    if epochs is None:
        return parser
    parser.add_argument("--epochs", type=int, help=f"passes over the training clips (default: {epochs})")
    parser.add_argument("--batch-size", type=int, default=batch_size, help="clips in a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, help=f"Adam's learning rate (default: {lr})")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"dry run: {QUICK_CLIPS} clips of each side, 2 epochs")
    parser.set_defaults(defaults=(epochs, lr))
    return parser


def parse_arguments(parser, argv):
    """The arguments, with the defaults that depend on the step."""
    args = parser.parse_args(argv)
    if hasattr(args, "epochs"):
        epochs, lr = vars(args).pop("defaults")
        args.mode = "quick" if args.quick else "full"
        if args.epochs is not None and args.epochs < 1:
            parser.error(f"--epochs: 1 or more was expected, not {args.epochs}")
        if args.quick and args.epochs is None:
            args.epochs = 2
        for name, default in (("epochs", epochs), ("lr", lr)):
            given = getattr(args, name)
            if given is None:
                setattr(args, name, default)
            elif isinstance(default, dict):  # a step that trains several models takes the number for each
                setattr(args, name, dict.fromkeys(default, given))
    return args


def reading_options(args):
    """How SpectrogramDataset reads under these arguments."""
    return {"at_most": QUICK_CLIPS if getattr(args, "quick", False) else None}


def classification_metrics(true, predicted, classes):
    """Accuracy, macro F1, scikit-learn's report as text and the confusion matrix, rows true, from class numbers (n,) and (n,)."""
    numbers = list(range(len(classes)))
    return {
        "accuracy": float(np.mean(np.asarray(true) == np.asarray(predicted))),
        "macro": {"f1": float(f1_score(true, predicted, labels=numbers, average="macro", zero_division=0))},
        "report": classification_report(true, predicted, labels=numbers, target_names=classes, zero_division=0),
        "confusion": confusion_matrix(true, predicted, labels=numbers).tolist(),
    }


def print_genre_facts(classes, train_set, val_set, test_set, model):
    """Split sizes, classes, parameters, and what calling every clip by one name scores."""
    train_labels, test_labels = clip_labels(train_set), clip_labels(test_set)
    largest = np.bincount(train_labels).argmax()
    print(f"clips      : {len(train_set)} to train on, {len(val_set)} to validate with (they pick the epoch), {len(test_set)} to test")
    print(f"classes    : {len(classes)}: {', '.join(classes)}")
    print(f"baseline   : '{classes[largest]}' for every clip is right for {100 * np.mean(test_labels == largest):.2f} % of the test clips")
    print(f"parameters : {sum(parameter.numel() for parameter in model.parameters())}")


def curves_figure(history, loss_name, references, title, best_epoch):
    """Learning curves from [{epoch, train_loss, val_loss, ...}]; references: {name: loss} of models that know nothing, as level lines."""
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, label in (("train_loss", "training"), ("val_loss", "validation")):
        ax.plot([row[key] for row in history], marker=".", label=label)
    for name, value in references.items():
        ax.axhline(value, linestyle="--", color="grey", linewidth=1, label=f"{name}, {value:.4g}")
    ax.axvline(best_epoch, color="green", linewidth=1, label=f"best epoch, {best_epoch}")
    ax.set(xlabel="epoch", ylabel=f"mean {loss_name} per clip", title=title)
    ax.legend(fontsize=8)
    return figure


def confusion_figure(confusion, classes, title):
    """A confusion matrix (C, C) of counts: rows true, columns predicted."""
    figure, ax = plt.subplots(figsize=(8, 7), layout="constrained")
    ConfusionMatrixDisplay(np.array(confusion), display_labels=classes).plot(ax=ax, cmap="Blues", xticks_rotation=45)
    ax.set(xlabel="predicted genre", ylabel="true genre", title=title)
    return figure


def scatter_figure(true, predicted, axis, rho, title):
    """Predictions (n,) against true values (n,) of one axis, with the identity line."""
    figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
    ax.scatter(true, predicted, s=14, alpha=0.6)
    ax.plot([0, 1], [0, 1], color="grey", label="identity")
    ax.set(xlabel=f"true {axis} (0 to 1)", ylabel=f"predicted {axis}", title=f"{title}: Spearman {rho}")
    ax.legend(fontsize=8)
    return figure


def copy_backbone(pretrained, model):
    """Puts all but the head of pretrained weights into a model; the head alone stays new."""
    head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head.")}
    model.load_state_dict({**pretrained.weights, **head})


def print_results(step, args, data, by_seed):
    """The RESULT lines, last of all. Returns their figures."""
    for row in by_seed[0]:
        print(result_line(step, data, args.mode, row))
    return by_seed[0]


def run_script(main):
    """Runs main; what the user can mend ends it with one sentence."""
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
