"""The page's sections on valence, energy and danceability: steps 8 to 10."""

import extras.page.answers as answers
from common.labels import AXES
from common.metrics import mean_or_none
from extras.page.blocks import COMPARED, Answer, Table, comparison_row, confusion_tables, logs, loss_rows, pictures
from extras.page.genres import cnn_rows
from extras.page.results import first_run, measured_on, shown, values
from extras.writeup import numbers as writeup

UNSTATED = "The write-up does not state which of the labelled clips its correlations are measured on."


def rank_row(results, label, group, keys, theirs, theirs_on=writeup.NOT_STATED):
    return comparison_row(label, values(group, *keys), measured_on(group, "test"), theirs, theirs_on, results.emotions)


def regression_rows(results):
    rows = []
    for model, theirs in writeup.STEP8_SPEARMAN.items():
        by_axis = {axis: results.only("step8_regression", model=model, axis=axis) for axis in AXES}
        by_axis = {axis: group for axis, group in by_axis.items() if group}
        for axis, group in by_axis.items():
            rows.append(rank_row(results, f"{model.upper()}, {axis}", group, ("result", "spearman"), theirs[axis]))
        if len(by_axis) == len(AXES):
            shared = set.intersection(*(set(group) for group in by_axis.values()))
            means = [
                mean_or_none(group[seed]["result"]["spearman"] for group in by_axis.values()) for seed in sorted(shared)
            ]
            on = measured_on(by_axis[AXES[0]], "test")
            rows.append(
                comparison_row(
                    f"{model.upper()}, mean", means, on, theirs["mean"], writeup.NOT_STATED, results.emotions
                )
            )
    return rows


def regression_blocks(results):
    groups, losses, errors = results.groups["step8_regression"], [], []
    for group in groups.values():
        model, axis = (first_run(group)[key] for key in ("model", "axis"))
        losses += loss_rows(f"{model.upper()}, {axis}", group, *writeup.STEP8_LOSSES[model][axis], results.emotions)
        scores = [shown(values(group, "metrics", key)) for key in ("mse", "mse_constant")]
        errors.append([f"{model.upper()}, {axis}", *scores, measured_on(group, "test")])
    epochs = " and ".join(f"{number} for the {model.upper()}" for model, number in writeup.STEP8_EPOCHS.items())
    return [
        Table("Spearman's rank correlation", COMPARED, regression_rows(results), UNSTATED),
        Table("Mean squared error", ("", "this run", "constant predictor (training mean)", "measured on"), errors),
        Table(f"Losses of the last epoch (write-up's epochs: {epochs}; last logged)", COMPARED, losses),
        Answer("8e: is the CNN better than the LSTM?", answers.regression(results)),
        *pictures(groups),
        *logs(groups),
    ]


def transfer_rows(results):
    rows = []
    for variant, group in results.groups["step9_transfer"].items():
        axis, start = first_run(group).get("axis"), first_run(group).get("start")
        if axis is None:
            continue
        theirs = (writeup.STEP9_SPEARMAN if start == "transfer" else writeup.STEP8_SPEARMAN["cnn"]).get(axis)
        on = writeup.NOT_STATED
        if start != "transfer":
            on += f"; its step 8, {writeup.STEP8_EPOCHS['cnn']} epochs"
        rows.append(rank_row(results, f"CNN, {variant.replace('_', ', ')}", group, ("result", "spearman"), theirs, on))
    return rows


def transfer_blocks(results):
    groups, losses = results.groups["step9_transfer"], []
    for variant, group in groups.items():
        if first_run(group).get("axis"):
            theirs = writeup.STEP9_LOSSES if first_run(group)["start"] == "transfer" else {}
            train, val = theirs.get(first_run(group)["axis"], (None, None))
            losses += loss_rows(variant.replace("_", ", "), group, train, val, results.emotions)
    genres, found = results.chosen("step9_transfer", start="genres"), []
    if genres:
        rows = cnn_rows(results, "step9_transfer", writeup.STEP9_GENRES, "CNN to be transferred", start="genres")
        found = [
            Table("9c: the training on genres", COMPARED, rows),
            *confusion_tables(first_run(genres), writeup.STEP9_CONFUSION, results.genres),
        ]
    return [
        *found,
        Table("9d: Spearman's rank correlation", COMPARED, transfer_rows(results), UNSTATED),
        Table(f"Losses of the last epoch (write-up: epoch {writeup.STEP9_EPOCHS - 1})", COMPARED, losses),
        Answer("9e: what did transfer change?", answers.transfer(results)),
        *pictures(groups),
        *logs(groups),
    ]


def multitask_rows(results):
    rows = []
    for variant, group in results.groups["step10_multitask"].items():
        found = {axis: values(group, "result", axis, "spearman") for axis in AXES}
        found["mean"] = [mean_or_none(each) for each in zip(*found.values(), strict=True)]
        for axis, scores in found.items():
            theirs = writeup.STEP10_SPEARMAN[axis]
            label = f"multitask {variant.replace('_', ', ')}, {axis}"
            rows.append(
                comparison_row(label, scores, measured_on(group, "test"), theirs, writeup.NOT_STATED, results.emotions)
            )
    return rows


def multitask_blocks(results):
    groups, losses = results.groups["step10_multitask"], []
    for variant, group in groups.items():
        losses += loss_rows(variant, group, *writeup.STEP10_LOSSES, results.emotions)
    note = f"{UNSTATED} Its mean is computed here from its three."
    return [
        Table("Spearman's rank correlation", COMPARED, multitask_rows(results), note),
        Table(f"Weighted sums of losses, last epoch (write-up: epoch {writeup.STEP10_EPOCHS - 1})", COMPARED, losses),
        Answer("10c: what did one model for three axes change?", answers.multitask(results)),
        *pictures(groups),
        *logs(groups),
    ]
