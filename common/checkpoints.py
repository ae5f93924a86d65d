"""Checkpoints: weights as plain tensors, facts about them as JSON text, and a SHA-256 over both. Nothing in them is ever executed."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch

from common.errors import LabError, reason
from common.files import write_atomically


def save_checkpoint(path, weights, facts, before=None):
    """Writes a state dict {name: tensor} and a JSON-able dict of facts (architecture, classes, ids seen, data, ...), atomically.

    before: the name that a checkpoint there already is kept under.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps(facts, ensure_ascii=False)
    buffer = io.BytesIO()
    torch.save({"weights": weights, "facts": text, "sha256": digest(weights, text)}, buffer)
    write_atomically(path, buffer.getvalue(), before)


def read_checkpoint(path):
    """(weights, facts) of a checkpoint file; LabError, naming it, when it is missing, damaged, or not one of this project's."""
    try:
        saved = torch.load(io.BytesIO(Path(path).read_bytes()), map_location="cpu", weights_only=True)
        weights, text, expected = saved["weights"], saved["facts"], saved["sha256"]
        intact = digest(weights, text) == expected
        facts = json.loads(text)
    except OSError as error:
        raise LabError(f"{path}: a checkpoint was expected ({reason(error)})") from error
    except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile) as error:
        raise LabError(f"{path}: a checkpoint of this project was expected; it is damaged or holds more than plain tensors") from error
    except Exception as error:  # damaged bytes reach every corner of the unpickler
        raise LabError(f"{path}: a checkpoint of this project was expected ({type(error).__name__})") from error
    if not intact:
        raise LabError(f"{path}: the checkpoint is damaged, its content does not match its checksum")
    return weights, facts


def load_weights(path, model, **expected):
    """Puts a checkpoint's weights into the model and returns the checkpoint's facts.

    expected: facts that must be equal, such as architecture and classes. Raises LabError, naming file and fact, where one differs.
    """
    weights, facts = read_checkpoint(path)
    for name, value in expected.items():
        wanted, there = (json.dumps(fact, ensure_ascii=False) for fact in (value, facts.get(name)))
        if wanted != there:
            raise LabError(f"{path}: a checkpoint with {name} {wanted} was expected, but it has {there}")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise LabError(f"{path}: weights of this step's network were expected, but names or shapes differ") from error
    return facts


class Pretrained(NamedTuple):
    """A trained classifier's weights, {name: tensor}, and the ids of the clips that it has seen."""

    weights: dict
    seen: list


def read_backbone(path, architecture):
    """A checkpoint of step 7 as Pretrained; LabError where it is of another architecture than the one given."""
    weights, facts = read_checkpoint(path)
    if facts.get("architecture") != architecture:
        raise LabError(f"{path}: a checkpoint of step7_cnn.py was expected, but its architecture is {facts.get('architecture')}")
    return Pretrained(weights, facts.get("seen", []))


def copy_backbone(pretrained, model):
    """Puts all but the head of pretrained weights into a model; the head alone stays new. Anything missing or left over is a LabError."""
    wanted = {name for name in model.state_dict() if not name.startswith("head.")}
    given = {name: tensor for name, tensor in pretrained.weights.items() if not name.startswith("head.")}
    try:
        if given.keys() != wanted:
            raise RuntimeError(f"differ: {', '.join(sorted(given.keys() ^ wanted))}")
        model.load_state_dict(given, strict=False)
    except RuntimeError as error:
        raise LabError(f"the pretrained weights do not fit below the head of this network ({reason(error)})") from error


def checkpoint_fact(path, name, allowed):
    """One of a checkpoint's facts; LabError, naming file and fact, where it is none of those allowed."""
    value = read_checkpoint(path)[1].get(name)
    if value not in allowed:
        raise LabError(f"{path}: a checkpoint whose {name} is one of {', '.join(map(str, allowed))} was expected, not {value}")
    return value


def digest(weights, text):
    """SHA-256 over the facts and every tensor's name, type, shape and bytes."""
    sha = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()
