"""A run's folder, ROOT/<step>/<variant>/, with all that a step writes."""

import contextlib

from common.files import ARGUMENTS, FORMAT, METRICS, save_checkpoint, write_atomically, write_json
from common.plots import png
from common.progress import Clock, full_memory_in_a_sentence, logged, note_used, used_by
from common.resume import own_folder
from common.versions import versions


class Run:
    """One run's folder and its metadata (data, classes, mode, architecture, ids), saved with checkpoint and metrics.

    arguments: {name: value}. While it is open: log, the Tee behind sys.stdout; saved, see own_folder.
    """

    def __init__(self, folder, metadata, arguments):
        self.folder, self.metadata, self.arguments = folder, metadata, arguments
        self.clock = Clock()
        self.again = False  # whether the header stands on the screen already, see begin_network

    def save_best(self, best, name="best"):
        """The best epoch's weights, a BestEpoch, as <name>.pt with the run's metadata."""
        save_checkpoint(self.folder / f"{name}.pt", best.weights, {**self.metadata, "epoch": best.epoch})

    def save_figure(self, name, figure):
        """A matplotlib Figure as <name>.png, marked where the data are demo music."""
        if self.metadata["demo"]:
            figure.text(0.998, 0.002, "demo music", ha="right", va="bottom", fontsize=8, color="grey")
        write_atomically(self.folder / f"{name}.png", png(figure))

    def finish(self, result, metrics=None, history=None):
        """Writes history.json where something was trained and, last of all, metrics.json. Returns `result`.

        result: the RESULT line's values. The ids of the training clips are saved in the checkpoint alone.
        """
        if history:
            write_json(self.folder / "history.json", history)
        metadata = {name: self.metadata[name] for name in self.metadata if name not in ("train_ids", "train_checksums")}
        metadata["used"] = used_by(self.clock)
        write_json(self.folder / METRICS, {"format": FORMAT, "result": result, **metadata, "metrics": metrics})
        note_used(self.folder, metadata["used"])
        return result


@contextlib.contextmanager
def open_run(folder, metadata, arguments, resume=None):
    """The folder ROOT/<step>/<variant>/ for one run, new or resumed, with all that is printed copied into log.txt.

    metadata: see Run, with mode and data at least; arguments: {name: value}, what the run was started with; resume: see
    own_folder. Raises LabError where the folder cannot be written, and where the memory cannot hold a batch.
    """
    run = Run(folder, {"step": folder.parent.name, "variant": folder.name, **metadata}, arguments)
    with full_memory_in_a_sentence(arguments), own_folder(run, resume), logged(run):
        write_json(folder / ARGUMENTS, dict(arguments=arguments, versions=versions()))
        yield run
