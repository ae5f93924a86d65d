"""The assignment's questions that figures can answer, answered from the figures of the runs at hand."""

import numpy as np

from common.comparison import difference, mean_score
from common.labels import AXES
from common.metrics import mean_or_none
from common.spectrogram_plots import count_classes
from extras.page.results import first_run, shown, values
from extras.writeup.numbers import STEP5_LSTM, STEP7_CNN, STEP8_SPEARMAN, STEP9_SPEARMAN, STEP10_SPEARMAN

SAME = 1e-9  # two figures as equal as floating point makes them


def needs(results, *scripts):
    return f"Cannot be answered yet; it takes {' and '.join(results.command(script) for script in scripts)}."


def compared(first, second, axis=None):
    """The Difference of two groups of runs as findings makes it; None where they share no clips or their predictions
    are not there.
    """
    try:
        return difference(first, second, axis)
    except (OSError, KeyError, ValueError):
        return None


def sentence(question, found, unit):
    if not found:
        return f"{question} No answer: there are no scores of both on the same clips."
    return f"{question} {found.answer.capitalize()}, {unit} {found}."


def name_of(run):
    return f"{run['features']} by {run['loss']}"


def time_steps(results):
    """2a: what the time steps of whole clips cost against beats."""
    clips = first_run(results.only("step1_visualize")) if results.groups["step1_visualize"] else None
    pairs = [(results.only("step5_lstm", features="mel", loss=loss), results.only("step5_lstm", features="beat", loss=loss))
             for loss in ("cross-entropy", "squared-error")]  # fmt: skip
    full, beat = next((pair for pair in pairs if all(pair)), ({}, {}))
    text = ""
    if clips:
        frames, beats = ([int(number) for number in clips["result"][key].split(",")] for key in ("frames", "beats"))
        ratio = np.mean(frames) / np.mean(beats)
        text = f"The two clips have {listed(frames)} time steps, and {listed(beats)} beat-synchronised: {ratio:.1f} times fewer. "
    if not full:
        return text + needs(results, "step5_lstm.py")
    costs = [seconds_per_epoch(group) for group in (full, beat)]
    if all(costs):
        text += (
            f"An LSTM takes them one after the other: an epoch took {costs[0]:.2f} s on mel and {costs[1]:.2f} s on beats, so whole clips "
            f"cost {costs[0] / costs[1]:.1f} times as much (the median epoch, with its validation, "
            f"{' and '.join(sorted({machine(run) for run in [*full.values(), *beat.values()]}))}). "
        )
    accuracies = [shown(values(group, "result", "test_acc")) for group in (full, beat)]
    text += f"Test accuracy is {accuracies[0]} on mel and {accuracies[1]} on beats. "
    return text + sentence("Does beat-synchronisation help?", compared(beat, full), "accuracy")


def seconds_per_epoch(group):
    """The median epoch's, mean over the seeds; None where a run trained nothing, or had only to be finished when it was
    resumed.
    """
    seconds = values(group, "used", "epoch_seconds")
    return mean_or_none(seconds) if seconds else None


def machine(run):
    metadata = run["machine"]
    return f"{metadata.get('arguments', {}).get('device', 'cpu')}, {metadata.get('versions', {}).get('threads', '?')} threads"


def balance(results):
    """4b: what the class table does to the balance."""
    group = results.only("step1_visualize")
    if not values(group, "metrics", "clips_per_genre"):
        return needs(results, "step1_visualize.py")
    metrics, table = first_run(group)["metrics"], results.data.class_mapping
    counts, (before, after) = metrics["clips_per_genre"], metrics["imbalance"]
    verdict = "worse" if after > before + SAME else "better" if after < before - SAME else "neither better nor worse"
    dropped = {genre: count for genre, count in counts.items() if table.get(genre) is None}
    rarest = min((genre for genre in counts if genre not in dropped), key=lambda genre: (counts[genre], genre))
    larger = sum(count > counts[rarest] for count in dropped.values())
    merged = {}
    for genre in sorted(counts):
        merged.setdefault(table.get(genre), []).append(genre)
    joined = "; ".join(f"{listed(genres)} to {name}" for name, genres in merged.items() if name and len(genres) > 1)
    text = (
        f"Merging joins genres that sound alike, which few clips could not tell apart: {joined or 'none here'}. "
        f"The table makes {len(count_classes(counts, table))} classes of {len(counts)} genres, and the balance {verdict}: the largest has "
        f"{before:.2f} times the clips of the smallest before the mapping, {after:.2f} times after it. "
    )
    if not dropped:
        return f"{text}No genre is dropped."
    holds = "does not hold here" if larger else "holds here"
    kept = f"the rarest kept, {rarest} ({counts[rarest]})"
    return f"{text}It drops {len(dropped)} genres. That these were the rare ones {holds}: {larger} of them have more clips than {kept}."


def micro_and_macro(results):
    """6: whether micro equals accuracy, and which classes pull the macro average down."""
    runs = [run for run in results.runs("step5_lstm") + results.runs("step7_cnn") if "micro" in (run["metrics"] or {})]
    if not runs or not results.groups["step5_lstm"]:
        return needs(results, "step5_lstm.py")
    gap = max(
        abs(run["metrics"]["micro"][key] - run["metrics"]["accuracy"])
        for run in runs
        for key in ("precision", "recall", "f1")
    )
    whole = "the one run" if len(runs) == 1 else f"all {len(runs)} runs"
    text = (
        f"In {whole} of steps 5 and 7, micro precision, recall and F1 equal the accuracy: "
        "a clip has one true and one predicted class, so each false positive is another class's false negative. "
        if gap < SAME
        else f"Micro averages and accuracy differ by up to {gap:.4f}, which they should not. "
    )
    best = best_lstm(results)
    metrics = [run["metrics"] for run in best.values()]
    scores = {name: float(np.mean([each["classes"][name]["f1"] for each in metrics])) for name in metrics[0]["classes"]}
    accuracy, macro = (values(best, "result", key) for key in ("test_acc", "test_f1_macro"))
    text += (
        f"The best LSTM, on {name_of(first_run(best))}, has accuracy {shown(accuracy)} and macro F1 {shown(macro)}. "
    )
    never = [name for name, score in scores.items() if score == 0]
    lowest = sorted((name for name in scores if 0 < scores[name] < np.mean(macro)), key=lambda name: scores[name])
    if never:
        text += f"Never recognised, with F1 0, are {listed(never)}; they pull the macro average down most. "
    if lowest:
        text += f"Below the average lie {'also ' if never else ''}{listed(f'{name} ({scores[name]:.2f})' for name in lowest)}. "
    return text + best_against_next(results)


def best_lstm(results):
    return max(results.groups["step5_lstm"].values(), key=lambda group: mean_score(group, "test_acc"))


def best_against_next(results):
    ranked = sorted(
        results.groups["step5_lstm"].values(), key=lambda group: mean_score(group, "test_acc"), reverse=True
    )
    if len(ranked) < 2:
        return ""
    question = f"Is it better than the next, on {name_of(first_run(ranked[1]))}?"
    return (
        sentence(question, compared(ranked[0], ranked[1]), "accuracy")
        + " The write-up's best is the one on beat-synchronised mel."
    )


def cnn_against_lstm(results):
    """7d."""
    cnn = results.only("step7_cnn")
    if not cnn or not results.groups["step5_lstm"]:
        return needs(
            results, *([] if cnn else ["step7_cnn.py"]), *([] if results.groups["step5_lstm"] else ["step5_lstm.py"])
        )
    best, same = best_lstm(results), results.only("step5_lstm", features="mel", loss="cross-entropy")
    texts = [f"The CNN's test accuracy is {shown(values(cnn, 'result', 'test_acc'))}."]
    for group in [best] if best is same or not same else [best, same]:
        question = (
            f"Does it beat the LSTM on {name_of(first_run(group))} ({shown(values(group, 'result', 'test_acc'))})?"
        )
        texts.append(sentence(question, compared(cnn, group), "accuracy"))
    mel, beats = (f"{STEP5_LSTM[features]['test_acc']:.2f}" for features in ("mel", "beat"))
    theirs = f"{STEP7_CNN['test_acc']:.2f} against {mel} on mel and {beats} on beats"
    return " ".join([*texts, f"The write-up says yes: {theirs}."])


def regression(results):
    """8e: the CNN against the LSTM on each axis, and both against always saying the mean."""
    texts, asked = [], False
    for axis in AXES:
        cnn, lstm = (results.only("step8_regression", model=model, axis=axis) for model in ("cnn", "lstm"))
        if cnn and lstm:
            asked = True
            texts.append(
                sentence(f"Does the CNN beat the LSTM in {axis}?", compared(cnn, lstm, axis), "rank correlation")
            )
    if not asked:
        return needs(results, "step8_regression.py")
    runs = [run for run in results.runs("step8_regression") if "mse" in (run["metrics"] or {})]
    worse = sum(run["metrics"]["mse"] >= run["metrics"]["mse_constant"] for run in runs)
    texts.append(
        f"In squared error {worse} of {len(runs)} networks are no better than always saying the training clips' mean."
    )
    theirs = ", ".join(
        f"{STEP8_SPEARMAN['cnn'][axis]:.2f} against {STEP8_SPEARMAN['lstm'][axis]:.2f} in {axis}" for axis in AXES
    )
    return " ".join([*texts, f"The write-up says yes on all three: {theirs}."])


def transfer(results):
    """9e: what transfer changed, against the same training from scratch and against step 8."""
    texts = []
    for group in results.chosen("step9_transfer", start="transfer").values():
        axis, freeze = (first_run(group)[key] for key in ("axis", "freeze"))
        scratch = results.only("step9_transfer", start="scratch", axis=axis, freeze=freeze)
        question = (
            "Does a frozen transferred backbone beat a frozen random one"
            if freeze
            else "Does transfer beat training from scratch"
        )
        texts.append(sentence(f"{question} in {axis}?", compared(group, scratch, axis), "rank correlation"))
        alone = results.only("step8_regression", model="cnn", axis=axis)
        if alone:
            texts.append(
                sentence(f"Does it beat step 8's CNN in {axis}?", compared(group, alone, axis), "rank correlation")
            )
    if not texts:
        return needs(results, "step9_transfer.py")
    theirs = f"from {STEP8_SPEARMAN['cnn']['valence']:.2f} in step 8 to {STEP9_SPEARMAN['valence']:.2f}"
    return " ".join(
        [*texts, f"The write-up says yes for valence, {theirs}; it has no training from scratch of as many epochs."]
    )


def multitask(results):
    """10c: what one model for three axes changed against step 8's CNN for each."""
    texts = []
    for variant, group in results.groups["step10_multitask"].items():
        for axis in AXES:
            alone = results.only("step8_regression", model="cnn", axis=axis)
            if alone:
                question = f"Does the multitask network ({variant}) beat step 8's CNN in {axis}?"
                texts.append(sentence(question, compared(group, alone, axis), "rank correlation"))
    if not texts:
        missing = [
            script
            for script in ("step8_regression.py", "step10_multitask.py")
            if not results.groups[script.removesuffix(".py")]
        ]
        return needs(results, *(missing or ["step8_regression.py"]))
    ours = STEP10_SPEARMAN, STEP8_SPEARMAN["cnn"]
    theirs = ", ".join(f"{ours[0][axis]:.2f} against {ours[1][axis]:.2f} in {axis}" for axis in AXES)
    return " ".join([*texts, f"The write-up found about the same, less in two and more in one: {theirs}."])


def listed(items):
    """a, b and c."""
    *rest, last = map(str, items)
    return f"{', '.join(rest)} and {last}" if rest else last
