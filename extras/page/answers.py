"""The assignment's questions that numbers can answer, answered from the finished runs."""

import numpy as np

from common.comparison import difference, mean_score
from common.labels import AXES
from common.metrics import mean_or_none
from common.spectrogram_plots import count_classes
from extras.page.results import first_run, shown, values
from extras.writeup.numbers import STEP5_LSTM, STEP7_CNN, STEP8_SPEARMAN, STEP9_SPEARMAN, STEP10_SPEARMAN

SAME = 1e-9  # two numbers that differ by less differ by rounding alone


def needs(results, *scripts):
    return f"No answer yet; it takes {' and '.join(results.command(script) for script in scripts)}."


def compared(first, second, axis=None):
    """The Difference of two groups of runs; None where they share no clips or a predictions.csv is missing."""
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
    """2a: how many time steps clips and beats have, and what they cost in training."""
    clips = first_run(results.only("step1_visualize")) if results.groups["step1_visualize"] else None
    losses, text = ("cross-entropy", "squared-error"), ""
    pairs = [[results.only("step5_lstm", features=name, loss=loss) for name in ("mel", "beat")] for loss in losses]
    full, beat = next((pair for pair in pairs if all(pair)), ({}, {}))
    if clips:
        frames, beats = ([int(number) for number in clips["result"][key].split(",")] for key in ("frames", "beats"))
        ratio = np.mean(frames) / np.mean(beats)
        text = f"The two clips have {listed(frames)} time steps, "
        text += f"and {listed(beats)} beat-synced: {ratio:.1f} times fewer. "
    if not full:
        return text + needs(results, "step5_lstm.py")
    costs = [seconds_per_epoch(group) for group in (full, beat)]
    if all(costs):
        computers = sorted({computer(run) for run in [*full.values(), *beat.values()]})
        text += (
            f"An LSTM takes them one by one: an epoch took {costs[0]:.2f} s on mel and {costs[1]:.2f} s on beats, "
            f"so whole clips cost {costs[0] / costs[1]:.1f} times as much "
            f"(the median epoch with its validation, {' and '.join(computers)}). "
        )
    accuracies = [shown(values(group, "result", "test_acc")) for group in (full, beat)]
    text += f"Test accuracy is {accuracies[0]} on mel and {accuracies[1]} on beats. "
    return text + sentence("Does beat-synchronisation help?", compared(beat, full), "accuracy")


def seconds_per_epoch(group):
    """The median epoch's seconds, mean over the seeds; None where a run trained no epoch before it was finished."""
    seconds = values(group, "used", "epoch_seconds")
    return mean_or_none(seconds) if seconds else None


def computer(run):
    """The device and the number of threads that a run was trained with, as text."""
    arguments, versions = (run["environment"].get(name, {}) for name in ("arguments", "versions"))
    return f"{arguments.get('device', 'cpu')}, {versions.get('threads', '?')} threads"


def balance(results):
    """4b: what the class table does to the balance of the classes."""
    group = results.only("step1_visualize")
    if not values(group, "metrics", "clips_per_genre"):
        return needs(results, "step1_visualize.py")
    metrics, table = first_run(group)["metrics"], results.data.class_mapping
    counts, (before, after) = metrics["clips_per_genre"], metrics["imbalance"]
    change = "worse" if after > before + SAME else "better" if after < before - SAME else "neither better nor worse"
    dropped = {genre: count for genre, count in counts.items() if table.get(genre) is None}
    rarest = min((genre for genre in counts if genre not in dropped), key=lambda genre: (counts[genre], genre))
    larger = sum(count > counts[rarest] for count in dropped.values())
    merged = {}
    for genre in sorted(counts):
        merged.setdefault(table.get(genre), []).append(genre)
    joined = "; ".join(f"{listed(genres)} to {name}" for name, genres in merged.items() if name and len(genres) > 1)
    text = (
        "Merging joins genres that sound alike, which a network could hardly separate with few clips: "
        f"{joined or 'none here'}. "
        f"The table makes {len(count_classes(counts, table))} classes of {len(counts)} genres, and the balance {change}: "
        f"the largest has {before:.2f} times the clips of the smallest before the mapping, {after:.2f} times after it. "
    )
    if not dropped:
        return f"{text}No genre is dropped."
    holds = "does not hold here" if larger else "holds here"
    text += f"It drops {len(dropped)} genres. That these were the rare ones {holds}: "
    return f"{text}{larger} of them have more clips than the rarest kept, {rarest} ({counts[rarest]})."


def micro_and_macro(results):
    """6: whether micro averages equal the accuracy, and which classes lower the macro average."""
    runs = [run for run in results.runs("step5_lstm") + results.runs("step7_cnn") if "micro" in (run["metrics"] or {})]
    if not runs or not results.groups["step5_lstm"]:
        return needs(results, "step5_lstm.py")
    gap = max(
        abs(run["metrics"]["micro"][key] - run["metrics"]["accuracy"])
        for run in runs
        for key in ("precision", "recall", "f1")
    )
    which = "the one run" if len(runs) == 1 else f"all {len(runs)} runs"
    text = (
        f"In {which} of steps 5 and 7, micro precision, recall and F1 equal the accuracy: "
        "a clip has one true and one predicted class, so each false positive is another class's false negative. "
        if gap < SAME
        else f"Micro averages and accuracy differ by up to {gap:.4f}, which they should not. "
    )
    best = best_lstm(results)
    metrics = [run["metrics"] for run in best.values()]
    scores = {name: float(np.mean([each["classes"][name]["f1"] for each in metrics])) for name in metrics[0]["classes"]}
    accuracy, macro = (values(best, "result", key) for key in ("test_acc", "test_f1_macro"))
    name = name_of(first_run(best))
    text += f"The highest accuracy has the LSTM on {name}, {shown(accuracy)}; its macro F1 is {shown(macro)}. "
    never = [name for name, score in scores.items() if score == 0]
    lowest = sorted((name for name in scores if 0 < scores[name] < np.mean(macro)), key=lambda name: scores[name])
    if never:
        text += f"Never recognised, with F1 0: {listed(never)}; they lower the macro average most. "
    if lowest:
        names = listed(f"{name} ({scores[name]:.2f})" for name in lowest)
        text += f"{'Also below' if never else 'Below'} the average: {names}. "
    return text + best_against_next(results)


def best_lstm(results):
    return max(results.groups["step5_lstm"].values(), key=lambda group: mean_score(group, "test_acc"))


def best_against_next(results):
    ranked = sorted(
        results.groups["step5_lstm"].values(), key=lambda group: mean_score(group, "test_acc"), reverse=True
    )
    if len(ranked) < 2:
        return ""
    question = f"Is that LSTM better than the next, on {name_of(first_run(ranked[1]))}?"
    answer = sentence(question, compared(ranked[0], ranked[1]), "accuracy")
    return f"{answer} The write-up's best is the one on beat-synced mel."


def cnn_against_lstm(results):
    """7d: the CNN against the best LSTM, and against the one on mel."""
    cnn, lstms = results.only("step7_cnn"), results.groups["step5_lstm"]
    if not cnn or not lstms:
        missing = {"step7_cnn.py": not cnn, "step5_lstm.py": not lstms}
        return needs(results, *(script for script in missing if missing[script]))
    best, same = best_lstm(results), results.only("step5_lstm", features="mel", loss="cross-entropy")
    texts = [f"The CNN's test accuracy is {shown(values(cnn, 'result', 'test_acc'))}."]
    for group in [best] if best is same or not same else [best, same]:
        score = shown(values(group, "result", "test_acc"))
        question = f"Does it beat the LSTM on {name_of(first_run(group))} ({score})?"
        texts.append(sentence(question, compared(cnn, group), "accuracy"))
    mel, beats = (f"{STEP5_LSTM[features]['test_acc']:.2f}" for features in ("mel", "beat"))
    theirs = f"{STEP7_CNN['test_acc']:.2f} against {mel} on mel and {beats} on beats"
    return " ".join([*texts, f"The write-up's answer is yes: {theirs}."])


def regression(results):
    """8e: the CNN against the LSTM on each axis, and both against the constant predictor."""
    texts = []
    for axis in AXES:
        cnn, lstm = (results.only("step8_regression", model=model, axis=axis) for model in ("cnn", "lstm"))
        if cnn and lstm:
            question = f"Does the CNN beat the LSTM in {axis}?"
            texts.append(sentence(question, compared(cnn, lstm, axis), "rank correlation"))
    if not texts:
        return needs(results, "step8_regression.py")
    runs = [run for run in results.runs("step8_regression") if "mse" in (run["metrics"] or {})]
    worse = sum(run["metrics"]["mse"] >= run["metrics"]["mse_constant"] for run in runs)
    constant = "the constant predictor, the training clips' mean"
    texts.append(f"The squared error of {worse} of {len(runs)} networks is not below that of {constant}.")
    lstm, cnn = STEP8_SPEARMAN["lstm"], STEP8_SPEARMAN["cnn"]
    theirs = ", ".join(f"{cnn[axis]:.2f} against {lstm[axis]:.2f} in {axis}" for axis in AXES)
    return " ".join([*texts, f"The write-up's answer is yes on all three: {theirs}."])


def transfer(results):
    """9e: what transfer changed, against the same training from scratch and against step 8."""
    texts = []
    for group in results.chosen("step9_transfer", start="transfer").values():
        axis, freeze = (first_run(group)[key] for key in ("axis", "freeze"))
        scratch = results.only("step9_transfer", start="scratch", axis=axis, freeze=freeze)
        frozen = "Does a frozen transferred backbone beat a frozen random one"
        question = f"{frozen if freeze else 'Does transfer beat training from scratch'} in {axis}?"
        texts.append(sentence(question, compared(group, scratch, axis), "rank correlation"))
        alone = results.only("step8_regression", model="cnn", axis=axis)
        if alone:
            question = f"Does it beat step 8's CNN in {axis}?"
            texts.append(sentence(question, compared(group, alone, axis), "rank correlation"))
    if not texts:
        return needs(results, "step9_transfer.py")
    theirs = f"from {STEP8_SPEARMAN['cnn']['valence']:.2f} in step 8 to {STEP9_SPEARMAN['valence']:.2f}"
    limits = "it has no training from scratch of as many epochs"
    return " ".join([*texts, f"The write-up's answer is yes for valence, {theirs}; {limits}."])


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
        steps = [step for step in ("step8_regression", "step10_multitask") if not results.groups[step]]
        return needs(results, *(f"{step}.py" for step in steps or ["step8_regression"]))
    both, one = STEP10_SPEARMAN, STEP8_SPEARMAN["cnn"]
    theirs = ", ".join(f"{both[axis]:.2f} against {one[axis]:.2f} in {axis}" for axis in AXES)
    return " ".join([*texts, f"The write-up found about the same, less in two and more in one: {theirs}."])


def listed(items):
    """a, b and c."""
    *rest, last = map(str, items)
    return f"{', '.join(rest)} and {last}" if rest else last
