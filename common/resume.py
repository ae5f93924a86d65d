"""Resuming: the whole state of training, saved after every epoch, and how a later process continues from it."""

import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

import torch
from filelock import FileLock, Timeout

from common.checkpoints import read_checkpoint
from common.errors import LabError, reason
from common.files import ARGUMENTS, LOG, make_folder, save_checkpoint, unwritable
from common.versions import by_earlier_version, versions

IN_SINGLE_FILE = False  # left out of the single file of a step: it trains without interruption

RESUME = "resume"  # among the arguments, of which a run keeps all others
# Arguments that change no weight: paths, what is done beside the training, how many seeds. All others must be equal.
FREE = {"data", "demo", "cache", "no_cache", "out", "device", "baselines", "seeds"}
FREE |= {"submit", "submit_header", "submit_suffix"}


def add_resume_flag(parser):
    """Adds --resume."""
    text = "continue after the last epoch that the same run in --out has saved"
    parser.add_argument("--resume", action="store_true", help=text)


def print_how_to_resume():
    """The command that continues, to stderr, where own_folder raised the KeyboardInterrupt at hand."""
    if getattr(sys.exc_info()[1], "args", ()):
        again = shlex.join(["python", *(word for word in sys.argv if word != "--resume"), "--resume"])
        print(f"this continues after the last whole epoch: {again}", file=sys.stderr)


@contextmanager
def sigterm_like_ctrl_c():
    """At SIGTERM, as kill and job schedulers send it, what is open is closed as at Ctrl-C; then the exit code is 143."""
    came = []

    def stop(number, frame):
        came.append(number)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if not came:
            raise
        print("stopped by SIGTERM", file=sys.stderr)
        print_how_to_resume()
        sys.exit(143)
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def own_folder(run, resume):
    """Holds the folder of a Run for this process alone, until the context ends.

    An earlier run there is renamed to <variant>.old-<n>, and back again where this one fails before it has saved
    anything. With resume, a folder that holds saved states is kept, and run.saved is what read_states found in it;
    None where the step saves none. Raises LabError where another process is writing the folder, and where the states
    are of other arguments or data; a KeyboardInterrupt with a text where --resume would help.
    """
    folder = run.folder
    make_folder(folder.parent)
    try:
        lock = FileLock(folder.parent / f".{folder.name}.lock", timeout=0).acquire()
    except Timeout as error:
        raise LabError(f"{folder}: another process is writing this run; wait for it, or give another --out") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    with lock:
        try:
            run.saved = read_states(folder, run.arguments, run.metadata["data"]) if resume else {}
            earlier = None if run.saved else keep_earlier(folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        try:
            yield
        except BaseException as error:
            if holds_nothing(folder):
                shutil.rmtree(folder, ignore_errors=True)
                if earlier and not folder.exists():
                    with suppress(OSError):  # on Windows, where another program has a file of it open
                        earlier.rename(folder)
            if isinstance(error, KeyboardInterrupt) and run.metadata["mode"] == "full" and resume is not None:
                raise KeyboardInterrupt("--resume continues") from error
            raise


def keep_earlier(folder):
    """Renames an existing folder to the first free <name>.old-<n>; returns its new path, None where there was none.

    A folder in which a killed process has saved nothing, and nobody else anything, is removed.
    """
    if folder.is_dir() and holds_nothing(folder):
        shutil.rmtree(folder)
    if not folder.exists():
        return None
    number = 1
    while folder.with_name(f"{folder.name}.old-{number}").exists():
        number += 1
    return folder.rename(folder.with_name(f"{folder.name}.old-{number}"))


def holds_nothing(folder):
    """Whether a folder has no file in it but those of a run that had just begun: its arguments and log."""
    found = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    try:
        begun = json.loads((folder / ARGUMENTS).read_text(encoding="utf-8")).keys() == {"arguments", "versions"}
    except (OSError, ValueError, AttributeError):
        begun = all(path == folder / LOG and path.lstat().st_size == 0 for path in found)  # made before the arguments
    return begun and found <= {folder / ARGUMENTS, folder / LOG}


def resumable(epochs, run, model, optimizer, loader, best, history, *more, name=""):
    """The epochs with the whole state of training saved after each: `epochs = resumable(range(25), run, ...)`.

    With --resume, the saved state is restored, its log lines are printed again, best<name>.pt is written again, and
    only the epochs after it are left. The state is state<name>.pt in the run's folder; a dry run saves none. An epoch
    that ends in `break` is not saved, so that a later --resume runs it again and breaks there again.
    loader: of the training split; best: a BestEpoch; more: see TrainingState. Without this statement, training is the
    same.
    """
    return ResumableEpochs(epochs, run, TrainingState(model, optimizer, loader, best, history, *more), name)


class ResumableEpochs:
    """See resumable. `done`: the number of epochs that are saved already."""

    def __init__(self, epochs, run, state, name):
        self.epochs, self.run, self.state, self.name, self.done = epochs, run, state, name, 0
        self.begun = len(run.log.written)
        saved = run.saved.pop(f"state{name}.pt", None)
        if saved:
            metadata, tensors = saved
            state.restore(tensors)
            self.done = metadata["epoch"] + 1
            print(metadata["log"], end="")
            if state.best.epoch is not None:
                run.save_best(state.best, f"best{name}")
            print_resumed(metadata, run.arguments)

    def __len__(self):
        return len(self.epochs)

    def __iter__(self):
        run = self.run
        for epoch in self.epochs[self.done :]:
            started = time.monotonic()
            yield epoch
            run.clock.epoch_seconds.append(time.monotonic() - started)
            if run.metadata["mode"] == "full":
                metadata = {
                    "arguments": run.arguments,
                    "data": run.metadata["data"],
                    "versions": versions(),
                    "epoch": epoch,
                }
                log = "".join(run.log.written[self.begun :])
                self.state.save(run.folder / f"state{self.name}.pt", {**metadata, "log": log})


def print_resumed(metadata, arguments):
    """Prints after which epoch the run continues, and what may change its rounding; to stderr, not into the log."""
    then = {**metadata["versions"], "device": metadata["arguments"]["device"]}
    now = {**versions(), "device": arguments["device"]}
    changed = [f"{name} {then.get(name)} is now {value}" for name, value in now.items() if then.get(name) != value]
    caution = f"; {', '.join(changed)}: numbers may differ in their last digits" if changed else ""
    print(f"resumed after epoch {metadata['epoch']}{caution}", file=sys.stderr)


class TrainingState:
    """All that training changes from one epoch to the next, to be saved and restored.

    loader: with an EpochBatches, whose epoch fixes the order of the next pass; best: a BestEpoch; history: a list;
    more: whatever else has state_dict and load_state_dict and changes, such as a learning rate schedule.
    """

    def __init__(self, model, optimizer, loader, best, history, *more):
        self.optimizer, self.batches, self.best, self.history = optimizer, loader.batch_sampler, best, history
        self.parts = [model, optimizer, *more]

    def save(self, path, metadata):
        """Writes it with a dict of metadata as a checkpoint file, atomically; an older one is kept as before(path)."""
        state = {
            "parts": [part.state_dict() for part in self.parts],
            "random": [torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []],
            "best": vars(self.best),
            "history": self.history,
            "next_pass": self.batches.epoch,
        }
        tensors = {}
        metadata = {**metadata, "state": flattened(state, tensors)}
        if path.exists():
            os.replace(path, before(path))  # if the process is killed now, this one is there and complete
        save_checkpoint(path, tensors, metadata)

    def restore(self, state):
        """Restores a saved state. Tensors of the optimizer get their parameter's layout: another rounds differently."""
        try:
            for part, saved in zip(self.parts, state["parts"], strict=True):
                part.load_state_dict(saved)
        except (KeyError, RuntimeError, ValueError) as error:
            other = f"the saved state is of another network or optimizer ({reason(error)})"
            raise LabError(f"--resume: {other}; give another --out") from error
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
    """The path of the state of the epoch before."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def read_states(folder, arguments, fingerprint):
    """{file name: (metadata, state)} of the saved states in a run's folder, of each the newest that is undamaged.

    arguments, fingerprint: of this run. Raises LabError, naming the flag, where they are not the saved run's.
    """
    found = {}
    for path in sorted({folder / path.name.replace(".before", "") for path in folder.glob("state*.pt")}):
        for candidate in (path, before(path)):
            if not candidate.exists():
                continue  # a process was killed between two renames
            try:
                tensors, metadata = read_checkpoint(candidate)
                state = unflattened(metadata.pop("state"), tensors)
            except (LabError, KeyError) as error:
                what = error if isinstance(error, LabError) else f"{candidate}: no state of a training run"
                print(f"{what}; continuing without it", file=sys.stderr)
                continue
            refuse_others(folder, metadata, arguments, fingerprint)
            if candidate != path:
                os.replace(candidate, path)  # or the next state would push this one out and keep the damaged one
            found[path.name] = (metadata, state)
            break
    return found


def refuse_others(folder, metadata, arguments, fingerprint):
    """Raises LabError, naming the flag and both values, where a state is of other arguments or other data."""
    given, saved = json.loads(json.dumps(arguments)), metadata["arguments"]
    for name in [name for name in {**given, **saved} if name not in FREE]:
        if given.get(name) != saved.get(name):
            here, there = (json.dumps(values.get(name), ensure_ascii=False) for values in (given, saved))
            flag = "--" + name.replace("_", "-")
            same = "--resume needs the same; else give another --out"
            raise LabError(f"{flag} {here}: the run in {folder} has {there}, and {same}")
    if metadata["data"] != fingerprint:
        other = f"the run in {folder} " + (
            "was saved by an earlier version" if by_earlier_version(metadata["data"]) else "was trained on other data"
        )
        raise LabError(f"--data {arguments['data']}: {other}, and --resume needs the same; else give another --out")


def flattened(value, tensors):
    """A nested structure for JSON, its tensors put into `tensors` and replaced by their names; keeps tuples and keys."""
    if torch.is_tensor(value):
        tensors[str(len(tensors))] = value
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, dict):
        return {"items": [[key, flattened(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [flattened(item, tensors) for item in value]}
    return value


def unflattened(value, tensors):
    """The inverse of flattened."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: unflattened(item, tensors) for key, item in content}
    return {"list": list, "tuple": tuple}[kind](unflattened(item, tensors) for item in content)
