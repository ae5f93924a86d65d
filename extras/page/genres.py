"""The page's sections on the data, the clips and the genres: steps 0 to 7."""

from pathlib import Path

import extras.page.answers as answers
from extras.page.blocks import (
    COMPARED,
    NOT_COMPARABLE,
    Answer,
    Log,
    Table,
    Text,
    comparison_row,
    confusion_tables,
    log_part,
    logs,
    loss_rows,
    pictures,
    run_name,
)
from extras.page.results import first_run, measured_on, read_optional, shown, values
from extras.writeup import numbers as writeup

HOCHREITER = ("Hochreiter and Schmidhuber, Long Short-Term Memory, 1997 (why many steps are hard to remember)",)


def data_blocks(results):
    groups = results.groups["step0_data"]
    group = groups.get("values") or next(iter(groups.values()))
    run = first_run(group)
    genres = read_optional(Path(run["folder"]) / "survey.json", {}).get("genres")
    labels = {
        "genre_clips": "clips of the genre set",
        "genres": "genres",
        "multitask_clips": "clips of the multitask set",
        "missing": "labelled files that are missing",
        "unreadable": "files that cannot be read",
    }
    rows, comparable = [], results.genres or results.emotions
    for key, label in labels.items():
        found = values(group, "result", key) if key != "genres" else [len(genres)] if genres else []
        theirs = writeup.STEP0_DATA.get(key)
        rows.append(comparison_row(label, found, "data folder", theirs, "the lab's data", comparable, 0))
    return [Table("Clips", COMPARED, rows), *logs(groups)]


def clip_blocks(number):
    """The function that makes the blocks of step 1, 2, 3 or 4: its part of the log, its picture and its answers.

    One script, step1_visualize.py, runs all four.
    """

    def blocks(results):
        groups = results.groups["step1_visualize"]
        run = first_run(next(iter(groups.values())))
        log = Log(f"{run_name(run)}, step {number}", log_part(run["log"], number))
        answers_of = {1: chosen_clips, 2: frames, 4: classes}.get(number)
        return [log, *pictures(groups, prefix=f"step{number}_"), *(answers_of(results, run) if answers_of else [])]

    return blocks


def chosen_clips(_results, run):
    theirs = answers.listed(writeup.STEP2_FRAMES)
    return [Text(f"This run's clips are {answers.listed(run['result']['ids'].split(','))}, the write-up's {theirs}.")]


def frames(results, run):
    ids, full, beat = (run["result"][key].split(",") for key in ("ids", "frames", "beats"))
    rows = []
    for ident, own, name, steps in zip(
        ids, zip(full, beat, strict=True), writeup.STEP2_FRAMES, writeup.STEP2_FRAMES.values(), strict=True
    ):
        for what, mine, theirs in zip(("frames", "beats"), own, steps, strict=True):
            same = (ident == name or "another clip") if results.genres else False
            rows.append(comparison_row(what, [int(mine)], f"clip {ident}", theirs, f"clip {name}", same, 0))
    question = "2a: how many time steps, and can an LSTM learn on them?"
    return [
        Table("Time steps of the two clips", COMPARED, rows),
        Answer(question, answers.time_steps(results), HOCHREITER),
    ]


def classes(results, run):
    before, after = ([ratio] for ratio in run["metrics"]["imbalance"])
    theirs, on = max(writeup.SUPPORT) / min(writeup.SUPPORT), "test, 575 clips (step 6)"
    rows = [
        comparison_row("largest / smallest, before the mapping", before, "training split", None, "", results.genres, 2),
        comparison_row("largest / smallest, after it", after, "training split", theirs, on, results.genres, 2),
    ]
    return [
        Table("Balance of the classes", COMPARED, rows, "The write-up's histograms show no numbers."),
        Text("4a: what the Dataset returns for a clip is in the log below."),
        Answer("4b: why merge and drop, and what does it do to the balance?", answers.balance(results)),
    ]


def lstm_blocks(results):
    groups, rows, losses = results.groups["step5_lstm"], [], []
    for group in groups.values():
        run = first_run(group)
        theirs = writeup.STEP5_LSTM.get(run["features"], {})
        label, comparable = answers.name_of(run), results.genres
        ours, on = values(group, "history", -1, "val_acc"), measured_on(group, "validation")
        rows.append(comparison_row(label, ours, on, theirs.get("val_acc"), writeup.VALIDATION, comparable))
        if comparable and writeup.STEP5_LOSSES.get(run["features"]) != run["loss"]:
            comparable = "another loss"
        scale = writeup.STEP5_LOSSES.get(run["features"], "").replace("-", " ")
        on = [f"{split}, {scale}" for split in (writeup.TRAINING, writeup.VALIDATION)]
        losses += loss_rows(label, group, theirs.get("train_loss"), theirs.get("val_loss"), comparable, on)
    note = "The write-up names the cross entropy, but losses near 0.09 can only be the squared error of the softmax."
    return [
        Table(f"Accuracy in validation, last epoch (write-up: epoch {writeup.STEP5_EPOCHS - 1})", COMPARED, rows),
        Table("Losses of the last epoch", COMPARED, losses, note),
        *pictures(groups, "curves"),
        *logs(groups),
    ]


def score_rows(results):
    """Step 6: accuracy and macro F1 of each LSTM."""
    rows = []
    for group in results.groups["step5_lstm"].values():
        run = first_run(group)
        theirs = writeup.STEP5_LSTM.get(run["features"], {})
        for what, key in (("accuracy", "test_acc"), ("macro F1", "test_f1_macro")):
            label, ours = f"LSTM on {answers.name_of(run)}, {what}", values(group, "result", key)
            ours_on, comparable = measured_on(group, "test"), results.genres
            rows.append(comparison_row(label, ours, ours_on, theirs.get(key), writeup.TEST, comparable, 4, 2))
    return rows


def score_blocks(results):
    groups = results.groups["step5_lstm"]
    tables = [
        Table("Accuracy and macro F1 on the test split", COMPARED, score_rows(results)),
        *(class_table(group, results.genres) for group in groups.values()),
    ]
    question = "6: does micro equal accuracy, and which classes lower the macro average?"
    return [*tables, Answer(question, answers.micro_and_macro(results)), *pictures(groups, "confusion")]


def class_table(group, comparable):
    """Precision, recall and F1 by class and averaged, next to the write-up's for the class of the same name."""
    run, keys = first_run(group), ("precision", "recall", "f1")
    theirs = dict(zip(writeup.CLASSES, writeup.STEP6_CLASSES.get(run.get("features"), ()), strict=False))
    averages = writeup.STEP6_AVERAGES.get(run.get("features"), {})
    if run.get("features") in writeup.STEP5_LSTM:
        averages = {**averages, "micro": (writeup.STEP5_LSTM[run["features"]]["test_acc"],) * 3}
    support = dict(zip(writeup.CLASSES, writeup.SUPPORT, strict=True))
    rows = []
    for name, row in run["metrics"]["classes"].items():
        mine = [shown(values(group, "metrics", "classes", name, key), 2) for key in keys]
        other = [f"{score:.2f}" for score in theirs[name]] + [str(support[name])] if name in theirs else ["-"] * 4
        rows.append([name, *mine, str(row["support"]), *other])
    total = str(sum(row["support"] for row in run["metrics"]["classes"].values()))
    for name in ("micro", "macro", "weighted"):
        mine = [shown(values(group, "metrics", name, key), 2) for key in keys]
        other = ["-"] * 4
        if name in averages:
            other = [f"{score:.2f}" for score in averages[name]] + [str(sum(writeup.SUPPORT))]
        rows.append([f"{name} average", *mine, total, *other])
    columns = ("precision", "recall", "F1", "clips")
    head = ("class", *columns, *(f"write-up: {column}" for column in columns))
    on = f"{measured_on(group, 'test')}, write-up: {writeup.TEST}"
    note = "" if comparable else NOT_COMPARABLE
    return Table(f"LSTM on {answers.name_of(run)}, by class; {on}", head, rows, note)


def inside_blocks(results):
    groups = results.groups["step7a_look_inside"]
    found: list = []
    head = ("layer", "this run, one digit", "write-up, one digit of MNIST", "comparison")
    for group in groups.values():
        run = first_run(group)
        digits = (run["metrics"] or {}).get("digits", {})
        results_text = (
            f"{key} {shown(values(group, 'result', key)) if isinstance(value, float) else value}"
            for key, value in run["result"].items()
        )
        found.append(Text(f"{run['variant']}: {', '.join(results_text)}."))
        rows = []
        for name, lines in digits.items():
            theirs = writeup.STEP7A_DIGITS.get(name)
            rows.append([name, "; ".join(lines), "; ".join(theirs or ["-"]), NOT_COMPARABLE if theirs else "-"])
        if rows:
            note = "Trained separately and shown another digit: only sizes and parameters can agree."
            found.append(Table(f"The digits network of {run['variant']}, layer by layer", head, rows, note))
    return [*found, *pictures(groups), *logs(groups)]


def cnn_rows(results, step="step7_cnn", theirs=writeup.STEP7_CNN, label="CNN on mel", **metadata):
    """Test accuracy of a genre CNN, then validation accuracy and training loss of the last epoch."""
    rows = []
    for group in results.chosen(step, **metadata).values():
        comparable, on = results.genres, (writeup.TRAINING, "")
        for what, split, ours, key, theirs_on in (
            ("accuracy", "test", values(group, "result", "test_acc"), "test_acc", writeup.TEST),
            (
                "accuracy, last epoch",
                "validation",
                values(group, "history", -1, "val_acc"),
                "val_acc",
                writeup.VALIDATION,
            ),
        ):
            ours_on = measured_on(group, split)
            rows.append(comparison_row(f"{label}, {what}", ours, ours_on, theirs[key], theirs_on, comparable))
        rows += loss_rows(f"{label}, last epoch", group, theirs["train_loss"], None, comparable, on)[:1]
    return rows


def transformer_blocks(results):
    """The transformer's scores beside the CNN's, then its confusion matrix, pictures and logs."""
    groups, head = results.groups["step7_ast"], ("network", "accuracy", "macro F1", "measured on")
    rows = []
    for step, name in (("step7_ast", "transformer"), ("step7_cnn", "CNN of step 7")):
        for variant, group in results.groups[step].items():
            scores = [shown(values(group, "result", key)) for key in ("test_acc", "test_f1_macro")]
            rows.append([f"{name}, {variant}", *scores, measured_on(group, "test")])
    ours, _ = confusion_tables(first_run(groups), writeup.STEP7_CONFUSION, results.genres)
    return [Table("Scores of the transformer and of the CNN", head, rows), ours, *pictures(groups), *logs(groups)]


def latent_blocks(results):
    """For each network the scores of its features, in all of them and in the planes, trained and untrained."""
    groups, rows = results.groups["step11_latent"], []
    for run in results.runs("step11_latent"):
        for row in run["metrics"]:
            scores = ["undefined" if row[key] is None else f"{row[key]:.3f}" for key in ("neighbours", "silhouette")]
            rows.append([row["network"], row["by"], row["weights"], row["space"], *scores])
    head = ("network", "by", "weights", "space", "5 nearest neighbours", "silhouette")
    note = "Neighbours: accuracy for genres, rank correlation for an axis. A group in a picture that these do not show is none."
    return [Table("What the features tell about a test clip", head, rows, note), *pictures(groups), *logs(groups)]


def cnn_blocks(results):
    groups = results.groups["step7_cnn"]
    inside = [(run["metrics"] or {}).get("genre") for run in results.runs("step7a_look_inside")]
    layers = [found["layers"] for found in inside if found]
    found: list = [Table(f"Accuracy and loss (write-up: {writeup.STEP7_EPOCHS} epochs)", COMPARED, cnn_rows(results))]
    if layers:
        head = ("layer", "role", "output", "parameters")
        rows = [[str(layer.get(key, "-")) for key in head] for layer in layers[0]]
        caption = "7c: the network's layers, for one clip; outputs are frames x mel bands x channels"
        found.append(Table(caption, head, rows))
    found += confusion_tables(first_run(groups), writeup.STEP7_CONFUSION, results.genres)
    found.append(Answer("7d: is the CNN better than the LSTM?", answers.cnn_against_lstm(results)))
    return [*found, *pictures(groups), *logs(groups)]
