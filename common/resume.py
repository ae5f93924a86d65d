"""Going on after an interruption: the whole state of training, saved after every epoch, and how a later process takes it up."""

import json
import os
import sys

import torch

from common.checkpoints import read_checkpoint, save_checkpoint
from common.errors import LabError, reason

# Arguments that change no weight: where things lie, what is done beside the training, how many seeds. All others must be as they were.
FREE = {"data", "cache", "no_cache", "out", "device", "no_baselines", "seeds", "submit", "submit_header", "submit_suffix"}


class TrainingState:
    """All that training changes from one epoch to the next, on its way to a file and back.

    loader: with an EpochBatches, whose epoch fixes the order of the next pass; best: a BestEpoch; history: a list; more: whatever else
    learns or counts and has state_dict and load_state_dict, such as a schedule of learning rates.
    """

    def __init__(self, model, optimizer, loader, best, history, *more):
        self.optimizer, self.batches, self.best, self.history = optimizer, loader.batch_sampler, best, history
        self.parts = [model, optimizer, *more]

    def save(self, path, facts):
        """Writes it with a dict of facts as a checkpoint file, atomically; the file that was there is kept under the name before(path)."""
        state = {
            "parts": [part.state_dict() for part in self.parts],
            "random": [torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []],
            "best": vars(self.best),
            "history": self.history,
            "next_pass": self.batches.epoch,
        }
        tensors = {}
        facts = {**facts, "state": flattened(state, tensors)}
        save_checkpoint(path, tensors, facts, before(path))

    def restore(self, state):
        """Puts a saved state back. A tensor of the optimizer gets its parameter's layout, since another one can round differently."""
        try:
            for part, saved in zip(self.parts, state["parts"], strict=True):
                part.load_state_dict(saved)
        except (KeyError, RuntimeError, ValueError) as error:
            raise LabError(f"--resume: the saved state is of another network or optimizer ({reason(error)}); give another --out") from error
        for weight in (weight for group in self.optimizer.param_groups for weight in group["params"]):
            for name, value in self.optimizer.state.get(weight, {}).items():
                if torch.is_tensor(value) and value.dim() > 1:
                    self.optimizer.state[weight][name] = torch.empty_like(weight).copy_(value)
        processor, devices = state["random"]
        torch.set_rng_state(processor)
        if len(devices) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(devices)
        vars(self.best).update(state["best"])
        self.history[:] = state["history"]
        self.batches.epoch = state["next_pass"]


def before(path):
    """Where the state of the epoch before lies."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def read_states(folder, arguments, fingerprint):
    """{file name: (facts, state)} of the states that a run's folder holds, the newest of each that is whole.

    arguments, fingerprint: those of this run. Raises LabError, naming the flag, where they are not the saved run's.
    """
    found = {}
    for path in sorted({folder / path.name.replace(".before", "") for path in folder.glob("state*.pt")}):
        for candidate in (path, before(path)):
            if not candidate.exists():
                continue  # a process was killed between two renames
            try:
                tensors, facts = read_checkpoint(candidate)
                state = unflattened(facts.pop("state"), tensors)
            except (LabError, KeyError) as error:
                what = error if isinstance(error, LabError) else f"{candidate}: no state of a training run"
                print(f"{what}; going on without it", file=sys.stderr)
                continue
            refuse_others(folder, facts, arguments, fingerprint)
            if candidate != path:
                os.replace(candidate, path)  # or the next state would push this one out and keep the damaged one
            found[path.name] = (facts, state)
            break
    return found


def refuse_others(folder, facts, arguments, fingerprint):
    """LabError, naming the flag and both values, where a saved state is of a run with other arguments or other data."""
    given, saved = json.loads(json.dumps(arguments)), facts["arguments"]
    for name in [name for name in {**given, **saved} if name not in FREE]:
        if given.get(name) != saved.get(name):
            here, there = (json.dumps(values.get(name), ensure_ascii=False) for values in (given, saved))
            flag = "--" + name.replace("_", "-")
            raise LabError(f"{flag} {here}: the run in {folder} has {there}, and --resume goes on with the same; else give another --out")
    if facts["data"] != fingerprint:
        raise LabError(f"--data {arguments['data']}: the run in {folder} has seen other data; --resume goes on with the same ones alone")


def flattened(value, tensors):
    """A nested structure as JSON can hold it, its tensors put into `tensors` and named in their place; tuples and keys survive."""
    if torch.is_tensor(value):
        tensors[str(len(tensors))] = value
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, dict):
        return {"items": [[key, flattened(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [flattened(item, tensors) for item in value]}
    return value


def unflattened(value, tensors):
    """What flattened has made, as it was."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: unflattened(item, tensors) for key, item in content}
    return {"list": list, "tuple": tuple}[kind](unflattened(item, tensors) for item in content)
