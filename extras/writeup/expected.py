"""The lab's own data set: its number of clips, and the range of scores to expect on it.

The counts come from a public notebook's listing of the data set and from public bar plots of its labels; they agree
with every sum in the write-up. The ranges come from the write-up and from the printed results of public solutions,
whose networks, epochs and, for emotions, test clips differ: they show whether a run went wrong, and no more.
"""

from typing import NamedTuple

from common.dataset import unwrap
from common.labels import CLASS_MAPPING
from extras.writeup.numbers import STEP5_LSTM, STEP7_CNN, STEP9_GENRES

# Clips of each genre, (train, test): of these four, and of all 20. No clip is in both splits.
UNEVEN = {"Metal": (153, 38), "Trip-Hop": (137, 34), "Soundtrack": (124, 30), "Post-Rock": (95, 23)}
GENRE_CLIPS = {genre: UNEVEN.get(genre, (160, 40)) for genre in CLASS_MAPPING}
EMOTION_CLIPS = (1122, 375)  # (with labels, without: the competition's test split)
# ids that are in the genre and in the emotion folders, about as many as by chance: few if any are the same songs
SHARED_IDS = 68
# 575, of the genres that the class table keeps
LAB_TEST_CLIPS = sum(test for genre, (_, test) in GENRE_CLIPS.items() if CLASS_MAPPING[genre])


class Expected(NamedTuple):
    """The range of plausible scores, and the results that it comes from: "write-up", or keys of SOURCES."""

    low: float
    high: float
    results: str


SOURCES = {  # name: repository on GitHub, or where else the results are
    "evantsogk": "evantsogk/music-genre-and-emotion-recognition (2022)",
    "jpitoskas": "jpitoskas/PatRec (2019-20)",
    "PanosAntoniadis": "PanosAntoniadis/pattern_recognition-ntua (2019-20)",
    "savassif": "savassif/Pattern-Recognition-NTUA (2020-21)",
    "grilio": "grilio, course stubs (2022-23)",
    "BeatPatrol": "xaniadakis/BeatPatrol (2024-25)",
    "PKininis": "PKininis/Multitask-Music-Emotion (2022-23)",
    "mpektkd": "mpektkd/Pattern-Recognition-Techniques (2022)",
    "a README": "of a solution of 2025",
    "staff": "the course's staff in slp-ntua/patrec-labs, issues 68 and 70",
}

# {(step, its features, network or start): accuracy on the 575 test clips}
ACCURACIES = {
    ("step5_lstm", "mel"): Expected(0.20, 0.34, "write-up .23, jpitoskas .21, evantsogk .24, BeatPatrol .34"),
    ("step5_lstm", "beat"): Expected(0.27, 0.39, "write-up .32, jpitoskas .275, evantsogk .36, BeatPatrol .39"),
    ("step5_lstm", "chroma"): Expected(0.18, 0.23, "write-up .18, evantsogk .22, BeatPatrol .23"),
    ("step5_lstm", "fused"): Expected(0.30, 0.39, "write-up .31, evantsogk .34 and, beat-synced, .39"),
    ("step5_lstm", "chroma-beat"): Expected(0.18, 0.24, "PanosAntoniadis .20, evantsogk .21, jpitoskas .24"),
    ("step5_lstm", "fused-beat"): Expected(0.29, 0.39, "mpektkd .29, jpitoskas .33, evantsogk .39"),
    ("step7_cnn", None): Expected(
        0.42, 0.47, "write-up .44, savassif .42, evantsogk .45, a README .466; staff .40 to .50 in validation"
    ),
}

# {(step, its network or start): {axis: rank correlation}}
CORRELATIONS = {
    ("step8_regression", "lstm"): {
        "valence": Expected(0.01, 0.20, "write-up .01, BeatPatrol .12, evantsogk .19"),
        "energy": Expected(0.15, 0.66, "write-up .16, BeatPatrol .45, evantsogk .66"),
        "danceability": Expected(0.10, 0.59, "write-up .21, jpitoskas .10, evantsogk .58"),
    },
    ("step8_regression", "cnn"): {
        "valence": Expected(0.27, 0.66, "write-up .28, savassif .39, evantsogk .66"),
        "energy": Expected(0.61, 0.77, "write-up .62, savassif .64, evantsogk .76"),
        "danceability": Expected(0.32, 0.68, "write-up .33, savassif .39, evantsogk .68"),
    },
    ("step9_transfer", "transfer"): {
        "valence": Expected(0.42, 0.65, "write-up .43, PKininis .49, evantsogk .65"),
        "energy": Expected(0.66, 0.81, "savassif .66, evantsogk .81"),
        "danceability": Expected(0.32, 0.75, "write-up's CNN without transfer .33, evantsogk .75"),
    },
    ("step10_multitask", None): {
        "valence": Expected(0.17, 0.59, "write-up .17, PKininis .24, grilio .56, evantsogk .59"),
        "energy": Expected(0.54, 0.77, "write-up .55, PKininis .60, grilio .66, evantsogk .77"),
        "danceability": Expected(0.36, 0.71, "write-up .37, PKininis .38, grilio .52, evantsogk .71"),
    },
}

CAUSES = {  # of a score outside its range, the most likely first
    "accuracy below": (
        "the training loss stayed at the class priors' (curves.png): a higher --lr, or more --epochs",
        "it was still rising (the best epoch is one of the last): more --epochs",
        "files are missing or damaged: step0_data.py lists them",
        "chance: the standard error is 2.1 points on 575 clips; --seeds 3 shows the spread",
    ),
    "accuracy above": (
        "it was trained with test clips: a WARNING above has their number",
        "more epochs, another learning rate or another network than the results that the range comes from",
        "chance: the standard error is 2.1 points on 575 clips; --seeds 3 shows the spread",
    ),
    "correlation below": (
        "the predictions are nearly constant (their MSE is the constant predictor's): a higher --lr, or more --epochs",
        "it overfits (training loss far below validation loss in curves.png): fewer --epochs, or steps 9 and 10",
        "other clips: nearly every solution has its own test split, and the write-up does not state which it used",
        "chance: the standard error is about .07 on 224 clips; --seeds 3 shows the spread",
    ),
    "correlation above": (
        "it was trained with test clips: a WARNING above, or step 9's line on ids of the genre CNN, has their number",
        "other clips: nearly every solution has its own test split, and the write-up does not state which it used",
        "chance: the standard error is about .07 on 224 clips; --seeds 3 shows the spread",
    ),
}


def is_labs(demo, class_mapping, mode, clips, lab_clips):
    """Whether a run was on all of the lab's data: no demo music, the lab's class table, its number of clips."""
    return not demo and class_mapping == CLASS_MAPPING and mode in ("full", "score") and clips == lab_clips


def writeup_scores(step, choice):
    """The write-up's test scores, {"test_acc", ...}, for a step and its features or start; empty where it has none."""
    by_step = {"step5_lstm": STEP5_LSTM.get(choice, {}), "step7_cnn": STEP7_CNN, "step9_transfer": STEP9_GENRES}
    return by_step.get(step, {})


def expectation(step, choice, score, axis=None, interval=(None, None)):
    """Lines on whether a score on the lab's data set is within its range and, if not, why; [] without a range.

    choice: the step's features, network or start, None where it has one alone; score: accuracy, or the rank correlation
    of `axis`; None (undefined) counts as below the range; interval: of the score, at 95 %. Only where all of it is
    outside of the range is the score called so.
    """
    table = ACCURACIES if axis is None else {key: ranges[axis] for key, ranges in CORRELATIONS.items()}
    if (step, choice) not in table:
        return []
    low, high, results = table[step, choice]
    text = "undefined" if score is None else f"{score:.4f}"
    least, most = (score if bound is None else bound for bound in interval)
    where = "below" if score is None or score < low else "above" if score > high else "within"
    line = f"to expect  : {low:.2f} to {high:.2f} on the lab's data set ({results}); {text} is "
    if where == "within":
        return [line + where]
    if score is not None and least <= high and most >= low:
        return [f"{line}not significantly {where}, its 95 % interval is {least:.3f} to {most:.3f}"]
    causes = CAUSES[f"{'correlation' if axis else 'accuracy'} {where}"]
    numbered = [f"             {number}. {cause}" for number, cause in enumerate(causes, start=1)]
    return [f"{line}{where}; likely causes, in this order:", *numbered]


def print_expected(run, splits, metrics):
    """Prints the write-up's accuracy and, on the lab's own data set, the range of scores to expect.

    splits: training, validation and test set; metrics: what report_genres or report_axes returned.
    """
    metadata, (train_set, _, test_set) = run.metadata, splits
    lab = (metadata["demo"], metadata["class_mapping"], metadata["mode"])
    if "accuracy" in metrics:
        choice = metadata.get("features") or metadata.get("start")
        same, theirs = is_labs(*lab, len(test_set), LAB_TEST_CLIPS), writeup_scores(metadata["step"], choice)
        if theirs:
            texts = [f"accuracy {theirs['test_acc']:.4f}"]
            texts += [f"macro F1 {theirs['test_f1_macro']:.2f}"] if "test_f1_macro" in theirs else []
            where = "the same {} test clips" if same else "the lab's {} test clips, not comparable with these"
            print(f"write-up   : {', '.join(texts)} on {where.format(LAB_TEST_CLIPS)}")
        scores = {None: (metrics["accuracy"], metrics["interval"])}
    else:
        choice = metadata.get("model") or metadata.get("start")
        same = is_labs(*lab, len(unwrap(train_set)[0]), EMOTION_CLIPS[0])
        scores = {axis: (found["spearman"], found["interval"]) for axis, found in metrics.items()}
    for axis, (score, interval) in scores.items() if same else ():
        for line in expectation(metadata["step"], choice, score, axis, interval):
            print(line)
