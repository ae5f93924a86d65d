"""What the steps print and save in common: the header before the first epoch, and the report on the test side."""

import math

import torch

from common.checkpoints import load_weights
from common.dataset import clip_ids, clip_labels
from common.metrics import accuracy, classification_metrics, majority_class, report_table, squared_error_loss
from common.plots import confusion_figure, curves_figure
from common.run import read_runs, versions


def print_header(title, data, args, run):
    """The first lines of every run: what it is, on which data, with which arguments, and where it lies."""
    print(title)
    print(f"data       : {data.description()}")
    print(f"arguments  : {', '.join(f'{name}={value}' for name, value in vars(args).items())}")
    if hasattr(args, "device"):
        facts = versions()
        libraries = ", ".join(f"{name} {facts[name]}" for name in ("torch", "numpy", "scikit-learn", "python"))
        print(f"device     : {args.device}, {facts['threads']} threads, {libraries}")
        print(f"seed       : {args.seed} (split, initial weights, batch order); same seed, machine and threads: same figures")
    print(f"run folder : {run.folder}")


def print_genre_facts(classes, train_set, val_set, test_set, model):
    """Split sizes, classes, parameters, and what calling every clip by one name scores."""
    train_labels, test_labels = clip_labels(train_set), clip_labels(test_set)
    largest, train_share, test_share = majority_class(train_labels, test_labels, len(classes))
    print(f"clips      : {len(train_set)} to train on, {len(val_set)} to validate with (they pick the epoch), {len(test_set)} to test")
    print(f"classes    : {len(classes)}: {', '.join(classes)}")
    print(f"baseline   : '{classes[largest]}' for every clip is right for {100 * train_share:.2f} % of the training clips and")
    print(f"             {100 * test_share:.2f} % of the test clips; ln {len(classes)} = {math.log(len(classes)):.4f}")
    print(f"parameters : {sum(parameter.numel() for parameter in model.parameters())}")


def print_references(losses, loss_name):
    """What models that ignore their input lose, on both scales, before the first epoch. Returns {model: loss} on the scale in use."""
    print("reference  : a network that has learnt something loses less than the class shares do")
    for model, (cross_entropy, squared_error) in losses.items():
        print(f"             {model:14} cross entropy {cross_entropy:.4f}, squared error of the softmax {squared_error:.4f}")
    return {model: pair[loss_name != "cross-entropy"] for model, pair in losses.items()}


def report_genres(run, title, classes, test_set, test, val_set=None, val=None):
    """Prints and saves the report on the test side: metrics, confusion matrix, predictions.csv. Returns the metrics.

    test, val: Evaluations of logits, in the order of test_set and val_set; val is None where nothing was trained.
    """
    metrics = classification_metrics(test.targets.numpy(), test.outputs.argmax(dim=1).numpy(), classes)
    metrics["test_cross_entropy"] = torch.nn.functional.cross_entropy(test.outputs, test.targets).item()
    metrics["test_squared_error"] = squared_error_loss(test.outputs, test.targets).item()
    rows = prediction_rows("test", classes, test_set, test)
    if val:
        metrics["val_loss"], metrics["val_accuracy"] = val.loss, accuracy(val.outputs, val.targets)
        rows = prediction_rows("val", classes, val_set, val) + rows
    print(f"\n{title}, {len(test_set)} test clips (a class that is never predicted has precision 0)\n")
    print(report_table(metrics))
    print(f"\ncross entropy {metrics['test_cross_entropy']:.4f}, squared error of the softmax {metrics['test_squared_error']:.4f}")
    print("\nconfusion matrix: rows true, columns predicted")
    for name, counts in zip(classes, metrics["confusion"], strict=True):
        print(f"{name[:20]:>20} " + " ".join(f"{count:4d}" for count in counts))
    run.save_predictions(rows)
    run.save_figure("confusion", confusion_figure(metrics["confusion"], classes, f"{title}: accuracy {metrics['accuracy']:.3f}"))
    return metrics


def report_training(run, title, history, best, loss_name, references):
    """Says which epoch was kept and draws the learning curves; nothing where nothing was trained."""
    if history:
        kept = history[best.epoch]
        print(f"best epoch : {best.epoch}, by validation accuracy, {100 * kept['val_acc']:.2f} % (validation loss {kept['val_loss']:.4f})")
        run.save_figure("curves", curves_figure(history, loss_name, references, title, best.epoch))


def load_given(path, model, run, test_set):
    """Puts the weights of --checkpoint into the model; says where they come from and whether they have seen clips of the test side."""
    facts = load_weights(path, model, architecture=run.facts["architecture"], classes=run.facts["classes"])
    seen = set(facts.get("seen", [])) & set(clip_ids(test_set))
    origin = "the same data" if facts.get("data") == run.facts["data"] else f"other data ({facts.get('data_path')})"
    print(f"checkpoint : {path}, epoch {facts.get('epoch')} of {facts.get('step')}/{facts.get('variant')}, trained on {origin}")
    if seen:
        print(f"             WARNING: {len(seen)} of the {len(test_set)} test clips have ids that it was trained with")
    run.facts["seen"] = facts.get("seen", [])


def compare_with_lstm(args, data, test_acc):
    """Step 7d: the CNN beside the best LSTM of step 5 that --out holds of the same data, classes and mode."""
    runs = read_runs(args.out, "step5_lstm", data, mode=args.mode)
    if not runs:
        print(f"\n{args.out} holds no run of step5_lstm.py on these data to compare with")
        return
    best = max(runs, key=lambda run: run["result"]["test_acc"])
    margin = 100 * (test_acc - best["result"]["test_acc"])
    word = "above" if margin > 0 else "below" if margin < 0 else "beside"
    print(f"\ntest accuracy {100 * test_acc:.2f} %, {abs(margin):.2f} points {word} the best LSTM of step 5 ({best['variant']})")


def prediction_rows(side, classes, dataset, evaluation):
    """One row a clip for predictions.csv: id, side, true and predicted class, the probability of every class."""
    probabilities = evaluation.outputs.double().softmax(dim=1)
    rows = []
    for ident, true, row in zip(clip_ids(dataset), evaluation.targets.tolist(), probabilities.tolist(), strict=True):
        named = {f"p({name})": f"{value:.6f}" for name, value in zip(classes, row, strict=True)}
        rows.append({"id": ident, "side": side, "true": classes[true], "predicted": classes[row.index(max(row))], **named})
    return rows
