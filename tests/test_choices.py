"""The write-up's choices, written down once more, are each training step's defaults, and are used: seen from outside,
in what a run leaves.

They are of the write-up (its text, or what its logs can only mean) or, marked "here", left open by it. Each step runs
once without any flag but where its data lie; the data are so few and short that all epochs take seconds, and enough for
two batches an epoch.
"""

import json
import math
import re

import numpy as np
import pytest
import torch
from by_hand import emotion_split, split
from runs import predictions, read_json, shared_run
from small_data import EMOTIONS, GENRES, clip, write_clips
from warm import warm_script

GENRE_CLIPS, TEST_CLIPS, LABELLED = 60, 12, 75  # a third of 60, of both, is 20, and 19 by 0.33
CLASSES = ("Folk", "Pop", "Rock")
VAL_SIZE, TEST_SIZE = 0.33, 0.2  # validation accuracies are multiples of 1/760 of 2305 clips; the second is chosen here
VAL_CLIPS, EMOTION_SPLIT = 19, (41, 19, 15)
BATCH_SIZE = 32  # the course's sample code
SEED = 0
LSTM = {
    "lr": 1e-4,
    "weight_decay": 1e-3,
    "betas": (0.9, 0.999),
}  # "learning rate = 0.0001", "regularization = 0.001", Adam
CNN = {"lr": 1e-3, "weight_decay": 0.0, "betas": (0.9, 0.999)}  # here: Adam's own
RNN_SIZE, NUM_LAYERS = 128, 2  # "rnn size = 128", "2 layers"; here: one direction
CHANNELS, KERNEL_SIZE = (16, 32, 64, 128), 3  # four stages; here: their filters
AXIS_WEIGHTS = [0.33, 0.33, 0.33]
WIDTHS = {"mel": 128, "beat": 128, "chroma": 12, "fused": 140}
VALENCE = ["valence"]
FEATURE_SETS = ("mel", "beat", "chroma", "fused")


def run_of(kind, epochs, val_clips, outputs, every=1, width=128):
    return {"kind": kind, "epochs": epochs, "clips": val_clips, "outputs": outputs, "every": every, "width": width}


# To save time; the numbers of epochs without these flags are pinned by test_help_says_the_defaults.
FEWER = {
    "step5_lstm": ["--epochs", 3],
    "step8_regression": ["--axis", *VALENCE, "--epochs", 6],
    "step9_transfer": ["--epochs", 2, "--pretrain-epochs", 3],
    "step10_multitask": ["--epochs", 6],
}
GENRES_SPLIT = (GENRE_CLIPS - VAL_CLIPS, VAL_CLIPS, TEST_CLIPS)
RUNS = {  # (step, variant): the network, its epochs, the split, outputs of the head, epochs from one log line to the next
    **{
        ("step5_lstm", f"{name}_cross-entropy"): run_of("lstm", 3, GENRES_SPLIT, 3, width=width)
        for name, width in WIDTHS.items()
    },
    ("step7_cnn", "mel"): run_of("cnn", 25, GENRES_SPLIT, 3),
    ("step8_regression", "lstm_valence"): run_of("lstm", 6, EMOTION_SPLIT, 1),
    ("step8_regression", "cnn_valence"): run_of("cnn", 6, EMOTION_SPLIT, 1, every=5),
    ("step9_transfer", "genres"): run_of("cnn", 3, GENRES_SPLIT, 3),
    ("step9_transfer", "valence_transfer"): run_of("cnn", 2, EMOTION_SPLIT, 1),
    ("step9_transfer", "valence_scratch"): run_of("cnn", 2, EMOTION_SPLIT, 1),
    ("step10_multitask", "cnn"): run_of("cnn", 6, EMOTION_SPLIT, 3, every=5),
}
ARGUMENTS = {  # what a run without flags says of itself in arguments.json
    "step5_lstm": {
        "epochs": 3,
        "lr": 1e-4,
        "loss": "cross-entropy",
        "features": list(FEATURE_SETS),
        "beat": False,
    },
    "step7_cnn": {"epochs": 25, "lr": 1e-3},
    "step8_regression": {
        "epochs": {"lstm": 6, "cnn": 6},
        "lr": {"lstm": 1e-4, "cnn": 1e-3},
        "model": ["lstm", "cnn"],
    },
    "step9_transfer": {
        "epochs": 2,
        "pretrain_epochs": 3,
        "lr": 1e-3,
        "axis": VALENCE,
        "freeze": False,
        "pretrained": None,
    },
    "step10_multitask": {"epochs": 6, "lr": 1e-3, "weights": AXIS_WEIGHTS, "ensemble": 1},
}
COMMON = {"batch_size": BATCH_SIZE, "seed": SEED, "seeds": [SEED]}
SAID = {  # what --help says of the defaults of --epochs, --lr, --batch-size, and of others
    "step5_lstm": {"epochs": [15], "lr": [1e-4], "batch-size": [32]},
    "step7_cnn": {"epochs": [25], "lr": [1e-3], "batch-size": [32]},
    "step8_regression": {"epochs": [15, 50], "lr": [1e-4, 1e-3], "batch-size": [32]},
    "step9_transfer": {"epochs": [10], "lr": [1e-3], "batch-size": [32], "pretrain-epochs": [25]},
    "step10_multitask": {"epochs": [31], "lr": [1e-3], "batch-size": [32], "weights": [0.33]},
}
COUNTS = re.compile(r"(\d+) to train on, (\d+) to validate with.*, (\d+) to test$", re.MULTILINE)
LOGGED = re.compile(r"^[Ee]poch ?: (\d+)(?: ,training loss = \S+)?$", re.MULTILINE)
BLOCK = re.compile(
    r"^valence_loss: (\S+), energy_loss: (\S+), danceability_loss: (\S+)\nTotal (\w+) loss = (\S+)$", re.MULTILINE
)


@pytest.fixture(scope="module")
def data(shared_folder):
    """The path of the data."""

    def make(folder):
        rng, root = np.random.default_rng(7), folder / "data"
        for tail, length in (("", 16), ("_beat", 4)):
            for split_name, count in (("train", GENRE_CLIPS), ("test", TEST_CLIPS)):
                rows = [(f"{split_name}{k}", CLASSES[k % 3]) for k in range(count)]
                clips = {ident: clip(rng, length - k % 3, 6 * (k % 3)) for k, (ident, _) in enumerate(rows)}
                write_clips(root / f"{GENRES}{tail}" / split_name, clips)
                lines = ["Id\tGenre", *(f"{ident}.fused.full.npy.gz\t{genre}" for ident, genre in rows), ""]
                (root / f"{GENRES}{tail}" / f"{split_name}_labels.txt").write_text("\n".join(lines))
            ids = [f"song{k}" for k in range(LABELLED)]
            write_clips(
                root / f"{EMOTIONS}{tail}" / "train", {i: clip(rng, length - k % 3, k / 5) for k, i in enumerate(ids)}
            )
            write_clips(root / f"{EMOTIONS}{tail}" / "test", {"hidden": clip(rng, length, 0.0)})
            lines = [
                "Id,valence,energy,danceability",
                *(f"{i},{k / 80},{(7 * k % 75) / 80},0.{10 + k}" for k, i in enumerate(ids)),
                "",
            ]
            (root / f"{EMOTIONS}{tail}" / "train_labels.txt").write_text("\n".join(lines))
        (root / "class_mapping.json").write_text(json.dumps({name: name for name in CLASSES}))
        return warm_script("-m this", root=folder)  # nothing of the project

    return shared_run(shared_folder, "choices-data", make).root / "data"


def run_without_flags(step, data, shared_folder):
    def make(folder):
        given = ["--data", data, "--cache", shared_folder / "choices-cache", "--out", folder / "runs", "--no-baselines"]
        given += FEWER.get(step, [])
        return warm_script(f"{step}.py", *given, root=folder / "runs")

    return shared_run(shared_folder, f"choices-{step}", make)


def values_of(value, name):
    """Everything that is called `name` in nested dicts and in lists of [name, value] pairs."""
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(each[0], each[1]) if isinstance(each, list) and len(each) == 2 else (None, each) for each in value]
    else:
        return []
    return [v for key, v in pairs if key == name] + [found for _, v in pairs for found in values_of(v, name)]


def optimizer_of(path):
    """({name: values of all parameter groups}, the steps taken) in a saved state of training."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    metadata = json.loads(saved["metadata"])["state"]
    (steps,) = {float(saved["weights"][step["tensor"]]) for step in values_of(metadata, "step")}
    groups = {name: values_of(metadata, name) for name in ("lr", "weight_decay", "betas")}
    return {**groups, "betas": [tuple(betas["tuple"]) for betas in groups["betas"]]}, steps


def shapes_of(run):
    """{name: shape} of the network's weights, without counters."""
    if run["kind"] == "lstm":
        size = RNN_SIZE
        inputs = [run["width"], *[size] * (NUM_LAYERS - 1)]
        found = {f"backbone.lstm.weight_ih_l{k}": (4 * size, width) for k, width in enumerate(inputs)}
        found |= {f"backbone.lstm.weight_hh_l{k}": (4 * size, size) for k in range(NUM_LAYERS)}
        found |= {f"backbone.lstm.bias_{word}_l{k}": (4 * size,) for word in ("ih", "hh") for k in range(NUM_LAYERS)}
    else:
        found, size = {}, CHANNELS[-1] * 128 // 2 ** len(CHANNELS)
        for k, (before, after) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
            found[f"stage {k} filters"], found[f"stage {k} bias"] = (after, before, KERNEL_SIZE, KERNEL_SIZE), (after,)
            found |= {f"stage {k} {name}": (after,) for name in ("scale", "shift", "mean", "variance")}
    return sorted([*found.values(), (run["outputs"], size), (run["outputs"],)])


@pytest.mark.parametrize("step", ARGUMENTS)
def test_defaults_of_a_run_without_flags(step, data, shared_folder):
    done = run_without_flags(step, data, shared_folder)
    variants = {f"{variant}_seed{SEED}" for name, variant in RUNS if name == step}
    assert {path.parent.name for path in done.root.glob(f"{step}/*/metrics.json")} == variants
    for variant in variants:
        arguments = read_json(done.folder(step, variant) / "arguments.json")["arguments"]
        wanted = {**ARGUMENTS[step], **COMMON}
        assert {name: arguments[name] for name in wanted} == wanted


@pytest.mark.parametrize(("step", "variant"), RUNS)
def test_choices_are_used(step, variant, data, shared_folder):
    run = RUNS[step, variant]
    folder = run_without_flags(step, data, shared_folder).folder(step, f"{variant}_seed{SEED}")
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert len(read_json(folder / "history.json")) == run["epochs"]
    assert list(map(int, LOGGED.findall(log))) == list(range(0, run["epochs"], run["every"]))
    assert COUNTS.findall(log) == [tuple(map(str, run["clips"]))]
    chosen, steps = optimizer_of(folder / "state.pt")
    assert chosen == {name: [value] for name, value in (LSTM if run["kind"] == "lstm" else CNN).items()}
    assert steps == run["epochs"] * math.ceil(run["clips"][0] / BATCH_SIZE)
    saved = torch.load(folder / "best.pt", map_location="cpu", weights_only=True)
    assert sorted(tuple(weight.shape) for weight in saved["weights"].values() if weight.dim()) == shapes_of(run)


@pytest.mark.parametrize(("step", "variant"), RUNS)
def test_splits_have_the_shares_of_the_write_up(step, variant, data, shared_folder):
    folder = run_without_flags(step, data, shared_folder).folder(step, f"{variant}_seed{SEED}")
    seen = json.loads(torch.load(folder / "best.pt", map_location="cpu", weights_only=True)["metadata"])["train_ids"]
    if RUNS[step, variant]["clips"] == EMOTION_SPLIT:
        train, val, test = emotion_split([f"song{k}" for k in range(LABELLED)], SEED)
        assert (len(train), len(val), len(test)) == EMOTION_SPLIT
        assert {ident for ident in seen if ident.startswith("song")} == {*train, *val}
    else:
        val, train = split([f"train{k}" for k in range(GENRE_CLIPS)], VAL_SIZE, SEED)
        test = [f"test{k}" for k in range(TEST_CLIPS)]
        assert len(val) == VAL_CLIPS and set(seen) == {*train, *val}
        assert [row["id"] for row in predictions(folder, "val")] == ([] if variant == "genres" else val)
    assert {row["id"] for row in predictions(folder)} == set(test)


def test_the_multitask_loss_is_0_33_of_each_axis(data, shared_folder):
    done = run_without_flags("step10_multitask", data, shared_folder)
    found = [(list(map(float, parts)), word, float(total)) for *parts, word, total in BLOCK.findall(done.out)]
    assert [word for _, word, _ in found] == ["training", "validation"] * 2
    assert [total for *_, total in found] == [pytest.approx(0.33 * sum(parts), rel=1e-5) for parts, *_ in found]


@pytest.mark.parametrize("step", SAID)
def test_help_says_the_defaults(step, shared_folder):
    out = shared_run(
        shared_folder, f"choices-help-{step}", lambda folder: warm_script(f"{step}.py", "--help", root=folder / "runs")
    ).out
    text = re.sub(r"\s+", " ", out[out.index("--help") :])  # behind the list of flags
    for flag, wanted in SAID[step].items():
        said, *_ = re.findall(rf" --{flag} [A-Z].*?\(default: (.*?)\)", text)
        assert list(map(float, re.findall(r"\d*\.?\d+(?:e-?\d+)?", said))) == wanted, flag
