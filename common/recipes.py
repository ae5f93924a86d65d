"""The two recipes that --recipe names, and the numbers of the tuned one; what each of them bought stands in benchmarks/ACCURACY.md."""

RECIPES = ("writeup", "tuned")

TUNED: dict = {
    "epochs": 80,  # passes over few clips that never look the same twice
    "lr": 2e-3,  # at its height, after a tenth of the epochs; then down to 0 along a cosine
    "weight_decay": 0.02,  # AdamW's, times the rate
    "networks": 2,  # their answers are averaged; each has its own initial weights and batch order
    "label_smoothing": 0.1,  # genres are a matter of opinion
    # about so many frames are left of a clip: neighbours are averaged, 3 to 1 at the lab's rate, 13 to 1 for an LSTM
    "frames": {"tuned-cnn": 430, "tuned-lstm": 100},
}
