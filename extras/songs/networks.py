"""Trained networks to ask: which checkpoints a folder of runs offers, and the model that a checkpoint's facts describe."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from common.checkpoints import load_weights, read_checkpoint
from common.errors import LabError, reason
from common.features import FEATURES, HOP_LENGTH, N_MELS, SAMPLE_RATE
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor, Regressor
from common.run import METRICS, read_runs
from extras.speed.accelerate import accelerate
from extras.tuned.networks import KINDS, tuned_backbone

ASKED_STEPS = ("step7_cnn", "step10_multitask")
USUAL_SECONDS = 30.0  # of the lab's clips
QUIETEST = -80.0  # dB, where the course's extractor cuts off
BATCH_SIZE = 8


class Trained(NamedTuple):
    """A network in evaluation and its checkpoint's facts; `tells` is "genre" or "axes", whose names are facts["classes"]."""

    path: Path
    model: nn.Module
    facts: dict
    tells: str

    @property
    def columns(self):
        """The columns of a clip (T, 140) that it reads."""
        return FEATURES[self.facts["architecture"][1]]

    @property
    def clip_seconds(self):
        """The length of the clips that it was trained on: the demo music's own, else the lab's."""
        return (self.facts.get("demo") or {}).get("seconds", USUAL_SECONDS)


def build_model(architecture, classes):
    """(network with fresh weights, "genre" or "axes") from the facts that a step saves of it.

    architecture: ["cnn", "lstm" or one of the tuned KINDS, features, ...the backbone's further arguments, and for emotions "regressor" or
    "multitask"].
    Raises LabError where they describe none that reads frames of full length.
    """
    try:
        kind, features, *options = architecture
        head = options.pop() if options and options[-1] in ("regressor", "multitask") else "genre"
        if features not in FEATURES or (options and options[0] is True):
            raise LabError(f"a network on mel, chroma or fused frames was expected, but this one is on beat-synced ones: {architecture}")
        options = options[1:] if options and options[0] is False else options  # step 8 says that it is not beat-synced
        width = FEATURES[features].stop - FEATURES[features].start
        kinds: dict = {"cnn": CNNBackbone, "lstm": LSTMBackbone, **{tuned: partial(tuned_backbone, tuned) for tuned in KINDS}}
        backbone = kinds[kind](width, *options)
        if head == "genre":
            return Classifier(backbone, len(classes)), "genre"
        return (Regressor(backbone) if head == "regressor" else MultitaskRegressor(backbone, len(classes))), "axes"
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise LabError(f"a network of steps 5 to 10 was expected, but its architecture is {architecture}") from error


def open_trained(path):
    """A checkpoint of any training step as Trained; LabError, naming it, where it is none or on beat-synced features."""
    facts = read_checkpoint(path)[1]
    try:
        model, tells = build_model(facts.get("architecture"), facts.get("classes"))
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    load_weights(path, model)
    return Trained(Path(path), accelerate(model.eval()), facts, tells)


def find_genre_cnn(given, root, data, seed):
    """(path of step 7's checkpoint: the given one, else its newest full run on these data below `root`, of this seed if there is one, ""),
    or (None, the sentence why there is none)."""
    if not data.genres().is_dir():
        return None, f"{data.path} has no {data.genres().name}, so there is no clip to look at."
    if given:
        return Path(given), ""
    runs = read_runs(root, "step7_cnn", data, mode="full")
    runs = [each for each in runs if each["seed"] == seed] or runs
    if not runs:
        return None, f"{root} holds no finished full run of step7_cnn.py on these data: step7_cnn.py has to run first."
    return max((Path(each["folder"]) for each in runs), key=lambda folder: (folder / METRICS).stat().st_mtime) / "best.pt", ""


def newest_checkpoints(root):
    """The checkpoints, several of an ensemble, of the newest finished full runs of steps 7 and 10 under `root`; LabError without any."""
    found = []
    for step in ASKED_STEPS:
        runs = [path for path in Path(root).glob(f"{step}/*/{METRICS}") if ".old-" not in path.parent.name and mode_of(path) == "full"]
        if runs:
            newest = max(runs, key=lambda path: path.stat().st_mtime)
            found += sorted(newest.parent.glob("best*.pt"))
    if not found:
        raise LabError(f"--out {root}: a finished run of step7_cnn.py or step10_multitask.py was expected, nothing has been trained yet")
    return found


def mode_of(path):
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("mode")
    except (OSError, ValueError, AttributeError) as error:
        raise LabError(f"{path}: the metrics of a finished run were expected ({reason(error)})") from error


def window_starts(n_frames, length):
    """Where windows of `length` frames begin, evenly over a song, about half a window apart; one alone where the song is no longer."""
    steps = max(0, round(2 * (n_frames - length) / length))
    return np.linspace(0, max(0, n_frames - length), steps + 1).round().astype(int).tolist()


def window_of(frames, start, length):
    """One window of a song (T, 140) as the extractor gives a clip: mel in dB below the window's own maximum, 80 at most."""
    window = frames[start : start + length].copy()
    mel = window[:, :N_MELS]
    np.maximum(mel - mel.max(), QUIETEST, out=mel)
    return window


@torch.inference_mode()
def ask(trained, frames, starts, length):
    """What a network says to each window of a song: frames (T, 140) -> (n, C) probabilities of genres, or (n, axes) values."""
    outputs = []
    for begin in range(0, len(starts), BATCH_SIZE):
        windows = [window_of(frames, start, length)[:, trained.columns] for start in starts[begin : begin + BATCH_SIZE]]
        x = torch.from_numpy(np.stack(windows))  # (B, T, F)
        outputs.append(trained.model(x, torch.full((len(x),), x.shape[1])))
    said = torch.cat(outputs).double()
    return (said.softmax(dim=1) if trained.tells == "genre" else said.reshape(len(starts), -1)).numpy()


def frames_in(seconds):
    """The frames of a clip of so many seconds."""
    return 1 + int(seconds * SAMPLE_RATE / HOP_LENGTH)
