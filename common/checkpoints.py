"""Checkpoints: weights as tensors, metadata as JSON text, and a SHA-256 over both. Nothing in them is ever executed."""

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import torch

from common.errors import LabError, reason, shown

IN_SINGLE_FILE = False  # left out of the single file of a step: it loads nothing that another run saved


def is_text(value):
    return isinstance(value, str) and len(value.splitlines()) == 1


def is_name(value):
    """Part of the name of a run's folder; a path would lead elsewhere."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.+=-]{1,100}", value)) and bool(value.strip("."))


def are_texts(value):
    return isinstance(value, list) and all(map(is_text, value)) and len(set(value)) == len(value)


def begins_with_two_texts(value):
    return isinstance(value, list) and len(value) > 1 and are_texts(value[:2])


def is_count(value):
    return type(value) is int and 0 <= value < 2**32


def is_demo(value):
    """None, or demo music's metadata, where `seconds` is the length of its clips."""
    if not isinstance(value, dict):
        return value is None
    seconds = value.get("seconds", 1)
    return type(seconds) in (int, float) and 0 < seconds <= 3600


METADATA = (  # of a trained network: (name, what it is, whether a value is that)
    ("step", "a script's name", is_name),
    ("variant", "a run's name", is_name),
    ("seed", "a whole number from 0 on", is_count),
    ("epoch", "a whole number from 0 on", is_count),
    ("architecture", "a list that begins with two names", begins_with_two_texts),
    ("classes", "a list of different names", lambda value: are_texts(value) and bool(value)),
    ("train_ids", "a list of clip ids", lambda value: isinstance(value, list) and all(map(is_text, value))),
    ("data", "a fingerprint", is_text),
    ("data_path", "a folder", is_text),
    ("demo", "demo music's metadata or null", is_demo),
    ("class_mapping", "a table of genres", lambda value: isinstance(value, dict)),
)
# where its step has them
CHOICES = (
    ("train_checksums", "a list of checksums", lambda value: isinstance(value, list) and all(map(is_text, value))),
    ("clip_frames", "a number of frames", lambda value: is_count(value) and value > 0),
    *((name, "a name", is_text) for name in ("features", "loss", "model", "axis", "start")),
)


def read_checkpoint(path):
    """(weights, metadata) of a checkpoint file. Raises LabError when it is missing, damaged, or not of this project."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise LabError(f"{path}: a checkpoint was expected, this is a folder or a pipe and no file")
        content = Path(path).read_bytes()
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if "facts" in saved:
            raise LabError(
                f"{path}: a checkpoint of this version was expected, an earlier one wrote it; train it again"
            )
        weights, text, expected = saved["weights"], saved["metadata"], saved["sha256"]
        if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
            raise TypeError("tensors by name were expected")
        # a view can repeat one number as often as it likes
        if sum(tensor.nbytes for tensor in weights.values()) > len(content):
            raise ValueError("tensors that lie in the file were expected")
        intact = digest(weights, text) == expected
        metadata = json.loads(text)
    except LabError:
        raise
    except OSError as error:
        raise LabError(f"{path}: a checkpoint was expected ({reason(error)})") from error
    except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile) as error:
        more = "it is damaged or holds more than plain tensors"
        raise LabError(f"{path}: a checkpoint of this project was expected; {more}") from error
    except Exception as error:  # damaged bytes reach every corner of the unpickler
        raise LabError(f"{path}: a checkpoint of this project was expected ({type(error).__name__})") from error
    if not intact:
        raise LabError(f"{path}: the checkpoint is damaged, its content does not match its checksum")
    return weights, metadata


def read_network(path):
    """read_checkpoint of a trained network. Raises LabError where something is missing or no step could have saved it.

    Metadata: step, variant, seed, epoch, architecture, classes (names of classes or axes), train_ids (of training and
    validation clips), data, data_path, demo, class_mapping; and CHOICES.
    """
    weights, metadata = read_checkpoint(path)
    if not isinstance(metadata, dict):
        raise LabError(f"{path}: a trained network was expected, its metadata is no table")
    for name, what, is_right in (*METADATA, *(choice for choice in CHOICES if choice[0] in metadata)):
        if name not in metadata or not is_right(metadata[name]):
            found = shown(json.dumps(metadata[name], ensure_ascii=False)) if name in metadata else "nothing"
            raise LabError(f"{path}: a trained network was expected, whose {name} is {what}, not {found}")
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise LabError(f"{path}: finite weights were expected, {shown(name)} holds others")
        if name.endswith("running_var") and (weight < 0).any():
            raise LabError(f"{path}: variances from 0 on were expected, {shown(name)} holds others")
    return weights, metadata


def note_clip_frames(metadata, lengths):
    """Notes the median length of the training clips in a run's metadata: predict.py cuts songs into such windows."""
    metadata["clip_frames"] = int(np.median(lengths))


def load_weights(path, model, weights):
    """Puts a checkpoint's weights into the model. Raises LabError where they are not this network's."""
    check_fit(path, model.state_dict(), weights)
    model.load_state_dict(weights)


def check_fit(path, wanted, given):
    """Raises LabError where two state dicts {name: tensor} differ in a name, a shape or a type."""
    forms = [{name: (tensor.shape, tensor.dtype) for name, tensor in each.items()} for each in (wanted, given)]
    different = sorted({name for name, _ in forms[0].items() ^ forms[1].items()})
    if different:
        expected = "weights of the network that its architecture describes were expected"
        raise LabError(f"{path}: {expected}, but {shown(different[0])} differs")


def add_pretrained_flag(parser):
    """Adds --pretrained."""
    parser.add_argument("--pretrained", metavar="FILE", help="a checkpoint of step7_cnn.py instead of that training")


def note_content_of_pretrained(arguments):
    """Puts a checksum behind the file's name in a run's arguments, so that --resume knows the file, not its name alone."""
    path = arguments.get("pretrained")
    if path:
        arguments["pretrained"] = f"{path} (SHA-256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]})"


def read_backbone(path, backbone, architecture):
    """(weights of the backbone, metadata) of a checkpoint, for a backbone like the one given.

    Raises LabError where its architecture is another, or where names, shapes or types differ, those of its head too.
    """
    weights, metadata = read_network(path)
    if metadata["architecture"] != architecture:
        found = shown(json.dumps(metadata["architecture"], ensure_ascii=False))
        raise LabError(f"{path}: a checkpoint of step7_cnn.py was expected, but its architecture is {found}")
    head = torch.nn.Linear(backbone.feature_size, len(metadata["classes"])).state_dict(prefix="head.")
    check_fit(path, {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()} | head, weights)
    given = {name.removeprefix("backbone."): tensor for name, tensor in weights.items() if name not in head}
    return given, metadata


def digest(weights, text):
    """SHA-256 over the metadata and every tensor's name, type, shape and bytes."""
    sha = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()
