"""The two recipes that --recipe names, and the numbers of the tuned one; what each of them bought stands in benchmarks/ACCURACY.md."""

RECIPES = ("writeup", "tuned")

TUNED: dict = {
    "epochs": 30,
    "lr": 1e-3,  # at its height, after a tenth of the epochs; then down to 0 along a cosine
    "weight_decay": 0.01,  # AdamW's, times the rate
    "networks": 2,  # their answers are averaged; each has its own initial weights and batch order
    "label_smoothing": 0.1,  # genres are a matter of opinion
    # what is done to every batch, see common/augment.py: nothing so far, no single trial of it gained anything
    "augment": {"crop": 1.0, "stretch": 0.0, "curve_db": 0.0, "masks": (0.0, 0.0), "mixup": 0.0},
    # about so many frames are left of a clip: neighbours are averaged, 3 to 1 at the lab's rate, 6 to 1 for an LSTM
    "frames": {"tuned-cnn": 430, "tuned-lstm": 215},
}
