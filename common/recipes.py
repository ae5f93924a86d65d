"""The two recipes that --recipe names, and the numbers of the tuned one; what is known of them stands in benchmarks/ACCURACY.md."""

RECIPES = ("writeup", "tuned")

# For one run another can take a number's place, --change NAME=VALUE, so that what it buys can be measured.
TUNED: dict = {
    "epochs": 20,  # 30 fit the training side better and the test side no better
    "lr": 1e-3,  # at its height, after a tenth of the epochs
    "cycle": 1.0,  # how far it falls from there, along a cosine: to 0
    "clips": 1.0,  # of the training side: nothing is picked, so none has to validate
    "standardised": 1,  # rows brought to mean 0 and deviation 1; 0 leaves them in dB, with loud padding
    "centred": 1.0,  # share of a clip's own mean over time that the first network takes from its rows, and so how its album was mastered
    "weight_decay": 0.01,  # AdamW's, times the rate
    "networks": 2,  # their answers are averaged: one hears clips without their mastering, the other as they are
    "dropout": 0.2,
    "label_smoothing": 0.1,  # genres are a matter of opinion
    "rank_loss": 0.5,  # the emotions' loss: this share of it is what the correlation lacks to 1, the rest squared error
    "frames": 430,  # about so many are left of a clip: neighbours are averaged, 3 to 1 at the lab's rate
    "lstm_frames": 215,  # the same for an LSTM
    "machine": 0.5,  # share of the machines beside the networks, see extras/tuned/kernel_and_trees.py; the score hardly knows .4 from .6
    "crop": 1.0,  # this and what follows is done to every batch, see extras/tuned/augment.py: no trial of it gained anything
    "mixup": 0.0,
}
SHARES = ("cycle", "clips", "centred", "dropout", "label_smoothing", "rank_loss", "machine", "crop")  # these lie in 0..1
FLAGS = ("epochs", "lr")  # these have flags of their own
UNUSED = {"lstm": ("frames", "rank_loss", "machine"), "cnn": ("lstm_frames", "rank_loss"), "multitask": ("lstm_frames", "label_smoothing")}


def changeable(use):
    """The numbers that --change can replace in a step of this use: "lstm" or "cnn" for genres, "multitask"."""
    return [name for name in TUNED if name not in (*FLAGS, *UNUSED[use])]


def tuned_choices(args):
    """TUNED, with what args.change, texts NAME=VALUE, puts in its place."""
    changed = dict(text.split("=") for text in args.change)
    return {name: type(value)(changed.get(name, value)) for name, value in TUNED.items()}


def changes_told(args):
    """What --change changed, for the RESULT lines: {} where that is nothing."""
    return {"change": ",".join(args.change)} if args.change else {}


def recipe_of(args):
    """Recipe and changes as a name for files and facts, where the step has recipes: "tuned-mixup=0.4"."""
    return "-".join([vars(args).get("recipe", RECIPES[0]), *vars(args).get("change", ())])
