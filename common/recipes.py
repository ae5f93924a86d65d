"""The two recipes that --recipe names, and the numbers of the tuned one; what each of them bought stands in benchmarks/ACCURACY.md."""

RECIPES = ("writeup", "tuned")

# Each can be another one for a run, --change NAME=VALUE: so the table of what they bought was made.
TUNED: dict = {
    "epochs": 30,
    "lr": 1e-3,  # at its height, after a tenth of the epochs
    "cycle": 1.0,  # how far it falls from there, along a cosine: to 0
    "clips": 1.0,  # of the training side: nothing is picked, so none has to validate
    "standardised": 1.0,  # rows brought to mean 0 and deviation 1; 0 leaves them in dB
    "weight_decay": 0.01,  # AdamW's, times the rate
    "networks": 2,  # their answers are averaged; each has its own initial weights and batch order
    "dropout": 0.2,
    "label_smoothing": 0.1,  # genres are a matter of opinion
    "rank_loss": 0.5,  # the emotions' loss: this share of it is what the correlation lacks to 1, the rest squared error
    "frames": 430,  # about so many are left of a clip: neighbours are averaged, 3 to 1 at the lab's rate
    "lstm_frames": 215,  # the same for an LSTM
    "machine": 0.5,  # share of the machines beside the networks, see common/machines.py
    # what is done to every batch, see common/augment.py: nothing so far, no single trial of it gained anything
    "crop": 1.0,
    "stretch": 0.0,
    "curve_db": 0.0,
    "masks": 0.0,
    "mixup": 0.0,
}
# these lie in 0..1
SHARES = ("cycle", "clips", "standardised", "dropout", "label_smoothing", "rank_loss", "machine", "crop", "stretch", "masks")


def tuned_choices(args):
    """TUNED, with what args.change, texts NAME=VALUE, puts in its place."""
    changed = dict(text.split("=") for text in args.change)
    return {name: type(value)(changed.get(name, value)) for name, value in TUNED.items()}


def recipe_of(args):
    """Recipe and changes as a name for files and facts, where the step has recipes: "tuned-mixup=0.4"."""
    return "-".join([vars(args).get("recipe", RECIPES[0]), *vars(args).get("change", ())])
