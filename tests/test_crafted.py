"""Checkpoints with a right checksum that no step has written: each is one sentence that names the file, in whatever
reads it.
"""

import json

import numpy as np
import pytest
import torch
from conftest import random_clip, write_tiny_data
from warm import warm_script

import evaluate
import predict
import step7a_look_inside
import step9_transfer
from common.checkpoints import digest
from common.errors import LabError
from extras.songs.networks import build_model, load_network

CNN = ["cnn", "mel", [16, 32, 64, 128], 3]
METADATA = {
    "step": "step7_cnn", "variant": "mel_seed0", "seed": 0, "epoch": 3, "architecture": CNN, "classes": ["Rock", "Ελληνικά"],
    "train_ids": ["12", "13"], "data": "0123456789abcdef", "data_path": "/their/data", "demo": None, "class_mapping": {"Rock": "Rock"},
}  # fmt: skip
SCRIPTS = ("evaluate", "predict", "step7a", "step9")
STAGE = "backbone.stages.0.0.weight"
HUGE = 2**40
READ = ((step9_transfer, "emotion_loaders"), (step7a_look_inside, "genre_splits"), (step7a_look_inside, "small_digits"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data and a song in it."""
    folder = tmp_path_factory.mktemp("crafted")
    write_tiny_data(folder / "data", train=5, test=1, frames=20)
    np.save(folder / "song.npy", random_clip(np.random.default_rng(0), 40))
    return folder


@pytest.fixture(scope="module")
def right():
    """The weights of a network that METADATA describe."""
    torch.manual_seed(0)
    return build_model(CNN, METADATA["classes"]).state_dict()


def write(path, weights, metadata):
    """A checkpoint as save_checkpoint writes it, but with whatever it is given."""
    text = json.dumps(metadata)
    try:
        checksum = digest(weights, text)
    except (AttributeError, TypeError, RuntimeError, NotImplementedError):
        checksum = "of what has none"
    torch.save({"weights": weights, "metadata": text, "sha256": checksum}, path)
    return str(path)


def call(script, path, place):
    """The main function of a script on a checkpoint."""
    common = ["--data", str(place / "data"), "--no-cache", "--out", str(place / "runs")]
    if script == "evaluate":
        return evaluate.main([path, *common])
    if script == "predict":
        return predict.main([str(place / "song.npy"), "--checkpoint", path])
    if script == "step7a":
        return step7a_look_inside.main([*common, "--checkpoint", path])
    return step9_transfer.main([*common, "--no-baselines", "--epochs", "1", "--pretrained", path])


def end_in_a_sentence(path, place, case, without=(), named=True, longest=700):
    """What stands in the way of the checkpoint is one sentence in every script but `without`; named: with the file's
    name in it.
    """
    for script in SCRIPTS:
        if script not in without:
            with pytest.raises(LabError) as caught:
                pytest.fail(f"{case}: {script} took it and found {call(script, path, place)}")
            said = str(caught.value)
            assert (not named or path in said) and len(said.splitlines()) == 1 and len(said) < longest, (
                f"{case}: {script}: {said[:2000]}"
            )


@pytest.fixture(scope="module", autouse=True)
def quick_scripts(place):
    """What the scripts read beside the checkpoint is read once, and no network of digits is trained."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in READ:
            patch.setattr(module, name, once(getattr(module, name)))
        patch.setattr(step7a_look_inside, "train_digits", lambda *_: pytest.fail("the checkpoint was taken"))
        yield


def once(function):
    """The function, whose first result is that of all its calls."""
    found = []

    def called(*args, **options):
        if not found:
            found.append(function(*args, **options))
        return found[0]

    return called


# Facts

OTHERS = {  # of each fact, values that it cannot have
    "step": [7, "", "../../elsewhere", "two\nlines", "..", None],
    "variant": [["mel"], "a/b", "$\\frac$", "x" * 300, "."],
    "seed": [-1, 2**32, True, 1.5, "0", float("nan")],
    "epoch": [None, -1, "last", float("inf")],
    "architecture": [
        "cnn", {}, [], ["cnn"], [["cnn"], "mel"], ["cnn", 7], ["tree", "mel"], ["cnn", "colour"], ["cnn", "mel-bar"],
        ["cnn", "mel", "x", "y", "z"],
        [*CNN, 1], [*CNN, None], [*CNN[:2], [16, -32, 64, 128], 3], [*CNN[:2], [16, 0, 64, 128], 3], [*CNN[:2], [16, HUGE, HUGE, 128], 3],
        [*CNN[:2], ["16", 32, 64, 128], 3], [*CNN[:2], [True, 32, 64, 128], 3], [*CNN[:2], [16.5, 32, 64, 128], 3], [*CNN[:2], [], 3],
        [*CNN[:2], [2] * 8, 3], [*CNN[:2], [2] * 100_000, 3], [*CNN[:2], 16, 3], [*CNN[:2], None, 3], [*CNN[:2], {"16": 32}, 3],
        ["cnn", "chroma", [16, 32, 64, 128], 3], *([*CNN[:3], kernel] for kernel in (0, -3, 2, "3", True, 2.5, [3], HUGE + 1, None)),
        ["lstm", "mel", -1, 2], ["lstm", "mel", 0, 2], ["lstm", "mel", HUGE, 2], ["lstm", "mel", 128, HUGE], ["lstm", "mel", 128, 0],
        ["lstm", "mel", True, 2], ["lstm", "mel", "128", "2"], ["lstm", "mel", 128, 2, "yes"], ["lstm", "mel", 128, 2, 2],
        ["lstm", "mel", 128, 2, False, 7.0], ["lstm", "mel", 10**400, 2], ["lstm", "mel", 2.0, 1],
        *(["tuned-cnn", "mel", every] for every in (0, -3, "3", HUGE, True, 2.5, None)), ["tuned-cnn", "mel"], ["tuned-gru", "mel", 3],
        ["cnn", "mel", "regressor"], ["cnn", "mel", "multitask"], ["cnn", "mel", True, "multitask"], json.loads("[" * 500 + "]" * 500),
        ["cnn", "mel\nmel"], ["cnn", "mel", "x" * 10_000],
    ],
    "classes": [[], ["Rock", "Rock"], "Rock", [1, 2], ["Rock", None], ["Rock", ""], {"Rock": 0}, ["Rock", "two\nlines"]],
    "train_ids": ["12", [1, 2], None, {"12": 1}, [["12"]]],
    "data": [None, 7, ""],
    "data_path": [None, ["x"], "", "two\nlines"],
    "demo": [3, "yes", [], *({"seconds": seconds} for seconds in ("long", -1, 0, float("inf"), float("nan"), 1e12, True, [3], None))],
    "class_mapping": [None, ["Rock"], "Rock"],
    "features": [["mel"], {}, 3],
    "start": [{"a": 1}, ["x"], 3],
    "model": [["cnn"], {}],
    "axis": [["energy"], {}],
    "loss": [["x"]],
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_a_fact_is_missing(name, place, right, tmp_path):
    metadata = {key: value for key, value in METADATA.items() if key != name}
    end_in_a_sentence(write(tmp_path / "crafted.pt", right, metadata), place, name)


@pytest.mark.parametrize("metadata", [list(METADATA), "metadata", None, 3, []], ids=str)
def test_facts_are_no_table(metadata, place, right, tmp_path):
    end_in_a_sentence(write(tmp_path / "crafted.pt", right, metadata), place, metadata)


@pytest.mark.parametrize("name", OTHERS)
def test_a_fact_is_of_another_type_or_out_of_range(name, place, right, tmp_path):
    """The first value through every script, the others in turns, since all of them read alike."""
    for number, value in enumerate(OTHERS[name]):
        path, script = write(tmp_path / "crafted.pt", right, {**METADATA, name: value}), SCRIPTS[number % len(SCRIPTS)]
        with pytest.raises(LabError):
            pytest.fail(f"{name} {value} was taken: {load_network(path)}"[:500])
        end_in_a_sentence(path, place, f"{name} {value}"[:200], without=set(SCRIPTS) - {script} if number else ())


@pytest.mark.parametrize("classes", [["Rock"], [str(k) for k in range(10_000)]], ids=["one", "many"])
def test_more_or_fewer_classes_than_the_head_has(classes, place, right, tmp_path):
    """Step 9 throws the head away."""
    end_in_a_sentence(
        write(tmp_path / "crafted.pt", right, {**METADATA, "classes": classes}), place, classes, without=("step9",)
    )


# Weights

WEIGHTS = {
    "NaN": lambda right: {**right, STAGE: right[STAGE] * float("nan")},
    "infinite": lambda right: {**right, STAGE: right[STAGE] + float("inf")},
    "infinite statistics": lambda right: {**right, "backbone.stages.0.1.running_var": -torch.inf * torch.ones(16)},
    "complex": lambda right: {**right, STAGE: right[STAGE].to(torch.complex64)},
    "one missing": lambda right: {name: each for name, each in right.items() if name != STAGE},
    "one too many": lambda right: {**right, "backbone.more": torch.zeros(2)},
    "another shape": lambda right: {**right, STAGE: torch.zeros(16, 1, 5, 5)},
    "double precision": lambda right: {**right, STAGE: right[STAGE].double()},
    "whole numbers": lambda right: {**right, STAGE: right[STAGE].long()},
    "booleans": lambda right: {**right, STAGE: right[STAGE] > 0},
    "none": lambda right: {},
    "a list": lambda right: list(right.values()),
    "a tensor": lambda right: right[STAGE],
    "numbers for names": lambda right: {**dict(enumerate(right.values()))},
    "a number among the names": lambda right: {**right, 7: torch.zeros(2)},
    "a text for a tensor": lambda right: {**right, STAGE: "text"},
    "a number for a tensor": lambda right: {**right, STAGE: 3.0},
    "nested": lambda right: {"backbone": right},
    "sparse": lambda right: {**right, STAGE: right[STAGE].to_sparse()},
    "of no device": lambda right: {**right, STAGE: right[STAGE].to("meta")},
    "negative variance": lambda right: {**right, "backbone.stages.0.1.running_var": -torch.ones(16)},
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_no_network(name, place, right, tmp_path):
    end_in_a_sentence(write(tmp_path / "crafted.pt", WEIGHTS[name](right), METADATA), place, name)


def test_weights_so_large_that_sums_overflow(place, right, tmp_path):
    """Step 9 trains on with them: its loss is what is not finite."""
    weights = {
        name: each * 0 + 3e38 if each.is_floating_point() and "mean" not in name else each
        for name, each in right.items()
    }
    path = write(tmp_path / "crafted.pt", weights, METADATA)
    end_in_a_sentence(path, place, "large", without=("step9",))
    with pytest.raises(LabError, match="non-finite: the loss"):
        call("step9", path, place)


def test_one_number_that_a_view_repeats_takes_no_memory(place, right, tmp_path):
    """The file has 4 bytes of a tensor whose digest would be of 4 TB."""
    weights = {**right, STAGE: torch.zeros(1).expand(HUGE)}
    torch.save({"weights": weights, "metadata": json.dumps(METADATA), "sha256": "0" * 64}, tmp_path / "crafted.pt")
    end_in_a_sentence(str(tmp_path / "crafted.pt"), place, "repeated")


# Right for one script, wrong for another


def network(path, architecture, classes, **metadata):
    """A checkpoint with random weights of a network as it stands in `architecture`."""
    weights = build_model(architecture, classes).state_dict()
    return write(path, weights, {**METADATA, "architecture": architecture, "classes": classes, **metadata})


@pytest.mark.parametrize(
    ("architecture", "classes", "taken_by"),
    [
        (["lstm", "beat", 8, 1, False], METADATA["classes"], ("evaluate",)),
        (["lstm", "mel", True, 8, 1, "regressor"], ["energy"], ("evaluate",)),
        (["lstm", "chroma", 8, 1, True], METADATA["classes"], ("evaluate", "predict")),
        (["cnn", "mel", [2, 3], 3], METADATA["classes"], ("evaluate", "predict", "step7a")),
        (["cnn", "mel", [2, 3], 3], ["Jazz", "Rock"], ("predict",)),
        (["cnn", "mel", "multitask"], ["energy", "valence"], ("evaluate", "predict")),
        (["cnn", "mel", "multitask"], ["energy", "tempo"], ()),
        (["cnn", "mel", "regressor"], ["energy", "valence"], None),
        (["tuned-lstm", "mel", 3], METADATA["classes"], ("evaluate", "predict")),
    ],
    ids=str,
)
def test_a_network_that_a_script_does_not_take(architecture, classes, taken_by, place, tmp_path):
    if taken_by is None:
        weights = build_model(architecture, classes[:1]).state_dict()
        path, taken_by = (
            write(tmp_path / "crafted.pt", weights, {**METADATA, "architecture": architecture, "classes": classes}),
            (),
        )
    else:
        path = network(tmp_path / "crafted.pt", architecture, classes)
    end_in_a_sentence(path, place, architecture, without=taken_by)
    for script in set(taken_by) - {"step7a"}:  # which would go on to the digits
        assert call(script, path, place)


def test_a_folder_that_no_system_has(place, right, tmp_path):
    for folder in ("/their/data", "x" * 5000, "\0"):
        path = write(tmp_path / "crafted.pt", right, {**METADATA, "data_path": folder})
        with pytest.raises(LabError, match=r"^--data DIR was expected"):
            evaluate.main([path, "--out", str(place / "runs")])


def test_from_the_command_line(place, right, tmp_path):
    """As a user meets it: exit code 1, one sentence on stderr, no traceback, nothing written."""
    path = write(tmp_path / "crafted.pt", right, {**METADATA, "architecture": ["lstm", "mel", HUGE, HUGE]})
    flags = ["--data", place / "data", "--no-cache", "--out", tmp_path / "runs"]
    done = warm_script("evaluate.py", path, *flags, root=tmp_path / "runs", expect=1)
    assert done.err.count("\n") == 1 and done.err.startswith(f"error: {path}: ") and not done.out
    assert not (tmp_path / "runs").exists()
