"""The page's sections on valence, energy and danceability: steps 8 to 10."""

import extras.page.answers as answers
from common.labels import AXES
from common.metrics import mean_or_none
from extras.page.blocks import BESIDE, Answer, Table, beside, confusion_tables, logs, loss_rows, pictures
from extras.page.genres import cnn_rows
from extras.page.results import first_run, measured_on, shown, values
from extras.writeup import numbers as writeup

UNSAID = "The write-up does not say which of the labelled clips its correlations are of."


def rank_row(results, label, group, keys, theirs, theirs_on=writeup.NOT_SAID):
    return beside(label, values(group, *keys), measured_on(group, "test"), theirs, theirs_on, results.emotions)


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
            rows.append(beside(f"{model.upper()}, mean", means, on, theirs["mean"], writeup.NOT_SAID, results.emotions))
    return rows


def regression_blocks(results):
    groups, losses, errors = results.groups["step8_regression"], [], []
    for group in groups.values():
        model, axis = (first_run(group)[key] for key in ("model", "axis"))
        losses += loss_rows(f"{model.upper()}, {axis}", group, *writeup.STEP8_LOSSES[model][axis], results.emotions)
        figures = [shown(values(group, "metrics", key)) for key in ("mse", "mse_constant")]
        errors.append([f"{model.upper()}, {axis}", *figures, measured_on(group, "test")])
    epochs = " and ".join(f"{number} for the {model.upper()}" for model, number in writeup.STEP8_EPOCHS.items())
    return [
        Table("Spearman's rank correlation", BESIDE, regression_rows(results), UNSAID),
        Table("Squared error", ("", "this run", "always saying the training clips' mean", "measured on"), errors),
        Table(f"Losses of the last epoch (write-up's epochs: {epochs}; last logged)", BESIDE, losses),
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
        on = (
            writeup.NOT_SAID
            if start == "transfer"
            else f"{writeup.NOT_SAID}; its step 8, {writeup.STEP8_EPOCHS['cnn']} epochs"
        )
        rows.append(rank_row(results, f"CNN, {variant.replace('_', ', ')}", group, ("result", "spearman"), theirs, on))
    return rows


def transfer_blocks(results):
    groups, losses = results.groups["step9_transfer"], []
    for variant, group in groups.items():
        if first_run(group).get("axis"):
            train, val = (
                writeup.STEP9_LOSSES.get(first_run(group)["axis"], (None, None))
                if "transfer" in variant
                else (None, None)
            )
            losses += loss_rows(variant.replace("_", ", "), group, train, val, results.emotions)
    genres, found = results.chosen("step9_transfer", start="genres"), []
    if genres:
        rows = cnn_rows(results, "step9_transfer", writeup.STEP9_GENRES, "CNN to be transferred", start="genres")
        found = [
            Table("9c: the training on genres", BESIDE, rows),
            *confusion_tables(first_run(genres), writeup.STEP9_CONFUSION, results.genres),
        ]
    return [
        *found,
        Table("9d: Spearman's rank correlation", BESIDE, transfer_rows(results), UNSAID),
        Table(f"Losses of the last epoch (write-up: epoch {writeup.STEP9_EPOCHS - 1})", BESIDE, losses),
        Answer("9e: what did transfer change?", answers.transfer(results)),
        *pictures(groups),
        *logs(groups),
    ]


def multitask_rows(results):
    rows = []
    for variant, group in results.groups["step10_multitask"].items():
        found = {axis: values(group, "result", axis, "spearman") for axis in AXES}
        found["mean"] = [mean_or_none(each) for each in zip(*found.values(), strict=True)]
        for axis, figures in found.items():
            theirs = writeup.STEP10_SPEARMAN[axis]
            label = f"multitask {variant.replace('_', ', ')}, {axis}"
            rows.append(beside(label, figures, measured_on(group, "test"), theirs, writeup.NOT_SAID, results.emotions))
    return rows


def multitask_blocks(results):
    groups, losses = results.groups["step10_multitask"], []
    for variant, group in groups.items():
        losses += loss_rows(variant, group, *writeup.STEP10_LOSSES, results.emotions)
    return [
        Table(
            "Spearman's rank correlation",
            BESIDE,
            multitask_rows(results),
            f"{UNSAID} Its mean is computed here from its three.",
        ),
        Table(f"Weighted sums of losses, last epoch (write-up: epoch {writeup.STEP10_EPOCHS - 1})", BESIDE, losses),
        Answer("10c: what did one model for three axes change?", answers.multitask(results)),
        *pictures(groups),
        *logs(groups),
    ]
