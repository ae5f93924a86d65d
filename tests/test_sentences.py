"""Every comparison that a step prints: its answer, its difference and its 95 % interval, with the other runs'
predictions rewritten to be perfect, wrong everywhere or equal to ours, so that each answer is known."""

import json
import re
import shutil

import numpy as np
import pytest
from compared_runs import CLASS_OF, SEEDS, add_decoys, by_hand, folder_of, rewrite, weighted_correlation, write_data
from runs import Done, predictions, read_json, shared_run
from scipy.stats import spearmanr
from small_data import AXES
from warm import warm_script

ONE_SEED = ("step8", "step9")  # commands
ANSWERS = {"yes": 1, "no": -1, "not significant": 0}
COMPARED = re.compile(
    r"^comparison\s*: (?P<question>[^?]+\?) (?P<answer>yes|no|not significant), (?P<unit>accuracy|rank correlation) "
    r"(?P<mean>[-+]\d\.\d+) \(95 % interval (?P<low>[-+]\d\.\d+) to (?P<high>[-+]\d\.\d+)\)"
    r"(; caution: neither of them is better than a constant predictor( in squared error)?)?$"
)
NOTHING = re.compile(r"^comparison\s*: (?P<question>[^?]+\?) no answer, there is nothing to compare with$")
BY_LOSS = re.compile(
    r"^\s+by (?P<loss>[\w-]+): test accuracy ([\d.]+), cross entropy ([\d.]+), squared error of the softmax ([\d.]+) "
    r"\((\d) seeds?\)$"
)
RESUMED = re.compile(r"^resumed after epoch (\d+)$", re.MULTILINE)
# What tells the questions of a step apart.
BEST, SYNCED, OVER_MEL, OVER_CHROMA, LOSSES = (
    "better than the next",
    "beat-synchronisation",
    "fused beat mel",
    "fused beat chroma",
    "the squared error",
)
VALIDATES_BEST, AS_IN_7D = "validates best", "the LSTM on mel, as in"
SCRATCH, ALONE, MEAN = "training from scratch in", "step 8's CNN in", "mean of these axes"


def transferred(axis, start="transfer"):
    return "step9_transfer", axis, start


def lstm(features, loss="cross-entropy"):
    return "step5_lstm", features, loss


CNN, MULTITASK, S8 = ("step7_cnn", "mel"), ("step10_multitask", "cnn"), "step8_regression"


@pytest.fixture(scope="session")
def said(shared_folder):
    """{name of a command: (its Done, the folder with all runs as they were then)}."""

    def make(folder):
        data, root = write_data(folder / "data"), folder / "runs"

        def call(name, script, *flags, epochs=1):
            given = [
                "--data",
                data,
                "--no-cache",
                "--no-baselines",
                "--out",
                root,
                "--batch-size",
                16,
                "--seed",
                SEEDS[0],
                "--epochs",
                epochs,
            ]
            done = warm_script(script, *given, *flags, root=root, cwd=folder)
            shutil.copytree(root, folder / name, ignore=shutil.ignore_patterns("*.pt", "*.png", ".*.lock", "state*"))
            (folder / f"{name}.json").write_text(json.dumps(done[:2]), encoding="utf-8")

        two = ("--seeds", len(SEEDS))
        call("step5 others", "step5_lstm.py", *two, "--features", "beat", "chroma", "fused")
        call("step5", "step5_lstm.py", *two, "--features", "mel")
        call("step5 by loss", "step5_lstm.py", *two, "--features", "mel", "--loss", "squared-error")
        add_decoys(root, lstm("fused"))
        add_decoys(root, lstm("beat"))
        rewrite(root, lstm("beat"), "perfect", val_accuracy=0.5)
        rewrite(root, lstm("fused"), "wrong")
        rewrite(root, lstm("chroma"), "wrong")
        call("step5 again", "step5_lstm.py", *two, "--features", "mel", "--resume")
        rewrite(root, lstm("mel", "squared-error"), "wrong", val_accuracy=0.75)
        rewrite(root, lstm("mel"), "perfect", val_accuracy=0.25)
        call("step7", "step7_cnn.py", *two)
        rewrite(root, lstm("mel", "squared-error"), "", like=CNN, val_accuracy=0.75)
        call("step7 again", "step7_cnn.py", *two, "--resume")

        call("step10", "step10_multitask.py", *two)
        call("step8 cnn", "step8_regression.py", *two, "--model", "cnn")
        add_decoys(root, (S8, "cnn", "energy"))
        rewrite(root, (S8, "cnn", "valence"), "perfect")
        rewrite(root, (S8, "cnn", "energy"), "wrong")
        rewrite(root, (S8, "cnn", "danceability"), "", like=MULTITASK)
        call("step8", "step8_regression.py", "--model", "lstm")
        call("step10 again", "step10_multitask.py", *two, "--resume")
        call("step9", "step9_transfer.py", "--pretrain-epochs", 1, "--axis", "energy", "valence")
        return Done("", "", folder)

    root = shared_run(shared_folder, "sentences", make).root
    kept = [path for path in root.glob("*.json") if path.with_suffix("").is_dir()]
    return {path.stem: (Done(*read_json(path), root), path.with_suffix("")) for path in kept}


def test_the_weighted_correlation_is_that_of_repeated_clips():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 4, 9).astype(float), rng.uniform(size=9)
    times = rng.integers(0, 3, (1, 9))
    expected = spearmanr(np.repeat(one, times[0]), np.repeat(other, times[0])).statistic
    assert weighted_correlation(times, one, other)[0] == pytest.approx(expected)


def comparisons(done):
    """{question: (answer -1, 0 or 1, difference, low, high, unit)} of the comparisons that a command printed."""
    found = [match for line in done.lines if (match := COMPARED.match(line))]
    assert len({match["question"] for match in found}) == len(found)
    return {
        each["question"]: (
            ANSWERS[each["answer"]],
            *(float(each[key]) for key in ("mean", "low", "high")),
            each["unit"],
        )
        for each in found
    }


def the_one(found, *words):
    """The comparison whose question has these words."""
    asked = [question for question in found if all(word in question for word in words)]
    assert len(asked) == 1, (words, list(found))
    return found.pop(asked[0])


# (command, words of the question, pairs compared, answer where it is known)
EXPECTED = [
    ("step5 again", (BEST, "on beat", "on mel"), [(lstm("beat"), lstm("mel"), None)], 1),
    ("step5 again", (SYNCED,), [(lstm("beat"), lstm("mel"), None)], 1),
    ("step5 again", (OVER_MEL,), [(lstm("fused"), lstm("mel"), None)], -1),
    ("step5 again", (OVER_CHROMA,), [(lstm("fused"), lstm("chroma"), None)], 0),
    ("step5 again", (LOSSES, "on mel"), [(lstm("mel"), lstm("mel", "squared-error"), None)], None),
    ("step5", (SYNCED,), [(lstm("beat"), lstm("mel"), None)], None),
    ("step7", (VALIDATES_BEST, "on mel by squared-error"), [(CNN, lstm("mel", "squared-error"), None)], 1),
    ("step7", (AS_IN_7D,), [(CNN, lstm("mel"), None)], -1),
    ("step7 again", (VALIDATES_BEST, "on mel by squared-error"), [(CNN, lstm("mel", "squared-error"), None)], 0),
    *(
        ("step8", (axis,), [((S8, "cnn", axis), (S8, "lstm", axis), axis)], known)
        for axis, known in zip(AXES, (1, -1, None), strict=True)
    ),
    *(
        ("step10 again", (axis,), [(MULTITASK, (S8, "cnn", axis), axis)], known)
        for axis, known in zip(AXES, (-1, 1, 0), strict=True)
    ),
    *(
        ("step9", (ALONE, axis), [(transferred(axis), (S8, "cnn", axis), axis)], known)
        for axis, known in (("valence", -1), ("energy", 1))
    ),
    *(
        ("step9", (SCRATCH, axis), [(transferred(axis), transferred(axis, "scratch"), axis)], None)
        for axis in ("valence", "energy")
    ),
    (
        "step9",
        (MEAN,),
        [(transferred(axis), transferred(axis, "scratch"), axis) for axis in ("energy", "valence")],
        None,
    ),
]


@pytest.mark.parametrize(
    ("command", "words", "pairs", "known"),
    EXPECTED,
    ids=[f"{command}, {', '.join(words)}" for command, words, *_ in EXPECTED],
)
def test_a_comparison_is_right(said, command, words, pairs, known):
    done, root = said[command]
    answer, mean, low, high, unit = the_one(comparisons(done), *words)
    expected, least, most = by_hand(root, pairs, SEEDS[: 1 if command in ONE_SEED else 2])
    clips = 40 if pairs[0][2] is None else 22
    assert unit == ("accuracy" if pairs[0][2] is None else "rank correlation")
    assert mean == pytest.approx(expected, abs=6e-4)
    slack = 6e-4 if least == most else 0.1 * (most - least) + 0.6 / clips / len(SEEDS)
    assert low == pytest.approx(least, abs=slack) and high == pytest.approx(most, abs=slack)
    assert answer == (1 if low > 0 else -1 if high < 0 else 0)
    assert known is None or (answer == known and np.sign(mean) == known)


def test_intervals_are_as_wide_as_those_by_hand_on_average(said):
    widths = []
    for command, words, pairs, _ in EXPECTED:
        done, root = said[command]
        _, _, low, high, _ = the_one(comparisons(done), *words)
        _, least, most = by_hand(root, pairs, SEEDS[: 1 if command in ONE_SEED else 2])
        widths.append((high - low, most - least))
    ours, theirs = np.sum(widths, axis=0)
    assert ours == pytest.approx(theirs, rel=0.03)  # of 90 % they were 16 % smaller


def test_nothing_else_is_compared(said):
    counts = dict.fromkeys(said, 0)
    for command, *_ in EXPECTED:
        counts[command] += 1
    counts |= {"step5": 4, "step5 others": 2, "step5 by loss": 1, "step7 again": 2}
    assert {command: len(comparisons(done)) for command, (done, _) in said.items()} == counts
    nothing = {command: sum(bool(NOTHING.match(line)) for line in done.lines) for command, (done, _) in said.items()}
    assert {command: count for command, count in nothing.items() if count} == {"step10": 3}


def test_the_two_losses_stand_beside_each_other_with_their_means_over_the_seeds(said):
    done, root = said["step5 again"]
    found = {match["loss"]: match.groups()[1:] for line in done.lines if (match := BY_LOSS.match(line))}
    assert found.keys() == {"cross-entropy", "squared-error"}
    for loss, (right, entropy, error, seeds) in found.items():
        expected = []
        for seed in SEEDS:
            rows = predictions(root / folder_of("step5_lstm", seed, "mel", loss))
            probabilities = np.array([[float(row[f"p({name})"]) for name in sorted(CLASS_OF.values())] for row in rows])
            true = [sorted(CLASS_OF.values()).index(row["true"]) for row in rows]
            entropies = -np.log(probabilities[range(len(true)), true])
            expected.append(
                [
                    np.mean(probabilities.argmax(1) == true),
                    entropies.mean(),
                    np.mean((probabilities - np.eye(3)[true]) ** 2),
                ]
            )
        assert [float(right), float(entropy), float(error)] == pytest.approx(np.mean(expected, axis=0), abs=6e-5)
        assert int(seeds) == len(SEEDS)


def test_the_best_of_the_lstms_and_the_next_are_those_of_the_highest_accuracies(said):
    done, root = said["step5"]
    scores = {}
    for features in ("mel", "beat", "chroma", "fused"):
        rows = [
            row
            for seed in SEEDS
            for row in predictions(root / folder_of("step5_lstm", seed, features, "cross-entropy"))
        ]
        scores[features] = np.mean([row["true"] == row["predicted"] for row in rows])
    question = next(question for question in comparisons(done) if BEST in question)
    first, second = re.findall(r"on (\w+)", question)
    assert sorted(scores.values())[::-1][:2] == [scores[first], scores[second]] and len(set(scores.values())) == 4


def test_a_resumed_run_says_after_which_epoch_on_stderr_alone(said):
    for command, (done, _) in said.items():
        runs = {"step10 again": 2, "step7 again": 2, "step5 again": 2}.get(command, 0)
        assert RESUMED.findall(done.err) == ["0"] * runs, command
        assert "resumed" not in done.out
    assert said["step7 again"][0].results == said["step7"][0].results
