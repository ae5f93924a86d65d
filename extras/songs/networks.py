"""Trained networks: the checkpoints in a folder of runs, and the model that a checkpoint's metadata describes."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from common.checkpoints import check_fit, load_weights, read_network
from common.comparison import read_runs
from common.errors import LabError, reason, shown
from common.features import COLUMNS, HOP_LENGTH, N_MELS, SAMPLE_RATE
from common.labels import AXES
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor, Regressor
from common.run import METRICS
from common.transformer import PATCH, SIZES, TransformerBackbone
from extras.speed.accelerate import accelerate
from extras.tuned.networks import KINDS, tuned_backbone

GENRE_RUNS = ("step7_cnn/*", "step7_ast/*", "compete/genres_*")
AXES_RUNS = ("step10_multitask/*", "compete/emotions_*")
LAB_SECONDS = 30.0  # length of the lab's clips
LONGEST = 1e6  # s of a window
FLOOR = -80.0  # dB re clip maximum, the lowest value of the lab's mel spectrograms
BATCH_SIZE = 8
# limits on the architecture that a checkpoint may describe
LARGEST, MOST_LAYERS, MOST_STAGES, MOST_AVERAGED, LONGEST_CLIP = 2**16, 100, 7, 1000, 10**6


class Trained(NamedTuple):
    """A network in eval mode and its checkpoint's metadata; task: "genre" or "axes", named by metadata["classes"]."""

    path: Path
    model: nn.Module
    metadata: dict
    task: str

    @property
    def columns(self):
        """The columns of a clip (T, 140) that are its input."""
        return COLUMNS[read_architecture(self.metadata["architecture"]).columns]

    @property
    def clip_frames(self):
        """Length of the clips that it was trained on: the demo music's own, else as its run saved it, else the lab's."""
        if self.metadata.get("demo"):
            return frames_in(self.metadata["demo"].get("seconds", LAB_SECONDS))
        return self.metadata.get("clip_frames", frames_in(LAB_SECONDS))


class Architecture(NamedTuple):
    """The architecture of a checkpoint's network.

    kind: "cnn", "lstm", "transformer" or one of the tuned KINDS. columns: see COLUMNS. beat: on beat-synced frames. options: further
    arguments of the backbone. head: "genre", "regressor" (one axis) or "multitask".
    """

    kind: str
    columns: str
    beat: bool
    options: list
    head: str


def read_architecture(architecture):
    """The Architecture that a step has saved as [kind, features, beat-synced, options..., head].

    `head` is saved for axes only, `beat-synced`, true or false, by step 8 only. LabError where it describes none of the
    project's networks.
    """
    kind, features, *options = architecture
    head = options.pop() if options and options[-1] in ("regressor", "multitask") else "genre"
    columns, _, synced = features.partition("-")
    beat = synced == "beat" or features == "beat"
    if options and isinstance(options[0], bool) and head == "regressor":
        beat, options = options[0], options[1:]
    columns = "mel" if features == "beat" else columns
    found = shown(json.dumps(architecture, ensure_ascii=False))
    if kind not in ("cnn", "lstm", "transformer", *KINDS) or columns not in COLUMNS or synced not in ("", "beat"):
        raise LabError(f"a network of steps 5 to 10 or of compete.py was expected, but its architecture is {found}")
    if not are_options(kind, options):
        raise LabError(f"sizes of a network were expected, but its architecture is {found}")
    return Architecture(kind, columns, beat, options, head)


def are_options(kind, options):
    """Whether these can be further arguments, all or the first few, of the backbone of this kind."""

    def is_size(value, most=LARGEST):
        return type(value) is int and 1 <= value <= most

    checks: dict = {
        "cnn": (
            lambda channels: (
                isinstance(channels, list) and 1 <= len(channels) <= MOST_STAGES and all(map(is_size, channels))
            ),
            lambda kernel_size: is_size(kernel_size, 99) and kernel_size % 2 == 1,
        ),
        "lstm": (
            is_size,
            lambda num_layers: is_size(num_layers, MOST_LAYERS),
            lambda bidirectional: isinstance(bidirectional, bool),
            lambda dropout: type(dropout) in (int, float) and 0 <= dropout <= 1,
        ),
        "transformer": (
            lambda size: size in SIZES,
            lambda stride: is_size(stride, PATCH),
            lambda length: is_size(length, LONGEST_CLIP),
        ),
        **{tuned: (lambda every: is_size(every, MOST_AVERAGED),) for tuned in KINDS},
    }
    enough = len(options) <= len(checks[kind]) and (options or kind not in KINDS)
    return bool(enough) and all(is_right(value) for is_right, value in zip(checks[kind], options, strict=False))


def build_model(architecture, classes):
    """The network of a saved architecture with new weights; LabError where there is no such network."""
    kind, columns, _, options, head = read_architecture(architecture)
    width = COLUMNS[columns].stop - COLUMNS[columns].start
    kinds: dict = {
        "cnn": CNNBackbone,
        "lstm": LSTMBackbone,
        "transformer": TransformerBackbone,
        **{tuned: partial(tuned_backbone, tuned) for tuned in KINDS},
    }
    backbone = kinds[kind](width, *options)
    if head == "genre":
        return Classifier(backbone, len(classes))
    return Regressor(backbone) if head == "regressor" else MultitaskRegressor(backbone, len(classes))


def load_network(path):
    """(network with a checkpoint's weights, its metadata, its Architecture).

    LabError, naming the file, where it is not the checkpoint of a trained network.
    """
    weights, metadata = read_network(path)
    try:
        architecture = read_architecture(metadata["architecture"])
        if architecture.head == "regressor" and len(metadata["classes"]) != 1:
            raise LabError(f"one axis was expected for one value, but it has {', '.join(metadata['classes'])}")
        if architecture.head != "genre" and not set(metadata["classes"]) <= set(AXES):
            raise LabError(f"axes among {', '.join(AXES)} were expected, but it has {', '.join(metadata['classes'])}")
        with torch.device("meta"):  # takes no memory; the weights have to prove the sizes first
            wanted = build_model(metadata["architecture"], metadata["classes"]).state_dict()
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    check_fit(path, wanted, weights)
    model = build_model(metadata["architecture"], metadata["classes"])
    load_weights(path, model, weights)
    return model, metadata, architecture


def check_outputs(path, outputs):
    """LabError, naming the checkpoint, where outputs of its network are not finite."""
    if not np.isfinite(np.asarray(outputs)).all():
        raise LabError(f"{path}: a network with finite outputs was expected, its weights make them overflow")


def open_trained(path):
    """A checkpoint as Trained; LabError, naming it, where it is none or its input is beat-synced."""
    model, metadata, architecture = load_network(path)
    if architecture.beat:
        expected = "a network on mel, chroma or fused frames was expected"
        raise LabError(f"{path}: {expected}, this one is on beat-synced ones")
    return Trained(Path(path), accelerate(model.eval()), metadata, "genre" if architecture.head == "genre" else "axes")


def find_genre_cnn(given, root, data, seed):
    """(path of a checkpoint of step 7, ""), or (None, a sentence on why there is none).

    given: this path, else the newest full run on these data below `root`, of this seed if there is one.
    """
    if not data.genres().is_dir():
        return None, f"{data.path} has no {data.genres().name}, so there is no clip to look at."
    if given:
        return Path(given), ""
    runs = read_runs(root, "step7_cnn", data, mode="full")
    runs = [each for each in runs if each["seed"] == seed] or runs
    if not runs:
        return None, f"{root} holds no finished full run of step7_cnn.py on these data: step7_cnn.py has to run first."
    folders = [Path(each["folder"]) for each in runs]
    return max(folders, key=lambda folder: (folder / METRICS).stat().st_mtime) / "best.pt", ""


def newest_checkpoints(root):
    """The checkpoints of the newest finished full runs for genres and for axes below `root`, all of an ensemble.

    LabError where there is no such run.
    """
    found = []
    for patterns in (GENRE_RUNS, AXES_RUNS):
        runs = [path for pattern in patterns for path in Path(root).glob(f"{pattern}/{METRICS}")]
        runs = [path for path in runs if ".old-" not in path.parent.name and mode_of(path) == "full"]
        if runs:
            newest = max(runs, key=lambda path: path.stat().st_mtime)
            found += sorted(path for path in newest.parent.glob("best*.pt") if "submit" not in path.name)
    if not found:
        expected = "a finished run of step7_cnn.py or step10_multitask.py was expected"
        raise LabError(f"--out {root}: {expected}, nothing has been trained yet")
    return found


def mode_of(path):
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("mode")
    except (OSError, ValueError, AttributeError) as error:
        raise LabError(f"{path}: the metrics of a finished run were expected ({reason(error)})") from error


def window_starts(n_frames, length):
    """First frames of windows of `length` frames, evenly over a song, about half a window apart; at least one."""
    steps = max(0, round(2 * (n_frames - length) / length))
    return np.linspace(0, max(0, n_frames - length), steps + 1).round().astype(int).tolist()


def window_of(frames, start, length):
    """One window of a song (T, 140), like a clip of the lab: mel in dB re the window's own maximum, at least FLOOR."""
    window = frames[start : start + length].copy()
    mel = window[:, :N_MELS]
    np.maximum(mel - mel.max(), FLOOR, out=mel)
    return window


@torch.inference_mode()
def predict_windows(trained, frames, starts, length):
    """A network's prediction for each window of a song (T, 140): probabilities of genres (n, C), or values (n, axes)."""
    outputs = []
    for begin in range(0, len(starts), BATCH_SIZE):
        windows = [window_of(frames, start, length)[:, trained.columns] for start in starts[begin : begin + BATCH_SIZE]]
        x = torch.from_numpy(np.stack(windows))  # (B, T, F)
        outputs.append(trained.model(x, torch.full((len(x),), x.shape[1])))
    joined = torch.cat(outputs).double()
    check_outputs(trained.path, joined)
    return (joined.softmax(dim=1) if trained.task == "genre" else joined.reshape(len(starts), -1)).numpy()


def frames_in(seconds):
    """Number of frames of a clip of so many seconds."""
    return 1 + int(min(seconds, LONGEST) * SAMPLE_RATE / HOP_LENGTH)
