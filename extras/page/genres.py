"""The page's sections on the data, the clips and the genres: steps 0 to 7."""

from pathlib import Path

import extras.page.answers as answers
from extras.page.blocks import (
    BESIDE,
    NOT_COMPARABLE,
    Answer,
    Log,
    Table,
    Text,
    beside,
    confusion_tables,
    log_part,
    logs,
    loss_rows,
    pictures,
    place_of,
)
from extras.page.results import first_run, measured_on, read_optional, shown, values
from extras.writeup import numbers as writeup

HOCHREITER = ("Hochreiter and Schmidhuber, Long Short-Term Memory, 1997 (why many steps are hard to remember over)",)


def data_blocks(results):
    groups = results.groups["step0_data"]
    group = groups.get("values") or next(iter(groups.values()))
    run = first_run(group)
    genres = read_optional(Path(run["folder"]) / "survey.json", {}).get("genres")
    rows = [
        beside(
            label,
            found,
            "data folder",
            writeup.STEP0_DATA.get(key),
            "the lab's data",
            results.genres or results.emotions,
            0,
        )
        for label, key, found in (
            ("clips of the genre set", "genre_clips", values(group, "result", "genre_clips")),
            ("genres", "genres", [len(genres)] if genres else []),
            ("clips of the multitask set", "multitask_clips", values(group, "result", "multitask_clips")),
            ("labelled files that are missing", "missing", values(group, "result", "missing")),
            ("files that cannot be read", "unreadable", values(group, "result", "unreadable")),
        )
    ]
    return [Table("Clips", BESIDE, rows), *logs(groups)]


def clip_blocks(number):
    """The function that makes the blocks of step 1, 2, 3 or 4, which one script runs: its part of the log, its figure
    and what it asks.
    """

    def blocks(results):
        groups = results.groups["step1_visualize"]
        run = first_run(next(iter(groups.values())))
        log = Log(f"{place_of(run)}, step {number}", log_part(run["log"], number))
        asked = {1: drawn_clips, 2: frames, 4: classes}.get(number)
        return [log, *pictures(groups, prefix=f"step{number}_"), *(asked(results, run) if asked else [])]

    return blocks


def drawn_clips(_results, run):
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
            rows.append(beside(what, [int(mine)], f"clip {ident}", theirs, f"clip {name}", same, 0))
    question = "2a: how many time steps, and can an LSTM learn on them?"
    return [
        Table("Time steps of the two clips", BESIDE, rows),
        Answer(question, answers.time_steps(results), HOCHREITER),
    ]


def classes(results, run):
    before, after = ([ratio] for ratio in run["metrics"]["imbalance"])
    theirs, on = max(writeup.SUPPORT) / min(writeup.SUPPORT), "test, 575 clips (step 6)"
    rows = [
        beside("largest / smallest, before the mapping", before, "training split", None, "", results.genres, 2),
        beside("largest / smallest, after it", after, "training split", theirs, on, results.genres, 2),
    ]
    return [
        Table("Balance of the classes", BESIDE, rows, "The write-up draws its histograms without figures."),
        Text("4a: what the Dataset hands out for a clip stands in the log below."),
        Answer("4b: why merge and drop, and what does it do to the balance?", answers.balance(results)),
    ]


def lstm_blocks(results):
    groups, rows, losses = results.groups["step5_lstm"], [], []
    for group in groups.values():
        run = first_run(group)
        theirs = writeup.STEP5_LSTM.get(run["features"], {})
        label, comparable = answers.name_of(run), results.genres
        ours, on = values(group, "history", -1, "val_acc"), measured_on(group, "validation")
        rows.append(beside(label, ours, on, theirs.get("val_acc"), writeup.VALIDATION, comparable))
        if comparable and writeup.STEP5_LOSSES.get(run["features"]) != run["loss"]:
            comparable = "another loss"
        scale = writeup.STEP5_LOSSES.get(run["features"], "").replace("-", " ")
        on = [f"{split}, {scale}" for split in (writeup.TRAINING, writeup.VALIDATION)]
        losses += loss_rows(label, group, theirs.get("train_loss"), theirs.get("val_loss"), comparable, on)
    note = "The write-up names the cross entropy, but losses near 0.09 can only be the squared error of the softmax."
    return [
        Table(f"Accuracy in validation, last epoch (write-up: epoch {writeup.STEP5_EPOCHS - 1})", BESIDE, rows),
        Table("Losses of the last epoch", BESIDE, losses, note),
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
            label = f"LSTM on {answers.name_of(run)}, {what}"
            on = measured_on(group, "test"), writeup.TEST_SIDE
            rows.append(
                beside(label, values(group, "result", key), on[0], theirs.get(key), on[1], results.genres, 4, 2)
            )
    return rows


def score_blocks(results):
    groups = results.groups["step5_lstm"]
    tables = [
        Table("Accuracy and macro F1 on the test split", BESIDE, score_rows(results)),
        *(class_table(group, results.genres) for group in groups.values()),
    ]
    question = "6: does micro equal accuracy, and which classes pull the macro average down?"
    return [*tables, Answer(question, answers.micro_and_macro(results)), *pictures(groups, "confusion")]


def class_table(group, comparable):
    """Precision, recall and F1 by class and averaged, beside the write-up's for the class of the same name."""
    run, keys = first_run(group), ("precision", "recall", "f1")
    theirs = dict(zip(writeup.CLASSES, writeup.STEP6_CLASSES.get(run.get("features"), ()), strict=False))
    averages = writeup.STEP6_AVERAGES.get(run.get("features"), {})
    if run.get("features") in writeup.STEP5_LSTM:
        averages = {**averages, "micro": (writeup.STEP5_LSTM[run["features"]]["test_acc"],) * 3}
    support = dict(zip(writeup.CLASSES, writeup.SUPPORT, strict=True))
    rows = []
    for name, row in run["metrics"]["classes"].items():
        mine = [shown(values(group, "metrics", "classes", name, key), 2) for key in keys]
        other = [f"{figure:.2f}" for figure in theirs[name]] + [str(support[name])] if name in theirs else ["-"] * 4
        rows.append([name, *mine, str(row["support"]), *other])
    total = str(sum(row["support"] for row in run["metrics"]["classes"].values()))
    for name in ("micro", "macro", "weighted"):
        mine = [shown(values(group, "metrics", name, key), 2) for key in keys]
        other = (
            [f"{figure:.2f}" for figure in averages[name]] + [str(sum(writeup.SUPPORT))]
            if name in averages
            else ["-"] * 4
        )
        rows.append([f"{name} average", *mine, total, *other])
    head = (
        "class",
        "precision",
        "recall",
        "F1",
        "clips",
        *(f"write-up: {word}" for word in ("precision", "recall", "F1", "clips")),
    )
    return Table(
        f"LSTM on {answers.name_of(run)}, by class; {measured_on(group, 'test')}, write-up: {writeup.TEST_SIDE}",
        head,
        rows,
        "" if comparable else NOT_COMPARABLE,
    )


def inside_blocks(results):
    groups = results.groups["step7a_look_inside"]
    found: list = []
    head = ("layer", "this run, one digit", "write-up, one digit of MNIST", "comparison")
    for group in groups.values():
        run = first_run(group)
        digits = (run["metrics"] or {}).get("digits", {})
        figures = (
            f"{key} {shown(values(group, 'result', key)) if isinstance(value, float) else value}"
            for key, value in run["result"].items()
        )
        found.append(Text(f"{run['variant']}: {', '.join(figures)}."))
        rows = []
        for name, lines in digits.items():
            theirs = writeup.STEP7A_DIGITS.get(name)
            rows.append([name, "; ".join(lines), "; ".join(theirs or ["-"]), NOT_COMPARABLE if theirs else "-"])
        if rows:
            note = "Another training and another digit: only sizes and parameters can agree."
            found.append(Table(f"The digits network of {run['variant']}, layer by layer", head, rows, note))
    return [*found, *pictures(groups), *logs(groups)]


def cnn_rows(results, step="step7_cnn", theirs=writeup.STEP7_CNN, label="CNN on mel", **metadata):
    """Accuracy on the test split, then in validation, of a genre CNN."""
    rows = []
    for group in results.chosen(step, **metadata).values():
        accuracy, last = values(group, "result", "test_acc"), values(group, "history", -1, "val_acc")
        rows += [
            beside(
                f"{label}, accuracy",
                accuracy,
                measured_on(group, "test"),
                theirs["test_acc"],
                writeup.TEST_SIDE,
                results.genres,
            ),
            beside(
                f"{label}, accuracy, last epoch",
                last,
                measured_on(group, "validation"),
                theirs["val_acc"],
                writeup.VALIDATION,
                results.genres,
            ),
            loss_rows(
                f"{label}, last epoch", group, theirs["train_loss"], None, results.genres, (writeup.TRAINING, "")
            )[0],
        ]
    return rows


def cnn_blocks(results):
    groups = results.groups["step7_cnn"]
    layers = [
        run["metrics"]["genre"]["layers"]
        for run in results.runs("step7a_look_inside")
        if (run["metrics"] or {}).get("genre")
    ]
    found: list = [Table(f"Accuracy and loss (write-up: {writeup.STEP7_EPOCHS} epochs)", BESIDE, cnn_rows(results))]
    if layers:
        head = ("layer", "role", "output", "parameters")
        rows = [[str(layer.get(key, "-")) for key in head] for layer in layers[0]]
        found.append(
            Table("7c: the network's layers, for one clip; outputs are frames x mel bands x channels", head, rows)
        )
    found += confusion_tables(first_run(groups), writeup.STEP7_CONFUSION, results.genres)
    found.append(Answer("7d: is the CNN better than the LSTM?", answers.cnn_against_lstm(results)))
    return [*found, *pictures(groups), *logs(groups)]
